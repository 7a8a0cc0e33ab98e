"""Server-free snapshots: the machine's snapshot is dropped seconds after the array has its own.

Imports `adapters.errors`, `adapters.port` and this package only. Each step announces itself before it acts and is
undone when a later one fails, newest first; whatever a crash leaves bears the label, and `clean` removes it by that
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from adapters.errors import AdapterError
from adapters.port import Leftover
from adapters.vmware.transport.array.port import ArrayDriver, Presented, check_label

Announce = Callable[[str], None]
"""Is told the name of a step before the step acts: what a crash cannot take back is written down there."""


class MachineSnapshots(Protocol):
    """The machine's own snapshots, by our label. Both steps may be asked for again."""

    def take(self, label: str) -> None:
        """Take a quiesced snapshot."""

    def drop(self, label: str) -> None:
        """Remove it; not being there is no error."""


class ServerFree:
    """One array snapshot of one machine's volume, from `take` to `release`."""

    def __init__(
        self, machine: MachineSnapshots, array: ArrayDriver, volume: str, label: str, announce: Announce
    ) -> None:
        check_label(label)
        self._machine = machine
        self._array = array
        self._volume = volume
        self._label = label
        self._announce = announce
        self._undo: list[Callable[[str], None]] = []

    def take(self) -> Presented:
        """Freeze and present: afterwards the machine has no snapshot of ours any more. On failure nothing is left.

        What could not be undone is left to `clean`, and the failure that began it is raised.
        """
        label, volume, machine, array = self._label, self._volume, self._machine, self._array
        try:
            self._step("machine-snapshot", lambda: machine.take(label), machine.drop)
            self._step("array-snapshot", lambda: array.snapshot(volume, label), array.remove)
            self._announce("machine-snapshot-dropped")
            machine.drop(label)
            self._undo.remove(machine.drop)
            self._undo.append(array.withdraw)
            self._announce("clone")
            return array.present(volume, label)
        except BaseException:
            self._take_back()
            raise

    def release(self) -> None:
        """Take the clone and the snapshot away; releasing twice is harmless. Raises the first failure, after all."""
        failure = self._take_back()
        if failure is not None:
            raise failure

    def _step(self, name: str, act: Callable[[], None], undo: Callable[[str], None]) -> None:
        """Act; it is to be undone from the moment it was tried, for a lost reply may hide a success."""
        self._announce(name)
        self._undo.append(undo)
        act()

    def _take_back(self) -> AdapterError | None:
        failure: AdapterError | None = None
        while self._undo:
            try:
                self._undo.pop()(self._label)
            except AdapterError as error:
                failure = failure or error
        return failure


def clean(machine: MachineSnapshots, array: ArrayDriver, labels: Sequence[str]) -> list[Leftover]:
    """Remove what dead runs left under `labels`: the machine's snapshot first, then clone and array snapshot.

    Labels of runs that live must not be among them. What cannot be removed is told as such and is there next time.
    """
    left = set(array.labels())
    cleaned = []
    for label in labels:
        check_label(label)
        try:
            machine.drop(label)
            array.withdraw(label)
            array.remove(label)
        except AdapterError as error:
            cleaned.append(Leftover(what=f"array snapshot {label}", action=f"not removed: {error}"))
            continue
        if label in left:
            cleaned.append(Leftover(what=f"array snapshot {label}", action="removed"))
    return cleaned
