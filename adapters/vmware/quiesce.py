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
WINDOWS, LINUX = "windowsGuest", "linuxGuest"
"""The families of guests that VMware Tools can freeze."""

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
        if machine.guest_family in (WINDOWS, LINUX, None):
            return Rest(True, None)
        cause = "guest-not-freezable"
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
    """What a quiesced snapshot is worth, and why not more.

    VMware Tools ask the applications of Windows, by VSS, where the machine allows that. In Linux they run the guest's
    freeze scripts and freeze the file systems; whether a script brought an application to rest is told to nobody.
    """
    if machine.guest_family is None:
        return "crash", "guest-untold"
    cause = "linux-file-systems-only" if machine.guest_family == LINUX else _vss_kept_out(machine)
    if cause is None:
        return "application", None
    return "filesystem", cause if wanted == "application" else None


def _vss_kept_out(machine: Machine) -> str | None:
    """Why the applications of a Windows guest are not asked, by VMware's rules for quiescing them."""
    if not machine.disk_uuids:
        return "disk-uuids-off"
    return "disk-not-on-scsi" if any(disk.controller != "scsi" for disk in machine.disks or ()) else None


def required(machine: Machine, why: str) -> SourceConflict:
    """The error of a policy that lets nothing less pass."""
    return SourceConflict(
        f"{machine.name} does not come to rest",
        code="quiesce-failed",
        why=why,
        hint="Repair VMware Tools in the guest, or set the source's quiesce to prefer.",
    )
