"""Making and removing the snapshots of machines in a pool. Imports `adapters.errors` and this package.

A lost reply is no reason to ask twice: whether a snapshot was made is seen by its name, once the pool is no longer at
it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack

from adapters.errors import AdapterError, SourceConflict, SourceNotFound, SourceUnavailable
from adapters.xen.inventory import read_vdi, read_vm
from adapters.xen.marks import DISK_KEY, disk_mark, snapshot_name
from adapters.xen.records import Vdi, Vm, vbd_of
from adapters.xen.removing import Patience, Remover
from adapters.xen.session import Session

_LEAST_LOOKS = 1


class SnapshotKeeper:
    """The snapshots of the machines of one pool."""

    def __init__(
        self,
        session: Session,
        remover: Remover,
        *,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._session = session
        self._patience = patience or Patience()
        self._sleep = sleep
        self._remover = remover

    def create(self, machine: Vm, label: str, leave_out: Sequence[str]) -> Vm:
        """Take a snapshot without the disks `leave_out` (references). Asks once, whatever becomes of the reply."""
        name = snapshot_name(label, machine.uuid)
        arguments = (machine.ref, name, list(leave_out)) if leave_out else (machine.ref, name)
        try:
            made = self._session.task("VM.snapshot", *arguments, seconds=self._patience.create_seconds)
        except SourceUnavailable:
            if (found := self._lost(machine, name)) is None:
                raise
            return found
        return read_vm(self._session, str(made))

    def disks(self, snapshot: Vm) -> dict[str, Vdi]:
        """The snapshot's disks, by their places."""
        vbds = [vbd_of(ref, self._session.call("VBD.get_record", ref)) for ref in snapshot.vbds]
        return {vbd.place: read_vdi(self._session, vbd.vdi) for vbd in vbds if vbd.kind == "Disk" and vbd.vdi}

    def mark(self, vdi: Vdi, label: str, machine: str) -> None:
        """Mark a snapshot's disk, which outlives it, as ours; a mark that came along with a copied disk goes."""
        mark = disk_mark(label, machine, vdi.uuid)
        try:
            if DISK_KEY in vdi.other_config:
                self._session.call("VDI.remove_from_other_config", vdi.ref, DISK_KEY)
            self._session.call("VDI.add_to_other_config", vdi.ref, DISK_KEY, mark)
        except AdapterError:
            if read_vdi(self._session, vdi.ref).other_config.get(DISK_KEY) != mark:
                raise

    def require(self, machine: Vm, snapshot: Vm) -> None:
        """Raise SourceConflict when somebody took the snapshot away."""
        try:
            gone = read_vm(self._session, snapshot.ref).uuid != snapshot.uuid
        except SourceNotFound:
            gone = True
        if gone:
            raise SourceConflict(
                f"The snapshot of {machine.name} did not hold", code="snapshot-lost", why="somebody removed it"
            )

    def remove(
        self, snapshot: Vm | None, vdis: Sequence[Vdi], keep: Collection[str], whole: Collection[str] = ()
    ) -> None:
        """Destroy a snapshot, which holds its disks, then these but for the tracking of those with uuids in `keep`.

        Those in `whole` stay as they are. A disk that fails does not keep the others; then the first failure is raised.
        """
        if snapshot is not None:
            self._remover.vm(snapshot)
        with ExitStack() as stack:
            for vdi in vdis:
                if vdi.uuid not in whole:
                    keeps = vdi.uuid in keep and vdi.tracking
                    stack.callback(self._remover.strip if keeps else self._remover.vdi, vdi)

    def _lost(self, machine: Vm, name: str) -> Vm | None:
        """Find the snapshot whose making got no answer, as long as the pool may be at it."""
        for look in range(self._patience.looks):
            if (found := self.find(machine, name)) is not None:
                return found
            if look >= _LEAST_LOOKS and not self._under_way(machine):
                break
            self._sleep(self._patience.pause_seconds)
        return self.find(machine, name)

    def _under_way(self, machine: Vm) -> bool:
        """Whether the pool is at a snapshot, of this machine or perhaps of another one."""
        tasks = self._session.call("task.get_all_records").values()
        return "snapshot" in read_vm(self._session, machine.ref).operations or any(
            task["status"] == "pending" and task["name_label"] == "Async.VM.snapshot" for task in tasks
        )

    def find(self, machine: Vm, name: str) -> Vm | None:
        """The machine's snapshot of this name, once it is complete."""
        for ref in self._session.call("VM.get_by_name_label", name):
            vm = read_vm(self._session, ref)
            if vm.snapshot and vm.snapshot_of == machine.ref and not vm.operations:
                return vm
        return None
