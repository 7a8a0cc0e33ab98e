"""The part of the conformance suite that needs a guest which writes and reads its disk, and nothing else.

So it also holds for a machine of somebody's own, on a server that no test may change otherwise.
"""

from __future__ import annotations

import random
import re

import pytest

from adapters.port import SnapshotRequest, Source, Tracked, Untracked
from tests.conformance.source_harness import (
    SourceHarness,
    assert_changes_complete,
    assert_within,
    backed_up,
    frozen,
    machine_of,
    read,
    reading,
)

KEBAB = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class TrackingGuarantees:
    """What writes and reads are enough to show; a subclass has fixtures `harness` and `source`."""

    @pytest.fixture
    def tracked(self, source: Source, harness: SourceHarness) -> int:
        """The tracking granularity in bytes."""
        fact = next(disk for disk in machine_of(source, harness).disks if disk.key == harness.disk_key)
        assert fact.tracking != "compare"
        return fact.granularity_bytes

    def test_changes_are_complete_and_exact(self, source: Source, harness: SourceHarness, tracked: int) -> None:
        """Changes since the base rebuild the disk, and nothing outside the written units is reported."""
        dice = random.Random(11)
        base = backed_up(source, harness).base_token
        for _ in range(3):
            assert base
            before = harness.content()
            written = [(dice.randrange(len(before) - 20000), dice.randrange(1, 20000)) for _ in range(4)]
            for offset, length in written:
                harness.write(offset, dice.randbytes(length))
            with frozen(source, harness, base, committed=True) as disk:
                assert_within(assert_changes_complete(disk, before, harness.content()), written, tracked)
            base = disk.base_token

    def test_no_writes_no_changes(self, source: Source, harness: SourceHarness, tracked: int) -> None:
        """A disk that nobody wrote has no changes."""
        base = backed_up(source, harness).base_token
        with frozen(source, harness, base, committed=True) as disk:
            assert isinstance(disk.tracking, Tracked)
            assert list(disk.changes()) == []

    def test_a_failed_run_keeps_the_old_base(self, source: Source, harness: SourceHarness, tracked: int) -> None:
        """After a release without commit, changes since the old base are still complete."""
        base = backed_up(source, harness).base_token
        before = harness.content()
        harness.write(100_000, b"first" * 1000)
        with frozen(source, harness, base, committed=False) as disk:
            assert_changes_complete(disk, before, harness.content())
        harness.write(500_000, b"second" * 1000)
        with frozen(source, harness, base, committed=True) as disk:
            assert_changes_complete(disk, before, harness.content())

    def test_a_failed_full_leaves_no_base(self, source: Source, harness: SourceHarness, tracked: int) -> None:
        """After a full that was not committed the next full gives a base that works."""
        with frozen(source, harness, committed=False):
            pass
        base = backed_up(source, harness).base_token
        before = harness.content()
        harness.write(70_000, b"later")
        with frozen(source, harness, base, committed=True) as disk:
            assert_changes_complete(disk, before, harness.content())

    def test_an_invalid_base_is_untracked(self, source: Source, harness: SourceHarness, tracked: int) -> None:
        """A base that the source cannot honour is Untracked with a stable cause; the disk is still readable."""
        content = harness.content()
        with frozen(source, harness, harness.invalid_base()) as disk:
            assert isinstance(disk.tracking, Untracked)
            assert KEBAB.fullmatch(disk.tracking.cause)
            with reading(disk) as reader:
                assert read(reader, 0, 4096) == content[:4096]

    def test_reconcile_keeps_tracking_since_kept_bases(
        self, source: Source, harness: SourceHarness, tracked: int
    ) -> None:
        """A crash in the middle of an incremental loses no change since the base in force."""
        base = backed_up(source, harness).base_token
        assert base
        before = harness.content()
        harness.write(150_000, b"before the crash" * 10)
        machine = machine_of(source, harness)
        doomed = harness.make_source()
        snapshot = doomed.snapshot(machine, SnapshotRequest(label="crashed", bases={harness.disk_key: base}))
        if harness.can_write_during_snapshot:
            harness.write(450_000, b"in the crashed run" * 10)
        harness.crash(doomed, snapshot)
        if harness.can_write_during_snapshot:
            harness.write(850_000, b"after the crash" * 10)
        source.reconcile(machine, {harness.disk_key: base})
        harness.write(950_000, b"after the clean-up" * 10)
        with frozen(source, harness, base, committed=True) as disk:
            assert_changes_complete(disk, before, harness.content())
