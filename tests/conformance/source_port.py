"""Conformance suite of `adapters.port.Source`: what every adapter keeps, whatever its hypervisor.

Subclass `ComparingSuite`, `TrackingSuite` or `OnlineSuite` in the adapter's tests and give it a `harness`
fixture that yields a fresh `SourceHarness`: one machine with at least one disk of 1 MiB to 64 MiB whose content
the harness controls.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from adapters.errors import AdapterError, SourceNotFound
from adapters.port import SnapshotRequest, Source, Tracked, Untracked
from tests.conformance.source_harness import (
    SourceHarness,
    assert_changes_complete,
    assert_ordered,
    backed_up,
    first_difference,
    frozen,
    machine_of,
    read,
    read_by_extents,
    reading,
)
from tests.conformance.source_tracking import KEBAB, TrackingGuarantees


class SourcePortSuite:
    """Every method is one guarantee; a subclass adds the `harness` fixture and nothing else."""

    @pytest.fixture
    def source(self, harness: SourceHarness) -> Iterator[Source]:
        source = harness.make_source()
        yield source
        source.close()

    # --- facts ---

    def test_check_names_the_product(self, source: Source) -> None:
        """A check answers with product and version."""
        fact = source.check()
        assert fact.product
        assert fact.version

    def test_inventory_is_stable_and_unique(self, source: Source, harness: SourceHarness) -> None:
        """Two inventories agree, keys are unique, and the disk under test has its size and can be protected."""
        machines = source.inventory()
        assert [m.key for m in machines] == [m.key for m in source.inventory()]
        assert len({m.key for m in machines}) == len(machines)
        assert all(len({d.key for d in m.disks}) == len(m.disks) for m in machines)
        disk = next(d for d in machine_of(source, harness).disks if d.key == harness.disk_key)
        assert disk.exclusion is None
        assert disk.size_bytes == len(harness.content())
        assert disk.granularity_bytes > 0
        assert disk.identity

    def test_facts_survive_a_new_source(self, source: Source, harness: SourceHarness) -> None:
        """Keys and identities do not depend on our process."""
        other = harness.make_source()
        try:
            assert machine_of(other, harness) == machine_of(source, harness)
        finally:
            other.close()

    def test_identity_survives_writes(self, source: Source, harness: SourceHarness) -> None:
        """Writing to a disk does not make it another disk."""
        before = machine_of(source, harness)
        harness.write(4096, b"written")
        assert machine_of(source, harness) == before

    # --- reading ---

    def test_full_read_equals_content(self, source: Source, harness: SourceHarness) -> None:
        """Reading every extent that is not zero, with zeros elsewhere, gives the disk's content."""
        content = harness.content()
        with frozen(source, harness) as disk, reading(disk) as reader:
            assert reader.size_bytes == disk.fact.size_bytes == len(content)
            assert reader.transport
            read_back = read_by_extents(reader, reader.extents(), bytearray(len(content)))
        assert first_difference(bytes(read_back), content) is None

    def test_extents_cover_the_disk(self, source: Source, harness: SourceHarness) -> None:
        """Extents are gapless and ordered, and what they call zero is zero."""
        content = harness.content()
        with frozen(source, harness) as disk, reading(disk) as reader:
            extents = list(reader.extents())
            assert extents == list(reader.extents())
        assert_ordered(extents, len(content))
        assert sum(extent.length for extent in extents) == len(content)
        assert not any(any(content[e.start : e.end]) for e in extents if e.zero)

    def test_extents_see_discards(self, source: Source, harness: SourceHarness) -> None:
        """A discarded range reads as zeros."""
        harness.write(131072, b"\xaa" * 65536)
        harness.discard(131072, 65536)
        with frozen(source, harness) as disk, reading(disk) as reader:
            assert read(reader, 131072, 65536) == bytes(65536)

    def test_unaligned_reads(self, source: Source, harness: SourceHarness) -> None:
        """Any offset and length inside the disk may be read, one byte and no byte included."""
        content = harness.content()
        size = len(content)
        with frozen(source, harness) as disk, reading(disk) as reader:
            for offset, length in ((0, 1), (1, 511), (4095, 4098), (size - 1, 1), (size - 513, 513), (size, 0)):
                assert read(reader, offset, length) == content[offset : offset + length]

    @pytest.mark.parametrize(("behind_end", "length"), [(0, 1), (-1, 2), (1, 1), (1 << 40, 4096)])
    def test_reads_past_the_end_are_refused(
        self, source: Source, harness: SourceHarness, behind_end: int, length: int
    ) -> None:
        """A read that touches a byte behind the end raises, and the reader still serves others."""
        content = harness.content()
        with frozen(source, harness) as disk, reading(disk) as reader:
            with pytest.raises(AdapterError):
                reader.pread_into(len(content) + behind_end, memoryview(bytearray(length)))
            assert read(reader, 0, 512) == content[:512]

    def test_threads_read_at_once(self, source: Source, harness: SourceHarness) -> None:
        """Concurrent reads of one reader each get their own bytes."""
        content = harness.content()
        dice = random.Random(7)
        spans = [(dice.randrange(len(content) - 70000), dice.randrange(1, 70000)) for _ in range(200)]
        with frozen(source, harness) as disk, reading(disk) as reader, ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda span: read(reader, *span), spans))
        assert all(
            answer == content[start : start + length] for answer, (start, length) in zip(answers, spans, strict=True)
        )

    def test_two_readers_of_one_disk(self, source: Source, harness: SourceHarness) -> None:
        """A disk can be opened twice, and closing one reader leaves the other alone."""
        content = harness.content()
        with frozen(source, harness) as disk, reading(disk) as first:
            with reading(disk) as second:
                assert read(second, 0, 4096) == content[:4096]
            assert read(first, 4096, 4096) == content[4096:8192]

    # --- the moment ---

    def test_only_requested_disks_are_frozen(self, source: Source, harness: SourceHarness) -> None:
        """Disks absent from the request are absent from the snapshot."""
        snapshot = source.snapshot(
            machine_of(source, harness), SnapshotRequest(label="conformance", bases={harness.disk_key: None})
        )
        try:
            assert set(snapshot.disks) == {harness.disk_key}
            assert snapshot.label == "conformance"
        finally:
            snapshot.release(committed=False)

    def test_unknown_machine_is_not_found(self, source: Source, harness: SourceHarness) -> None:
        """A machine that is gone raises SourceNotFound."""
        stranger = replace(machine_of(source, harness), key="no-such-machine", name="no-such-machine")
        with pytest.raises(SourceNotFound):
            source.snapshot(stranger, SnapshotRequest(label="conformance", bases={harness.disk_key: None}))

    def test_unknown_disk_is_not_found(self, source: Source, harness: SourceHarness) -> None:
        """A disk key that the machine lacks raises SourceNotFound and leaves nothing behind."""
        before = list(harness.leftovers())
        with pytest.raises(SourceNotFound):
            source.snapshot(
                machine_of(source, harness),
                SnapshotRequest(label="conformance", bases={harness.disk_key: None, "no-such-disk": None}),
            )
        assert list(harness.leftovers()) == before

    def test_a_grown_disk_is_not_missed(self, source: Source, harness: SourceHarness) -> None:
        """A grown disk shows its new size; what it calls changes rebuilds it, or it is Untracked."""
        base = backed_up(source, harness).base_token
        before = harness.content()
        grown = len(before) + (1 << 20)
        harness.grow(grown)
        harness.write(grown - 5000, b"new space")
        now = harness.content()
        with frozen(source, harness, base, committed=True) as disk, reading(disk) as reader:
            assert disk.fact.size_bytes == reader.size_bytes == grown == len(now)
            if isinstance(disk.tracking, Tracked):
                assert_changes_complete(disk, before, now)
            assert first_difference(bytes(read_by_extents(reader, reader.extents(), bytearray(grown))), now) is None

    def test_a_replaced_disk_is_not_missed(self, source: Source, harness: SourceHarness) -> None:
        """Another disk under the same key has another identity, or is Untracked, or reports every difference."""
        first = backed_up(source, harness)
        base, identity = first.base_token, first.fact.identity
        before = harness.content()
        harness.replace_disk()
        with frozen(source, harness, base) as disk:
            if disk.fact.identity == identity and isinstance(disk.tracking, Tracked):
                assert_changes_complete(disk, before, harness.content())
            with reading(disk) as reader:
                now = harness.content()
                assert first_difference(read(reader, 0, len(now)), now) is None

    # --- giving back ---

    @pytest.mark.parametrize("committed", [True, False])
    def test_release_gives_everything_back(self, source: Source, harness: SourceHarness, committed: bool) -> None:
        """After a release nothing of a snapshot in progress is left, and releasing or closing twice is harmless."""
        before = list(harness.leftovers())
        snapshot = source.snapshot(
            machine_of(source, harness), SnapshotRequest(label="conformance", bases={harness.disk_key: None})
        )
        reader = snapshot.disks[harness.disk_key].open()
        reader.close()
        reader.close()
        snapshot.release(committed=committed)
        snapshot.release(committed=committed)
        assert list(harness.leftovers()) == before
        source.close()
        source.close()

    def test_release_with_an_open_reader(self, source: Source, harness: SourceHarness) -> None:
        """A release does not wait for a reader that somebody forgot; such a reader raises afterwards."""
        with frozen(source, harness) as disk:
            reader = disk.open()
        with pytest.raises(AdapterError):
            reader.pread_into(0, memoryview(bytearray(4096)))
        reader.close()
        assert not harness.leftovers()

    def test_reconcile_removes_our_leftovers_only(self, source: Source, harness: SourceHarness) -> None:
        """After a crash, reconcile removes what we left, names it, and leaves other people's things alone."""
        harness.plant_foreign()
        machine = machine_of(source, harness)
        doomed = harness.make_source()
        snapshot = doomed.snapshot(machine, SnapshotRequest(label="crashed", bases={harness.disk_key: None}))
        harness.crash(doomed, snapshot)
        left = list(harness.leftovers())
        cleaned = source.reconcile(machine, {})
        assert bool(cleaned) >= bool(left)
        assert all(item.what and item.action for item in cleaned)
        assert not harness.leftovers()
        assert harness.foreign_intact()
        assert list(source.reconcile(machine, {})) == []
        with frozen(source, harness):
            pass


class ComparingSuite(SourcePortSuite):
    """A source whose changes are found by comparing."""

    def test_compare_sources_say_so(self, source: Source, harness: SourceHarness) -> None:
        """A source that does not track changes never claims a disk as tracked."""
        with frozen(source, harness, base=None) as disk:
            assert disk.fact.tracking == "compare"
            assert isinstance(disk.tracking, Untracked)
            assert KEBAB.fullmatch(disk.tracking.cause)


class TrackingSuite(TrackingGuarantees, SourcePortSuite):
    """A source that tells what changed. A discard is seen as zeros when it is `discarded_bytes` long, and aligned."""

    discarded_bytes = 65536

    def test_discards_are_changes_to_zero(self, source: Source, harness: SourceHarness, tracked: int) -> None:
        """A discarded range is a change that says zero, so that older data is cleared."""
        start = length = 2 * max(tracked, self.discarded_bytes)
        harness.write(start, b"\x55" * length)
        base = backed_up(source, harness).base_token
        before = harness.content()
        harness.discard(start, length)
        with frozen(source, harness, base, committed=True) as disk:
            changes = assert_changes_complete(disk, before, harness.content())
        assert sum(change.length for change in changes if change.zero) >= length


class OnlineSuite(TrackingSuite):
    """A source that tells what changed, and freezes disks that go on being written."""

    def test_point_in_time_holds(self, source: Source, harness: SourceHarness) -> None:
        """What is written after the snapshot is not read from it."""
        content = harness.content()
        with frozen(source, harness) as disk, reading(disk) as reader:
            harness.write(0, b"after" * 1000)
            harness.write(len(content) // 2, b"after" * 1000)
            read_back = read_by_extents(reader, reader.extents(), bytearray(len(content)))
        assert first_difference(bytes(read_back), content) is None

    def test_writes_during_the_snapshot_are_the_next_changes(
        self, source: Source, harness: SourceHarness, tracked: int
    ) -> None:
        """What is written while a snapshot is open belongs to the next point, not to none."""
        before = harness.content()
        with frozen(source, harness, committed=True) as disk:
            harness.write(300_000, b"meanwhile" * 100)
        base = disk.base_token
        with frozen(source, harness, base, committed=True) as disk:
            assert_changes_complete(disk, before, harness.content())
