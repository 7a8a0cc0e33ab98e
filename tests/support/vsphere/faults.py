"""The knobs of the vSphere simulator: what it does wrong, and when.

Calls are named as on the wire (`QueryChangedDiskAreas`, `RemoveSnapshot_Task`), reads and writes of files by their
methods and places (`GET /folder`, `PUT /folder`, `GET /nfc`). A knob with `after` lets so many calls of that name
pass first; one with `times` holds for so many calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

from pyVmomi import vim, vmodl

from tests.support.vsphere.engine import Area

ChangeInfo = vim.VirtualMachine.DiskChangeInfo
Page = Callable[[ChangeInfo], ChangeInfo]
Lie = Callable[[Sequence[Area]], Sequence[Area]]


@dataclass(frozen=True)
class LoseReply:
    """Do what was asked, then close the connection without a word."""


@dataclass(frozen=True)
class StaySilent:
    """Take the call, do nothing, and never answer."""


@dataclass(frozen=True)
class ExpireSessions:
    """End all sessions before the call is looked at."""


@dataclass(frozen=True)
class IgnoreRange:
    """Answer 200 with the whole file, as a proxy does that strips the Range."""


@dataclass(frozen=True)
class ShortRead:
    """Answer with half of the range, and say so."""


@dataclass(frozen=True)
class BreakStream:
    """Promise the whole range, send half of it, and close the connection."""


@dataclass(frozen=True)
class Stall:
    """Let the task run until it is cancelled."""


@dataclass(frozen=True)
class LeaveDelta:
    """Take the snapshot away without writing its disks' layers down."""


Action = (
    LoseReply
    | StaySilent
    | ExpireSessions
    | IgnoreRange
    | ShortRead
    | BreakStream
    | Stall
    | LeaveDelta
    | vmodl.MethodFault
)


@dataclass
class _Rule:
    call: str
    action: Action
    after: int
    times: int


class Faults:
    """What is to go wrong; nothing does unless told. Attributes stay in force until they are set back."""

    def __init__(self) -> None:
        self.quiesce_fault: vmodl.MethodFault | None = None
        """What a snapshot task fails with when it is to quiesce the guest."""
        self.star_fault: vmodl.MethodFault | None = None
        """What QueryChangedDiskAreas answers to the change id `*`, such as a FileFault off VMFS."""
        self.consolidation_stuck = False
        """Whether consolidationNeeded stays true whatever is removed or consolidated."""
        self.page_size = 2000
        """How many areas QueryChangedDiskAreas tells at once."""
        self.page: Page | None = None
        """What becomes of each page before it is sent: `wrong_start`, `zero_length`, `overshoot` or a test's own."""
        self.areas: Lie | None = None
        """What becomes of the true areas before they are paged: `hide`, `reverse`, `overlap`, `past_capacity` ..."""
        self._lock = Lock()
        self._rules: dict[type, list[_Rule]] = {}

    # --- of any call ---

    def lose_reply(self, call: str, *, after: int = 0, times: int = 1) -> None:
        """Do the call, then close the connection before the answer."""
        self._add(_Rule(call, LoseReply(), after, times))

    def stay_silent(self, call: str, *, after: int = 0, times: int = 1) -> None:
        """Take the call and never answer it."""
        self._add(_Rule(call, StaySilent(), after, times))

    def expire_sessions(self, call: str, *, after: int = 0, times: int = 1) -> None:
        """End all sessions at the call; `VsphereSimulator.expire_sessions` does it at once, in the middle of a wait."""
        self._add(_Rule(call, ExpireSessions(), after, times))

    def refuse(self, call: str, fault: vmodl.MethodFault, *, after: int = 0, times: int = 1) -> None:
        """Answer the call with a fault. Of a `_Task` call, no task is made."""
        self._add(_Rule(call, fault, after, times))

    # --- of tasks ---

    def fail_task(self, call: str, fault: vmodl.MethodFault, *, after: int = 0, times: int = 1) -> None:
        """Make the call's task end in an error, with nothing done: a snapshot that cannot be removed, for one."""
        self._add(_Rule(work_of(call), fault, after, times))

    def stall_task(self, call: str, *, after: int = 0, times: int = 1) -> None:
        """Make the call's task run until it is cancelled."""
        self._add(_Rule(work_of(call), Stall(), after, times))

    def leave_deltas(self, *, times: int = 1) -> None:
        """Remove snapshots from the tree but leave their disks' layers: consolidationNeeded becomes true."""
        self._add(_Rule("RemoveSnapshot_Task", LeaveDelta(), 0, times))

    # --- of files ---

    def ignore_range(self, call: str = "GET /folder", *, after: int = 0, times: int = 1) -> None:
        """Answer 200 and the whole file where a range was asked for."""
        self._add(_Rule(call, IgnoreRange(), after, times))

    def short_read(self, call: str = "GET /folder", *, after: int = 0, times: int = 1) -> None:
        """Answer with half of what was asked for, well-formed."""
        self._add(_Rule(call, ShortRead(), after, times))

    def break_stream(self, call: str = "GET /folder", *, after: int = 0, times: int = 1) -> None:
        """Die in the middle of the answer."""
        self._add(_Rule(call, BreakStream(), after, times))

    def end(self) -> None:
        """Let no call go wrong any more."""
        with self._lock:
            self._rules.clear()

    @property
    def all_happened(self) -> bool:
        """Whether whatever was to go wrong with a call has."""
        with self._lock:
            return not any(rule.times for rules in self._rules.values() for rule in rules)

    def take(self, call: str, *kinds: type) -> Action | None:
        """Count a call; return what is to go wrong with it among `kinds`, if anything."""
        with self._lock:
            for kind in kinds:
                for rule in self._rules.get(kind, []):
                    if rule.call != call:
                        continue
                    if rule.after:
                        rule.after -= 1
                    elif rule.times:
                        rule.times -= 1
                        return rule.action
        return None

    def _add(self, rule: _Rule) -> None:
        kind = vmodl.MethodFault if isinstance(rule.action, vmodl.MethodFault) else type(rule.action)
        with self._lock:
            self._rules.setdefault(kind, []).append(rule)


def wrong_start(page: ChangeInfo) -> ChangeInfo:
    """Echo another start offset than the one asked for."""
    return ChangeInfo(startOffset=page.startOffset + 65536, length=page.length, changedArea=page.changedArea)


def zero_length(page: ChangeInfo) -> ChangeInfo:
    """Cover nothing: a client that goes on where the page ends would ask for ever."""
    return ChangeInfo(startOffset=page.startOffset, length=0, changedArea=[])


def overshoot(page: ChangeInfo) -> ChangeInfo:
    """Cover more than there is: the last page ends a MiB behind the disk."""
    return ChangeInfo(startOffset=page.startOffset, length=page.length + (1 << 20), changedArea=page.changedArea)


def hide(offset: int, length: int) -> Lie:
    """Keep quiet about writes to a range: change tracking that lies."""
    return lambda areas: [area for area in areas if area[0] + area[1] <= offset or area[0] >= offset + length]


def reverse(areas: Sequence[Area]) -> Sequence[Area]:
    """Tell the areas from the last to the first."""
    return list(reversed(areas))


def overlap(areas: Sequence[Area]) -> Sequence[Area]:
    """Tell every area twice, the second time without its first sector."""
    return [area for start, length in areas for area in ((start, length), (start + 512, length - 512))]


def past_capacity(size_bytes: int) -> Lie:
    """Add an area that begins inside a disk of `size_bytes` and ends behind it."""
    return lambda areas: [*areas, (size_bytes - 65536, 1 << 20)]


def work_of(call: str) -> str:
    """The name under which the work of a task is counted, beside the call that asks for it."""
    return f"work of {call}"
