"""What an open snapshot holds of this process is given back whatever fails, and exactly once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adapters.busy import Claim, require_idle
from adapters.choosing import choose
from adapters.errors import SourceConflict, SourceUnavailable
from adapters.frozendisk import FrozenDisk, Handle
from adapters.held import HeldSnapshot, Hold, OpenSnapshots
from adapters.port import DiskFact, Tracked

FACT = DiskFact("vda", "vda", 4096, "a disk", "cbt", 4096)


class Readers:
    """Of a disk; `shut` says so, and may fail."""

    def __init__(self, done: list[str], *, fails: bool) -> None:
        self._done = done
        self._fails = fails

    def open(self) -> Handle:
        raise NotImplementedError

    def shut(self) -> None:
        self._done.append("shut")
        if self._fails:
            raise SourceUnavailable("The reader does not close", code="reader-hangs")


class HeldForTest(HeldSnapshot):
    """Says what was done with it."""

    def __init__(self, hold: Hold, done: list[str], *, fails: bool) -> None:
        choice = choose({"nbd": ()}, ["nbd"], label="vda", way_out="")
        disk = FrozenDisk(FACT, None, Tracked(), (), choice, Readers(done, fails=fails))
        super().__init__("run-1", "crash", None, {"vda": disk}, (), hold)
        self._done = done

    def confirm(self) -> None:
        """Nothing to confirm."""

    def _give_back(self, *, committed: bool) -> None:
        assert_busy()
        self._done.append(f"given back, committed: {committed}")


@pytest.fixture(autouse=True)
def machine_is_free_afterwards() -> Iterator[None]:
    """Whatever a test does, the machine is not left claimed."""
    yield
    require_idle("pool", "m1", "web")


def assert_busy() -> None:
    """The machine is some job's."""
    with pytest.raises(SourceConflict, match="running"):
        require_idle("pool", "m1", "web")


def taken(snapshots: OpenSnapshots[HeldForTest], done: list[str], *, fails: bool = False) -> HeldForTest:
    """A snapshot of the one machine."""
    return snapshots.take(Claim("pool", "m1", "web", "run-1"), lambda hold: HeldForTest(hold, done, fails=fails))


def test_a_release_closes_readers_first_and_frees_the_machine_last() -> None:
    """The machine is busy until all is given back, which happens once."""
    done: list[str] = []
    snapshot = taken(OpenSnapshots(), done)
    assert_busy()
    snapshot.release(committed=True)
    require_idle("pool", "m1", "web")
    snapshot.release(committed=False)
    assert done == ["shut", "given back, committed: True"]


def test_a_reader_that_does_not_close_keeps_nothing_at_the_source() -> None:
    """Its failure is told, after the rest was given back and the machine is free."""
    done: list[str] = []
    snapshot = taken(OpenSnapshots(), done, fails=True)
    with pytest.raises(SourceUnavailable, match="does not close"):
        snapshot.release(committed=False)
    assert done == ["shut", "given back, committed: False"]


def test_a_source_abandons_what_is_open_and_forgets_what_was_released() -> None:
    """Abandoning closes readers and frees the machine; what is at the source stays for `reconcile`, also afterwards."""
    snapshots: OpenSnapshots[HeldForTest] = OpenSnapshots()
    first: list[str] = []
    taken(snapshots, first).release(committed=True)
    second: list[str] = []
    snapshot = taken(snapshots, second)
    snapshots.abandon()
    snapshot.release(committed=False)
    assert (len(first), second) == (2, ["shut"])


def test_a_snapshot_that_cannot_be_taken_leaves_the_machine_free() -> None:
    """The failure of freezing is the caller's, and the next job may try."""

    def refuse(hold: Hold) -> HeldForTest:
        raise SourceUnavailable("No snapshot", code="no-snapshot")

    with pytest.raises(SourceUnavailable, match="No snapshot"):
        OpenSnapshots[HeldForTest]().take(Claim("pool", "m1", "web", "run-1"), refuse)
