"""An array driver for NetApp ONTAP: LUN snapshots and clones through its public REST API (9.8 and later).

Imports `adapters.errors` and `adapters.vmware.transport` only. A volume is a LUN by its path, `/vol/VOLUME/LUN`; its
clone is mapped to our igroup and read over iSCSI. A LUN that carries a VMFS must first be mounted by a host: that step
is not here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.errors import SourceConflict, SourceInvalid, SourceNotFound, SourceUnavailable
from adapters.vmware.transport.array.port import LABEL_PREFIX, Presented, check_label
from adapters.vmware.transport.array.rest import RestServer
from adapters.vmware.transport.san import IscsiLun

_LUN_PATH = re.compile(r"/vol/([\w.-]+)/((?:[\w.-]+/)?[\w.-]+)")
_JOB_SECONDS = 300.0
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class OntapPlace:
    """The storage VM whose LUNs are ours to snapshot, and how we reach a clone: `igroup` names us as `initiator`."""

    svm: str
    igroup: str
    portal: str
    initiator: str


class OntapArray:
    """One storage VM."""

    def __init__(
        self,
        server: RestServer,
        place: OntapPlace,
        *,
        name: str = "ontap",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self._server = server
        self._place = place
        self._clock = clock
        self._sleep = sleep

    def snapshot(self, volume: str, label: str) -> None:
        """Snapshot the volume that the LUN is in."""
        check_label(label)
        path = f"/api/storage/volumes/{self._volume_uuid(_split(volume)[0])}/snapshots"
        if not self._records(path, {"name": label}):
            self._do("POST", path, {"name": label, "comment": "made for a backup, removed with it"})

    def present(self, volume: str, label: str) -> Presented:
        """Clone the LUN out of the snapshot and map the clone to our igroup."""
        check_label(label)
        inside, lun = _split(volume)
        clone, ours = f"/vol/{inside}/{label}", {"name": self._place.svm}
        if not self._luns(clone):
            source = {"name": f"/vol/{inside}/.snapshot/{label}/{lun}"}
            self._do("POST", "/api/storage/luns", {"svm": ours, "name": clone, "clone": {"source": source}})
        mapped = self._maps(clone)
        if not mapped:
            body = {"svm": ours, "lun": {"name": clone}, "igroup": {"name": self._place.igroup}}
            self._do("POST", "/api/protocols/san/lun-maps", body)
            mapped = self._maps(clone)
        target = self._one("/api/protocols/san/iscsi/services", {"fields": "target.name"}, "iSCSI service")
        number = mapped[0].get("logical_unit_number") if mapped else None
        if not isinstance(number, int):
            raise SourceUnavailable(f"The clone {clone} was not mapped", code="array-clone")
        return Presented(
            IscsiLun(self._place.portal, str(target["target"]["name"]), number, initiator=self._place.initiator)
        )

    def withdraw(self, label: str) -> None:
        """Unmap and delete the clone."""
        check_label(label)
        for lun in self._luns(f"*/{label}"):
            for mapping in self._maps(str(lun["name"])):
                self._do("DELETE", f"/api/protocols/san/lun-maps/{lun['uuid']}/{mapping['igroup']['uuid']}")
            self._do("DELETE", f"/api/storage/luns/{lun['uuid']}")

    def remove(self, label: str) -> None:
        """Delete the snapshot, in whichever volume of the storage VM it is."""
        check_label(label)
        if self._luns(f"*/{label}"):
            raise SourceConflict(f"The snapshot {label} has a clone", code="array-in-use")
        for found in self._snapshots(label):
            self._do("DELETE", f"/api/storage/volumes/{found['volume']['uuid']}/snapshots/{found['uuid']}")

    def labels(self) -> Sequence[str]:
        """Return the labels of our snapshots and clones."""
        clones = (str(lun["name"]).rpartition("/")[2] for lun in self._luns(f"*/{LABEL_PREFIX}*"))
        return sorted({*clones, *(str(found["name"]) for found in self._snapshots(f"{LABEL_PREFIX}*"))})

    def _volume_uuid(self, volume: str) -> str:
        return str(self._one("/api/storage/volumes", {"name": volume}, f"volume {volume}")["uuid"])

    def _luns(self, name: str) -> list[dict[str, Any]]:
        return self._records("/api/storage/luns", {"name": name, "svm.name": self._place.svm, "fields": "uuid,name"})

    def _maps(self, lun: str) -> list[dict[str, Any]]:
        query = {"lun.name": lun, "svm.name": self._place.svm, "igroup.name": self._place.igroup}
        fields = {"fields": "logical_unit_number,igroup.uuid"}
        return self._records("/api/protocols/san/lun-maps", query | fields)

    def _snapshots(self, name: str) -> list[dict[str, Any]]:
        found = []
        for volume in self._records("/api/storage/volumes", {"svm.name": self._place.svm, "fields": "uuid"}):
            path = f"/api/storage/volumes/{volume['uuid']}/snapshots"
            found += self._records(path, {"name": name, "fields": "uuid,name,volume.uuid"})
        return found

    def _one(self, path: str, query: dict[str, str], what: str) -> dict[str, Any]:
        found = self._records(path, {"svm.name": self._place.svm} | query)
        if len(found) != 1:
            raise SourceNotFound(f"The array has no {what} in {self._place.svm}", code="array-missing")
        return found[0]

    def _records(self, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
        answer = self._server.call("GET", path, query | {"max_records": str(_PAGE)})
        records = answer.get("records", [])
        if "next" in answer.get("_links", {}):
            raise SourceInvalid(f"The array lists more than {_PAGE} of {path}", code="array-answer")
        return [record for record in records if isinstance(record, dict)]

    def _do(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        """Act, and wait for the job that acts when there is one."""
        answer = self._server.call(method, path, {"return_timeout": "15"}, body)
        job = answer.get("job")
        if not isinstance(job, dict):
            return
        deadline = self._clock() + _JOB_SECONDS
        while True:
            found = self._server.call("GET", f"/api/cluster/jobs/{job['uuid']}", {"fields": "state,message"})
            state = found.get("state")
            if state == "success":
                return
            if state == "failure" or self._clock() > deadline:
                why = str(found.get("message", "")) or f"its job is {state}"
                raise SourceUnavailable(f"The array did not {method} {path}", code="array-job", why=why)
            self._sleep(0.5)


def _split(volume: str) -> tuple[str, str]:
    found = _LUN_PATH.fullmatch(volume)
    if found is None:
        raise SourceInvalid(f"{volume!r} is no LUN's path", code="array-volume", hint="Give /vol/VOLUME/LUN.")
    return found[1], found[2]
