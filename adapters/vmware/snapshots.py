"""Making and removing a machine's snapshots at the server. Imports `adapters.errors` and this package.

A lost reply is no reason to ask twice: whether the snapshot was made is seen by its label, and whether it was
removed by its absence. Removing ends only when the server shows the snapshot no more and needs no consolidation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from adapters.errors import AdapterError, SourceConflict, SourceNotFound
from adapters.vmware.inventory import Machine, SnapshotNode, look_at
from adapters.vmware.marks import carries, snapshot_description, snapshot_name
from adapters.vmware.properties import read_object, read_objects
from adapters.vmware.session import Session, UnansweredCall
from adapters.vmware.tasks import TaskFailed, TaskWaiter

_CREATING = ("createSnapshot",)
_REMOVING = ("removeSnapshot", "Snapshot.remove")
_CONSOLIDATING = ("consolidateDisks",)
"""How the descriptions of tasks end; a removal is called by the machine's method or by the snapshot's."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the server may take, in seconds, and how often consolidation is asked for."""

    create_seconds: float = 1800
    remove_seconds: float = 6 * 3600
    consolidations: int = 3
    pause_seconds: float = 5
    looks: int = 3


class SnapshotKeeper:
    """The snapshots of the machines of one session."""

    def __init__(
        self,
        session: Session,
        waiter: TaskWaiter,
        *,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._session = session
        self._waiter = waiter
        self._patience = patience or Patience()
        self._sleep = sleep

    def create(self, machine: Machine, label: str, *, quiesce: bool) -> str:
        """Take a snapshot without memory and return its reference. Raises TaskFailed with the server's fault."""
        what = f"No snapshot of {machine.name} was taken"
        vm = self._session.bound(vim.VirtualMachine, machine.moref)
        name, description = snapshot_name(label), snapshot_description(label)
        try:
            task = self._session.effect(what, lambda: vm.CreateSnapshot_Task(name, description, False, quiesce))
        except UnansweredCall as unanswered:
            return self._lost(machine, label, unanswered)
        made = self._waiter.wait(task, what, seconds=self._patience.create_seconds)
        return str(made._moId)

    def require(self, machine: Machine, snapshot: str) -> Machine:
        """Return the machine as it is now. Raises SourceConflict when somebody took the snapshot, or the machine."""
        now = look_at(self._session, machine.moref)
        if all(node.moref != snapshot for node in now.snapshots):
            raise SourceConflict(
                f"The snapshot of {now.name} did not hold",
                code="snapshot-lost",
                why="somebody removed it, or took the machine back to an older one",
            )
        return now

    def pause(self) -> None:
        """Let the server come to itself before it is asked once more."""
        self._sleep(self._patience.pause_seconds)

    def remove(self, machine: Machine, snapshot: str) -> None:
        """Remove a snapshot and what it leaves. Raises SourceConflict when it, or a need to consolidate, remains."""
        what = f"The snapshot {snapshot} of {machine.name} was not removed"
        entity = self._session.bound(vim.vm.Snapshot, snapshot)
        problem: AdapterError | None = None
        try:
            task = self._session.effect(what, lambda: entity.RemoveSnapshot_Task(False, True))
            self._waiter.wait(task, what, seconds=self._patience.remove_seconds)
        except UnansweredCall as unanswered:
            problem = unanswered.error
            self._settle(machine, _REMOVING)
        except TaskFailed as failed:
            problem = failed.error
        except SourceNotFound as gone:
            problem = gone
        now = look_at(self._session, machine.moref)
        if any(node.moref == snapshot for node in now.snapshots):
            raise problem or SourceConflict(what, code="snapshot-remains", why="the server still shows it")
        self.consolidate(now)

    def consolidate(self, machine: Machine) -> bool:
        """Merge what removed snapshots left; False when nothing was. Raises SourceConflict when it does not help."""
        if not machine.consolidation_needed:
            return False
        why = ""
        for attempt in range(self._patience.consolidations):
            if attempt:
                self.pause()
            why = self._consolidate_once(machine)
            if not look_at(self._session, machine.moref).consolidation_needed:
                return True
        raise SourceConflict(
            f"The disks of {machine.name} need consolidation",
            code="consolidation-needed",
            why=why or "the server says so after it consolidated them",
            hint="Look for what holds its files open, such as another backup's proxy, and consolidate its disks.",
        )

    def _consolidate_once(self, machine: Machine) -> str:
        what = f"The disks of {machine.name} were not consolidated"
        vm = self._session.bound(vim.VirtualMachine, machine.moref)
        try:
            task = self._session.effect(what, vm.ConsolidateVMDisks_Task)
            self._waiter.wait(task, what, seconds=self._patience.remove_seconds)
        except UnansweredCall as unanswered:
            self._settle(machine, _CONSOLIDATING)
            return str(unanswered.error)
        except TaskFailed as failed:
            return str(failed.error)
        return ""

    def _lost(self, machine: Machine, label: str, unanswered: UnansweredCall) -> str:
        """Find the snapshot whose creation got no answer."""
        for look in range(self._patience.looks):
            if look:
                self.pause()
            self._settle(machine, _CREATING)
            if (found := self.find(machine, label)) is not None:
                return found.moref
        raise unanswered.error

    def find(self, machine: Machine, label: str) -> SnapshotNode | None:
        """Look for the machine's snapshot with this label."""
        nodes = look_at(self._session, machine.moref).snapshots
        return next((node for node in nodes if carries(node, label)), None)

    def _settle(self, machine: Machine, work: tuple[str, ...]) -> None:
        """Wait for the machine's tasks of this kind that have not ended."""
        vm = self._session.bound(vim.VirtualMachine, machine.moref)
        recent: list[Any] = read_object(self._session, vm, ["recentTask"]).get("recentTask") or []
        if not recent:
            return
        tasks = {task._moId: task for task in recent}
        try:
            states = read_objects(self._session, recent, ["info.descriptionId", "info.state"])
        except SourceNotFound:
            return  # the server forgot one of them, so it has ended
        for found in states:
            open_task = str(found.values.get("info.state")) in ("queued", "running")
            if open_task and str(found.values.get("info.descriptionId", "")).endswith(work):
                with suppress(TaskFailed):  # how it ended shows in the machine
                    self._waiter.wait(
                        tasks[found.moref], f"A task of {machine.name} goes on", seconds=self._patience.remove_seconds
                    )
