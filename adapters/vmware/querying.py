"""QueryChangedDiskAreas of one frozen disk. Imports `adapters.areas`, `adapters.port` and this package."""

from __future__ import annotations

from collections.abc import Callable

from pyVmomi import vim, vmodl

from adapters.areas import AreaList, Page, WrongAnswer, collect_areas
from adapters.port import Tracked, Untracked
from adapters.vmware import changeid
from adapters.vmware.disks import Disk
from adapters.vmware.session import Session

ALLOCATED = "*"
"""The change id that asks for everything the disk has ever held."""

_REFUSALS = (
    vim.fault.FileFault,
    vim.fault.NotFound,
    vmodl.fault.InvalidArgument,
    vmodl.fault.NotSupported,
    vmodl.fault.MethodNotFound,
    vmodl.fault.SystemError,
)
"""What servers answer to a change id that they cannot honour, or about a disk they cannot tell of."""


class _Refused(Exception):
    """The server does not tell about this disk."""


def changed_since_base(
    session: Session, machine: str, snapshot: str, disk: Disk, base: str | None
) -> tuple[Tracked | Untracked, AreaList]:
    """Say whether the changes since the base token are known, and which they are.

    A server that refuses or contradicts itself costs this disk a full, no more; a lost connection raises.
    """
    tracking, since = changeid.judge(base, disk)
    if since is None:
        return tracking, AreaList()
    try:
        return tracking, _ask(session, machine, snapshot, disk, since)
    except _Refused:
        return Untracked("tracking-refused"), AreaList()
    except WrongAnswer as wrong:
        return Untracked(wrong.cause), AreaList()


def allocated_areas(session: Session, machine: str, snapshot: str, disk: Disk) -> AreaList | None:
    """The areas that hold data; None where the server does not tell, or tells nothing by naming the whole disk."""
    if changeid.parse_change_id(disk.change_id) is None:
        return None
    try:
        found = _ask(session, machine, snapshot, disk, ALLOCATED)
    except (_Refused, WrongAnswer):
        return None
    return None if found.covered_bytes >= disk.fact.size_bytes else found


def _ask(session: Session, machine: str, snapshot: str, disk: Disk, since: str) -> AreaList:
    return collect_areas(_pages(session, machine, snapshot, disk.device_key, since), disk.fact.size_bytes)


def _pages(session: Session, machine: str, snapshot: str, device_key: int, since: str) -> Callable[[int], Page]:
    """A lost session or connection in the middle repeats one page: the snapshot's answers do not change."""
    vm = session.bound(vim.VirtualMachine, machine)
    frozen = session.bound(vim.vm.Snapshot, snapshot)

    def ask(start: int) -> Page:
        try:
            answer = vm.QueryChangedDiskAreas(frozen, device_key, start, since)
        except vmodl.fault.ManagedObjectNotFound:
            raise
        except _REFUSALS:
            raise _Refused from None
        areas = [(int(area.start), int(area.length)) for area in answer.changedArea or ()]
        return Page(int(answer.startOffset), int(answer.length), areas)

    return lambda start: session.read("The changed areas of a disk cannot be read", lambda: ask(start))
