"""What we ask one host: each call is one script of the package. Imports `adapters.errors` and this package.

A call with an effect says what it started (`jobs` waits for it); none is repeated here. Which host a machine is at,
and what to do when it has moved on, is `cluster`'s. A machine, checkpoint, reference point, job or file that is not
there is SourceNotFound with the code `machine-missing`, `checkpoint-missing`, `reference-point-missing`, `job-missing`
or `file-missing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from adapters.errors import SourceInvalid, SourceNotFound
from adapters.hyperv.asking import Asked, ask, ask_all, start
from adapters.hyperv.facts import (
    AttachedDisk,
    ChangePage,
    Checkpoint,
    DiskFile,
    Host,
    Job,
    Machine,
    ReferencePoint,
    Started,
    Unread,
)

MOST_RANGES = 4096
"""How many ranges a page of a change list has at most: a script's answer must stay small."""

_MOST_FILES = 64
_LEVELS = {"application": 1, "crash": 2}


class _Header(msgspec.Struct):
    path: str
    header: DiskFile | None = None
    why: str = ""


class Calls:
    """The calls to one host, over a ScriptRunner of it. As safe to share between threads as the runner is."""

    def __init__(self, host: Asked) -> None:
        self._host = host

    def about(self) -> Host:
        """What the host is."""
        return ask(self._host, "about", Host)

    def machines(self) -> tuple[Machine, ...]:
        """All machines of the host itself (of a cluster: of this node), planned ones not among them."""
        return ask_all(self._host, "machines", tuple[Machine, ...], machine=None, planned=False)

    def machine(self, machine_id: str) -> Machine:
        """One machine. Raises SourceNotFound `machine-missing` when it is not, or no longer, at this host."""
        return self._one(machine_id, planned=False)

    def disk_files(self, paths: Sequence[str]) -> dict[str, DiskFile | Unread]:
        """What the headers of disk files say, by the paths asked for; of a file that cannot be read, why."""
        told: dict[str, DiskFile | Unread] = {}
        for at in range(0, len(paths), _MOST_FILES):
            asked = list(paths[at : at + _MOST_FILES])
            for answer in ask_all(self._host, "disk-files", tuple[_Header, ...], paths=asked):
                told[answer.path] = answer.header or Unread(answer.path, answer.why)
        missing = [path for path in paths if path not in told]
        return told | {path: Unread(path, "the host did not tell of it") for path in missing}

    def disk_file(self, path: str) -> DiskFile:
        """What the header of one disk file says. Raises SourceNotFound `file-missing` when it cannot be read."""
        told = self.disk_files((path,))[path]
        if isinstance(told, Unread):
            raise SourceNotFound(f"The host cannot read {path}", code="file-missing", why=told.why)
        return told

    def checkpoints(self, machine_id: str) -> tuple[Checkpoint, ...]:
        """The checkpoints of a machine, planned or not, of all kinds, oldest first."""
        return ask_all(self._host, "checkpoints", tuple[Checkpoint, ...], machine=machine_id)

    def create_checkpoint(
        self, machine_id: str, consistency: Literal["application", "crash"], *, leave_out: bool
    ) -> Started:
        """Start making a recovery checkpoint; `affected` of its end is the checkpoint's id.

        Application consistency is asked as a copy, which leaves the logs of the guest's databases alone. The host does
        not fall back by itself: the job fails. Disks that no checkpoint holds (pass-through) fail it, too, unless the
        caller knows of them and lets the host `leave_out` them. The checkpoint carries no label yet: see `marks`.
        """
        return start(
            self._host,
            "create-checkpoint",
            "No checkpoint was made",
            machine=machine_id,
            consistency_level=_LEVELS[consistency],
            leave_out=leave_out,
        )

    def rename_checkpoint(self, checkpoint_id: str, name: str, notes: str) -> Started:
        """Start giving a checkpoint a name and notes: that is where `marks` puts our label."""
        what = "The checkpoint was not named"
        return start(self._host, "rename-checkpoint", what, checkpoint=checkpoint_id, name=name, notes=notes)

    def checkpoint_disks(self, checkpoint_id: str) -> tuple[AttachedDisk, ...]:
        """The disks that a checkpoint froze: paths of the files to read, which may be .vhdx or .avhdx."""
        return ask_all(self._host, "checkpoint-disks", tuple[AttachedDisk, ...], checkpoint=checkpoint_id)

    def convert_to_reference_point(self, checkpoint_id: str) -> Started:
        """Start replacing a recovery checkpoint by a reference point, whose id is `affected` at the end."""
        what = "The checkpoint was not turned into a reference point"
        return start(self._host, "convert-to-reference-point", what, checkpoint=checkpoint_id)

    def destroy_checkpoint(self, checkpoint_id: str) -> Started:
        """Start removing a checkpoint and merging its files."""
        return start(self._host, "destroy-checkpoint", "The checkpoint was not removed", checkpoint=checkpoint_id)

    def reference_points(self, machine_id: str) -> tuple[ReferencePoint, ...]:
        """The machine's reference points, other products' included. A host without them has none."""
        return ask_all(self._host, "reference-points", tuple[ReferencePoint, ...], machine=machine_id)

    def destroy_reference_point(self, reference_point_id: str) -> Started:
        """Start removing a reference point."""
        what = "The reference point was not removed"
        return start(self._host, "destroy-reference-point", what, reference_point=reference_point_id)

    def changes(self, path: str, rct_id: str, offset: int, length: int) -> ChangePage:
        """What changed in a disk file since a change tracking id, between `offset` and `offset + length`.

        At most MOST_RANGES ranges, and at least one byte processed: ask on from there. Raises SourceConflict
        `changes-unknown` when the host cannot tell (the id is unknown, or tracking was broken).
        """
        page = ask(
            self._host,
            "changes",
            ChangePage,
            path=path,
            limit_id=rct_id,
            offset=offset,
            length=length,
            most=MOST_RANGES,
        )
        if not 0 < page.processed <= length:
            raise SourceInvalid(
                f"The changes of {path} cannot be listed",
                code="answer-malformed",
                why=f"the host processed {page.processed} of {length} bytes",
            )
        return page

    def planned_machines(self) -> tuple[Machine, ...]:
        """The machines that imports made and nobody realised yet."""
        return ask_all(self._host, "machines", tuple[Machine, ...], machine=None, planned=True)

    def planned_machine(self, machine_id: str) -> Machine:
        """One of them. Raises SourceNotFound `machine-missing`."""
        return self._one(machine_id, planned=True)

    def job(self, job_id: str) -> Job:
        """A job as it stands. The host forgets a job some minutes after its end: SourceNotFound `job-missing`."""
        return ask(self._host, "job", Job, job=job_id)

    def cancel_job(self, job_id: str) -> None:
        """Ask the host to cancel a job. One that cannot be cancelled goes on."""
        ask(self._host, "cancel-job", dict[str, int], job=job_id)

    def _one(self, machine_id: str, *, planned: bool) -> Machine:
        told = ask_all(self._host, "machines", tuple[Machine, ...], machine=machine_id, planned=planned)
        if not told:
            raise SourceNotFound(f"The machine {machine_id} is not at this host", code="machine-missing")
        return told[0]
