"""Making and removing the snapshots of machines in a pool. Imports `adapters.errors` and this package.

A lost reply is no reason to ask twice: whether a snapshot was made is seen by its name, once the pool is no longer at
it, and what was to be destroyed by its absence. Destroying is asked for again while something still holds a disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from adapters.errors import AdapterError, SourceConflict, SourceNotFound, SourceUnavailable
from adapters.xen.inventory import read_vdi, read_vm
from adapters.xen.marks import DISK_KEY, disk_mark, snapshot_name
from adapters.xen.records import Vdi, Vm, vbd_of
from adapters.xen.session import Session

METADATA = "cbt_metadata"
"""The kind of a virtual disk of which only the change tracking is left."""

_PASSING = frozenset({"vdi-in-use", "other-operation-in-progress", "vdi-not-available"})
_UNKNOWN = frozenset({"reply-lost", "task-lost"})
"""Codes after which destroying is asked for again: somebody was in the way, or nobody knows."""

_LEAST_LOOKS = 1


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a snapshot may take, in seconds, and how often a disk that is held is asked for, with pauses between.

    The pool waits 4 seconds itself for an attachment to go; one of NBD goes a while after its connection was closed.
    """

    create_seconds: float = 1800
    looks: int = 60
    tries: int = 12
    pause_seconds: float = 5


class SnapshotKeeper:
    """The snapshots of the machines of one pool."""

    def __init__(
        self,
        session: Session,
        *,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._session = session
        self._patience = patience or Patience()
        self._sleep = sleep

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
        """Mark a snapshot's disk as ours, in the place of a mark that came with a copied disk: it outlives the snapshot."""
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
            self._destroy_vm(snapshot)
        with ExitStack() as stack:
            for vdi in vdis:
                if vdi.uuid not in whole:
                    stack.callback(self._strip if vdi.uuid in keep and vdi.tracking else self._destroy, vdi)

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

    def _destroy_vm(self, vm: Vm) -> None:
        self._until(lambda: self._session.task("VM.destroy", vm.ref), lambda: self._is_gone(read_vm, vm))

    def _destroy(self, vdi: Vdi) -> None:
        self._until(lambda: self._session.task("VDI.destroy", vdi.ref), lambda: self._is_gone(read_vdi, vdi))

    def _strip(self, vdi: Vdi) -> None:
        """Destroy a disk's data and keep its change tracking. It may be done already."""
        self._until(
            lambda: self._session.task("VDI.data_destroy", vdi.ref),
            lambda: read_vdi(self._session, vdi.ref).kind == METADATA,
        )

    def _is_gone(self, read: Callable[[Session, str], Vm | Vdi], thing: Vm | Vdi) -> bool:
        try:
            return read(self._session, thing.ref).uuid != thing.uuid
        except SourceNotFound:
            return True

    def _until(self, effect: Callable[[], object], done: Callable[[], bool]) -> None:
        """Have `effect`, which does no harm twice, until it is `done`. Raises its last failure."""
        for left in reversed(range(self._patience.tries)):
            try:
                effect()
                return
            except SourceNotFound:
                return
            except AdapterError as error:
                if done():
                    return
                if not left or error.code not in _PASSING | _UNKNOWN:
                    raise
            self._sleep(self._patience.pause_seconds)
