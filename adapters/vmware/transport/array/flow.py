"""Server-free snapshots: the machine's snapshot is dropped seconds after the array has its own.

Imports `adapters.errors`, `adapters.port` and this package only. While the machine's snapshot is there, the files below
it stand still: that is when the array takes its own, of one volume after the other. Each step is undone when a later
one fails, newest first; whatever a crash leaves bears the label, and `clean` removes it by that alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from adapters.errors import AdapterError, SourceUnavailable
from adapters.port import Leftover
from adapters.vmware.transport.array.port import ArrayDriver, Presented, check_label


class ServerFree:
    """The array's snapshots for one snapshot of one machine: `want` volumes, `take` once, `release`.

    `name` begins the label of each volume's snapshot; it is recorded, by who asked for the machine's snapshot, before
    anything is made.
    """

    def __init__(self, array: ArrayDriver, name: str) -> None:
        check_label(name)
        self._array = array
        self._name = name
        self._labels: dict[str, str] = {}
        self._presented: dict[str, Presented] = {}
        self._undo: list[Callable[[], None]] = []

    def want(self, volume: str) -> None:
        """Say that a disk is on this volume. A label is for one volume only, since it is all that names a snapshot."""
        self._labels.setdefault(volume, f"{self._name}-{len(self._labels)}")

    def take(self, held: Callable[[], None], drop: Callable[[], None]) -> None:
        """Freeze the volumes, drop the machine's snapshot, and present the clones. On failure nothing is left.

        `held` raises when the machine's snapshot is gone, for then what the array froze was no longer standing still.
        What could not be undone is left to `clean`, and the failure that began it is raised.
        """
        try:
            for volume, label in self._labels.items():
                self._undo.append(partial(self._array.remove, label))
                self._array.snapshot(volume, label)
            held()
            drop()
            for volume, label in self._labels.items():
                self._undo.append(partial(self._array.withdraw, label))
                self._presented[volume] = self._array.present(volume, label)
        except BaseException:
            self._take_back()
            raise

    def presented(self, volume: str) -> Presented:
        """Where the clone of a volume is. Raises SourceUnavailable when there is none, or none any more."""
        if volume not in self._presented:
            raise SourceUnavailable(f"There is no clone of {volume}", code="array-no-clone")
        return self._presented[volume]

    def release(self) -> None:
        """Take the clones and the snapshots away; releasing twice is harmless. Raises the first failure, after all."""
        failure = self._take_back()
        if failure is not None:
            raise failure

    def _take_back(self) -> AdapterError | None:
        """Undo everything that was tried, for a lost reply may hide a success."""
        failure: AdapterError | None = None
        self._presented.clear()
        while self._undo:
            try:
                self._undo.pop()()
            except AdapterError as error:
                failure = failure or error
        return failure


def clean(array: ArrayDriver, ours: Callable[[str], bool]) -> list[Leftover]:
    """Remove what dead runs left at the array under labels that are `ours`; none of them may belong to a living run.

    What cannot be looked at or removed is told as such, and is there next time.
    """
    try:
        labels = [label for label in array.labels() if ours(label)]
    except AdapterError as error:
        return [Leftover(what=f"snapshots at the array {array.name}", action=f"not looked for: {error}")]
    cleaned = []
    for label in labels:
        action = "removed"
        try:
            array.withdraw(label)
            array.remove(label)
        except AdapterError as error:
            action = f"not removed: {error}"
        cleaned.append(Leftover(what=f"array snapshot {label}", action=action))
    return cleaned
