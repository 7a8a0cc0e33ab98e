"""Whether the guest is asked to come to rest for a snapshot, and what it means when it does not.

Pure; imports `adapters.errors`, `adapters.port` and this package.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyVmomi import vim

from adapters.errors import SourceConflict
from adapters.port import Consistency
from adapters.vmware.faults import Fault, describe
from adapters.vmware.inventory import Machine
from adapters.vmware.settings import Quiesce

_REFUSALS = (
    vim.fault.ToolsUnavailable,
    vim.fault.QuiesceDatastoreIOForHAFailed,
    vim.fault.GenericVmConfigFault,
    vim.fault.SnapshotFault,
)
_NOT_OF_THE_GUEST = (
    vim.fault.TooManySnapshotLevels,
    vim.fault.MultipleSnapshotsNotSupported,
    vim.fault.SnapshotMoveFromNonHomeNotSupported,
    vim.fault.SnapshotDisabled,
    vim.fault.SnapshotLocked,
)


@dataclass(frozen=True, slots=True)
class Rest:
    """`asked`: the guest is to come to rest. `cause` is why not, when it was wanted."""

    asked: bool
    cause: str | None


def plan(machine: Machine, policy: Quiesce, wanted: Consistency) -> Rest:
    """Decide before the snapshot. Raises SourceConflict where the policy requires what the machine cannot do."""
    if policy == "never" or wanted == "crash":
        return Rest(False, None)
    if machine.power == "poweredOff":
        return Rest(False, "machine-off")  # nothing runs that could be caught in the middle
    cause = "machine-suspended" if machine.power == "suspended" else "tools-not-running"
    if cause == "tools-not-running" and machine.tools_running:
        return Rest(True, None)
    if policy == "require":
        raise required(machine, cause.replace("-", " "))
    return Rest(False, cause)


def is_refusal(fault: Fault) -> bool:
    """Whether a quiesced snapshot failed for the guest's sake, so that one without might succeed."""
    return isinstance(fault, _REFUSALS) and not isinstance(fault, _NOT_OF_THE_GUEST)


def after_refusal(machine: Machine, policy: Quiesce, fault: Fault) -> str:
    """The cause of going on without. Raises SourceConflict where the policy forbids that."""
    if policy == "require":
        raise required(machine, describe(fault))
    return "tools-not-running" if isinstance(fault, vim.fault.ToolsUnavailable) else "quiesce-failed"


def reached(machine: Machine, wanted: Consistency) -> tuple[Consistency, str | None]:
    """What a quiesced snapshot is worth: VMware Tools ask the applications of Windows (VSS), elsewhere file systems."""
    if machine.guest_family == "windowsGuest":
        return "application", None
    return "filesystem", "guest-without-vss" if wanted == "application" else None


def required(machine: Machine, why: str) -> SourceConflict:
    """The error of a policy that lets nothing less pass."""
    return SourceConflict(
        f"{machine.name} does not come to rest",
        code="quiesce-failed",
        why=why,
        hint="Repair VMware Tools in the guest, or set the source's quiesce to prefer.",
    )
