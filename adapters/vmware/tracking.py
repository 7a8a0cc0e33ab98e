"""Switching changed block tracking on, by its rules. Imports `adapters.errors` and this package.

It must not be switched on while the machine has a snapshot: the snapshot's disks would be untracked, and what is asked
about them wrong. It works from the next time on that the disks are opened anew, which a snapshot brings about.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyVmomi import vim, vmodl

from adapters.vmware.inventory import Machine, look_at
from adapters.vmware.session import Session, UnansweredCall
from adapters.vmware.tasks import TaskFailed, TaskWaiter

_RECONFIGURE_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Tracking:
    """`cause` is why it is off; `fresh` says that it was off until now, and that a snapshot may be too early."""

    cause: str | None
    fresh: bool = False


def ensure_tracking(session: Session, waiter: TaskWaiter, machine: Machine) -> Tracking:
    """Switch tracking on where it is off and may be. Raises the AdapterError of a refusal, such as a missing right."""
    if machine.tracking_enabled:
        return Tracking(None)
    if machine.tracking_supported is False:
        return Tracking("tracking-unsupported")
    if machine.snapshots:
        return Tracking("tracking-blocked-by-snapshot")
    what = f"Changed block tracking of {machine.name} was not switched on"
    vm = session.bound(vim.VirtualMachine, machine.moref)
    spec = vim.vm.ConfigSpec(changeTrackingEnabled=True)
    lost = None
    try:
        waiter.wait(session.effect(what, lambda: vm.ReconfigVM_Task(spec)), what, seconds=_RECONFIGURE_SECONDS)
    except UnansweredCall as unanswered:
        lost = unanswered.error
    except TaskFailed as failed:
        if isinstance(failed.fault, vmodl.fault.NotSupported):
            return Tracking("tracking-unsupported")
        raise failed.error from None
    if look_at(session, machine.moref).tracking_enabled:  # what was read before is stale
        return Tracking(None, fresh=True)
    if lost is not None:
        raise lost
    return Tracking("tracking-not-switched-on")
