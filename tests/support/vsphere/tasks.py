"""Tasks: work that goes on after the call that asked for it was answered.

Each runs in a thread of its own, one for a machine at a time, and ends with a result or a fault.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from threading import Thread

from pyVmomi import vim, vmodl
from pyVmomi.VmomiSupport import GetWsdlMethod

from tests.support.vsphere.faults import Stall, work_of
from tests.support.vsphere.managed import Call, Managed, World, prop, soap

State = vim.TaskInfo.State
_RECENT = 10


class Task(Managed):
    """One task; `work` returns its result or raises its fault."""

    kind = vim.Task

    def __init__(self, world: World, entity: Managed, call: str, work: Callable[[], object]) -> None:
        super().__init__(world, f"task-{world.number()}")
        self.entity = entity
        self.state = State.queued
        self._call = call
        self._method = GetWsdlMethod("urn:vim25", call)
        self._work = work
        self._result: object = None
        self._fault: vmodl.MethodFault | None = None
        self._cancelled = False
        self._times: dict[str, datetime] = {"queueTime": datetime.now(UTC)}
        self._thread = Thread(target=self._run, name=self.moid)

    @property
    def live(self) -> bool:
        """Whether it has not ended yet."""
        return self.state in (State.queued, State.running)

    def start(self) -> None:
        """Begin the work."""
        self._thread.start()

    def end(self) -> None:
        """Cancel the task if it still can be, and wait for its thread."""
        with self.world.lock:
            self._cancelled = True
            self.world.touch()
        self._thread.join()

    @prop
    def info(self) -> vim.TaskInfo:
        in_inventory = isinstance(self.entity.ref, vim.ManagedEntity)  # managers are not
        return vim.TaskInfo(
            key=self.moid, task=self.ref, descriptionId=_description_id(self.entity, self._call), name=self._method,
            entity=self.entity.ref if in_inventory else None, entityName=getattr(self.entity, "title", None),
            state=self.state,
            cancelled=self._cancelled, cancelable=True, error=self._fault, result=self._result,
            reason=vim.TaskReasonUser(userName="user"), eventChainId=0, **self._times,
        )  # fmt: skip

    @soap("CancelTask")
    def cancel(self, call: Call) -> None:
        """Ask for the end; a task that waits for nothing ends as it would."""
        if not self.live:
            raise vim.fault.InvalidState(msg="The operation is not allowed in the current state.")
        self._cancelled = True
        self.world.touch()

    def _run(self) -> None:
        with self.world.lock:
            self._move(State.running, "startTime")
            try:
                self._hinder()
                self._result = self._work()
                self._move(State.success, "completeTime")
            except vmodl.MethodFault as fault:
                self._fault = fault
            finally:  # also when the simulator itself is wrong: nobody shall wait for ever
                if self.live:
                    self._fault = self._fault or vmodl.fault.SystemError(
                        reason="simulator", msg="A bug of the simulator"
                    )
                    self._move(State.error, "completeTime")

    def _hinder(self) -> None:
        """Do what the knobs say instead of the work."""
        action = self.world.faults.take(work_of(self._call), vmodl.MethodFault, Stall)
        if isinstance(action, vmodl.MethodFault):
            raise action
        if isinstance(action, Stall):
            self.world.changed.wait_for(lambda: self._cancelled)
            raise vmodl.fault.RequestCanceled(msg="The task was canceled by a user.")

    def _move(self, state: str, time_name: str) -> None:
        self.state = state
        self._times[time_name] = datetime.now(UTC)
        self.world.touch()


def run_task(world: World, entity: Managed, call: Call, work: Callable[[], object]) -> vim.Task:
    """Start a task on an entity. Raises TaskInProgress while another one runs on it."""
    for other in world.every(vim.Task):
        assert isinstance(other, Task)
        if other.live and other.entity is entity and isinstance(entity.ref, vim.VirtualMachine):
            raise vim.fault.TaskInProgress(task=other.ref, msg="Another task is already in progress.")
    task = Task(world, entity, call.name, work)
    world.add(task)
    task.start()
    return task.ref


def tasks_of(world: World, entity: Managed) -> list[vim.Task]:
    """The last tasks of an entity, those that go on and those that have ended."""
    tasks = [task for task in world.every(vim.Task) if isinstance(task, Task) and task.entity is entity]
    return [task.ref for task in tasks[-_RECENT:]]


def _description_id(entity: Managed, call: str) -> str:
    """What vCenter calls a kind of task, such as `VirtualMachine.createSnapshot`."""
    name = "RemoveSnapshot" if call == "RemoveSnapshot_Task" else GetWsdlMethod("urn:vim25", call).info.name
    return f"{entity.kind._wsdlName}.{name[0].lower()}{name[1:]}"
