"""CatalogReads against plain Python over the events: random histories, scopes and positions."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import msgspec
import pytest

from catalog.access.caller import EVERYTHING, Scope
from catalog.log import EventLog, Recorded
from catalog.projections import TABLES, Projector
from catalog.queries import blocks, happenings, provenance, references
from catalog.queries.reads import Asked, CatalogReads, Page
from catalog.queries.rows import PointRow
from catalog.resolve.from_lake import LakeRows
from catalog.resolve.resolver import Resolver
from storage.errors import Invalid, NotFound
from storage.lake import Lake
from tests.support.history import DIGESTS, History
from tests.support.naive_reads import Map, Maps, Naive

SEEDS = range(5)
SCOPES = (EVERYTHING, Scope(("lab/*",)), Scope(("prod*/*", "lab/web")), Scope(()), Scope(("*",)))
FIRST, LAST = date(2026, 1, 1), date(2026, 1, 2)
START = datetime(2026, 1, 1, tzinfo=UTC)


SMALL = (
    (happenings, "FIRST_WINDOW", 3),
    (happenings, "LAST_WINDOW", 16),
    (happenings, "NEAR", 2),
    (blocks, "WINDOW_BLOCKS", 5),
    (blocks, "BATCH_ROWS", 2),
    (provenance, "WINDOW_BLOCKS", 7),
    (references, "CELLS", 9),
)


class World:
    """A history, its index and the reads, which followed it step by step."""

    def __init__(self, log: EventLog, lake: Lake, seed: int) -> None:
        self.log = log
        self.lake = lake
        self.history = History(log, seed)
        self.random = Random(seed)
        self._recorded: list[Recorded] = []
        self._maps: Maps = {}
        self.reads = CatalogReads(lake, Resolver(LakeRows(lake)))

    def go_on(self, steps: int) -> None:
        """Record some more and let the reads follow."""
        self.history.steps(steps)
        Projector(self.log, self.lake).catch_up()
        self.reads.refresh()

    def positions(self) -> list[int]:
        """The newest position and some earlier ones."""
        end = self.reads.position
        return [end, *sorted(self.random.sample(range(1, end), 2))]

    def naive(self, position: int, scope: Scope) -> Naive:
        """The slow answers."""
        if not self._recorded or self._recorded[-1].position < position:
            self._recorded = list(self.log.follow(0))
        return Naive(self._recorded, position, scope, self._maps)


@contextmanager
def world(folder: Path, seed: int, steps: int = 40) -> Iterator[World]:
    """A history that was projected in several goes; between them files are merged and what is not cited is removed."""
    with (
        closing(EventLog.create(folder / "events.sqlite")) as log,
        closing(Lake.create(folder / "lake", TABLES)) as lake,
    ):
        made = World(log, lake, seed)
        for _ in range(4):
            made.go_on(steps // 4)
            for table in TABLES:
                lake.compact(table.name, min_files=3)
            lake.expire_snapshots(())
            lake.delete_scheduled(timedelta(0))
        yield made


@pytest.fixture(scope="module", params=SEEDS)
def some(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A random history, which the tests only read; every other one with windows so small that all are crossed."""
    with pytest.MonkeyPatch.context() as patch, world(tmp_path_factory.mktemp("world"), request.param) as made:
        if request.param % 2:
            for module, name, value in SMALL:
                patch.setattr(module, name, value)
        yield made


def asked_and_naive(some: World) -> Iterator[tuple[Asked, Naive]]:
    """Every scope at some positions."""
    for position in some.positions():
        for scope in SCOPES:
            yield Asked(scope, as_of=position, limit=1000), some.naive(position, scope)


def whole(ask: Callable[[Asked], Page[Any]], asked: Asked) -> list[Any]:
    """All pages of a list."""
    rows: list[Any] = []
    while True:
        page = ask(asked)
        rows += page.rows
        assert page.position == asked.as_of
        assert len(page.rows) <= asked.limit
        if page.next is None:
            return rows
        assert len(page.rows) == asked.limit
        asked = replace(asked, after=page.next)


def test_machines_and_disks_are_those_of_the_events(some: World) -> None:
    """Names, sizes and what is kept are as last seen at the position asked for."""
    for asked, naive in asked_and_naive(some):
        rows = some.reads.machines(asked).rows
        assert [row.machine_id for row in rows] == list(naive.machines)
        assert some.reads.scope_ids(asked.scope, asked.as_of) == (
            None if asked.scope.everything else frozenset(naive.machines)
        )
        for row in rows:
            position, seen = naive.machines[row.machine_id]
            points = naive.alive(row.machine_id)
            assert (row.source, row.name, row.key, row.position) == (seen.source, seen.name, seen.key, position)
            assert (row.disks, row.size_bytes) == (len(seen.disks), sum(disk.size_bytes for disk in seen.disks))
            assert row.excluded_disks == sum(disk.excluded_reason is not None for disk in seen.disks)
            assert row.restore_points == len(points)
            assert row.stored_bytes == sum(disk.stored_bytes for _, point in points for disk in point.disks)
            assert row.last_point_id == (points[-1][1].restore_point_id if points else None)
            assert row == some.reads.machine(asked, row.machine_id)
            disks = some.reads.disks(asked, row.machine_id).rows
            assert [(d.disk_id, d.label, d.size_bytes, d.present) for d in disks] == naive.disks_now(row.machine_id)


def test_restore_points_are_those_of_the_events(some: World) -> None:
    """Lists leave deleted points out, and what is known of a point is what was recorded by then."""
    for asked, naive in asked_and_naive(some):
        rows = whole(lambda one: some.reads.restore_points(one, newest_first=False), asked)
        assert [row.position for row in rows] == [position for position, _ in naive.alive()]
        newest = some.reads.restore_points(asked).rows
        assert list(newest) == rows[::-1]
        every = some.reads.restore_points(asked, include_deleted=True, newest_first=False).rows
        assert [row.position for row in every] == [position for position, _ in naive.points]
        for row, (_, event) in zip(every, naive.points, strict=True):
            assert row == some.reads.restore_point(asked, row.restore_point_id)
            assert (row.machine, row.result, row.taken_at) == (event.machine, event.result, event.taken_at)
            assert row.left_out_disks == tuple(disk.label for disk in event.left_out)
            left_out = some.reads.left_out(asked, row.restore_point_id)
            assert [disk.disk_id for disk in left_out] == [disk.disk_id for disk in event.left_out]
            check, tombstone = naive.verified.get(row.restore_point_id), naive.deleted.get(row.restore_point_id)
            assert (row.verified_result, row.verified_at) == (check and check.result, check and check.recorded_at)
            assert (row.deleted and row.deleted.reason) == (tombstone and tombstone.reason)
        for machine_id in naive.machines:
            mine = some.reads.restore_points(asked, machine_id=machine_id, newest_first=False).rows
            assert [row.position for row in mine] == [position for position, _ in naive.alive(machine_id)]


def test_points_are_chosen_by_time(some: World) -> None:
    """`since` is included, `until` is not; `valid_at` asks the claimed time and the time of deletion."""
    for asked, naive in asked_and_naive(some):
        at = START + timedelta(minutes=some.random.randint(0, 200))
        valid = some.reads.restore_points(asked, valid_at=at, newest_first=False).rows
        assert [row.restore_point_id for row in valid] == naive.valid(at)
        times = [event.recorded_at for _, event in naive.alive()]
        if len(times) > 2:
            since, until = times[1], times[-1]
            rows = some.reads.restore_points(asked, since=since, until=until, newest_first=False).rows
            assert [row.recorded_at for row in rows] == [time for time in times if since <= time < until]


def test_disks_of_a_point_tell_their_chain_and_their_blocks(some: World) -> None:
    """Chain, block map and provenance are what laying the points over one another gives."""
    for asked, naive in asked_and_naive(some):
        for _, event in some.random.sample(naive.points, min(4, len(naive.points))):
            point = event.restore_point_id
            rows = some.reads.point_disks(asked, point).rows
            wanted = sorted(event.disks, key=lambda disk: (disk.label, str(disk.disk_id)))
            assert [(row.disk_id, row.seq, row.parent_seq) for row in rows] == [
                (disk.disk_id, disk.seq, disk.parent_seq) for disk in wanted
            ]
            supplied = some.reads.provenance(asked, point).rows
            for row in rows:
                assert list(row.chain) == naive.chain(row.disk_id, row.seq)
                assert row.chain_points == len(row.chain)
                blocks = naive.map(row.disk_id, row.seq)
                assert shown(some.reads, asked, point, row.disk_id) == blocks
                check_provenance([one for one in supplied if one.disk_id == row.disk_id], blocks, row)


def shown(reads: CatalogReads, asked: Asked, point: UUID, disk_id: UUID) -> Map:
    """The block map as the stream tells it."""
    schema, batches = reads.block_map(asked, point, disk_id)
    found: Map = {}
    following = 0
    for batch in batches:
        assert batch.schema == schema
        for row in batch.to_pylist():
            assert row["block"] == following
            following += row["blocks"]
            if row["kind"] == "chunk":
                found[row["block"]] = (0, row["digest"], row["pack_id"], row["pack_offset"], row["stored_bytes"])
            else:
                assert row["digest"] is row["pack_id"] is row["pack_offset"] is row["stored_bytes"] is None
            if row["kind"] == "zero":
                found |= dict.fromkeys(range(row["block"], following), "zero")
    return SameBlocks(found)


class SameBlocks(dict[int, Any]):
    """A map that equals another but for the writers, which a stream does not tell."""

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, dict)
        return self.keys() == other.keys() and all(_place(self[block]) == _place(other[block]) for block in self)

    __hash__ = None  # type: ignore[assignment]  # a dict has none


def _place(cell: Any) -> Any:
    return cell[1:] if isinstance(cell, tuple) else cell


def check_provenance(rows: list[Any], blocks: Map, disk: Any) -> None:
    """Every chunk is supplied by its writer; bytes end where the disk does."""
    writers = {block: cell[0] for block, cell in blocks.items() if isinstance(cell, tuple)}
    counts = {seq: list(writers.values()).count(seq) for seq in set(writers.values())}
    assert {row.seq: row.blocks for row in rows} == counts
    size = {
        seq: sum(
            min(disk.chunk_bytes, disk.size_bytes - block * disk.chunk_bytes)
            for block in writers
            if writers[block] == seq
        )
        for seq in counts
    }
    assert {row.seq: row.bytes for row in rows} == size
    assert not rows or sum(row.share for row in rows) == pytest.approx(1)


def test_a_part_of_a_map_is_that_part(some: World) -> None:
    """Any window of blocks has the rows of the whole map that are in it; others are refused."""
    asked = Asked(EVERYTHING)
    for point in some.reads.restore_points(asked, include_deleted=True).rows[:5]:
        disk = some.reads.point_disks(asked, point.restore_point_id).rows[0]
        total = -(-disk.size_bytes // disk.chunk_bytes)
        cells = spread(some.reads, asked, point, disk.disk_id, 0, total)
        first = some.random.randrange(total)
        count = some.random.randint(0, total - first)
        assert spread(some.reads, asked, point, disk.disk_id, first, count) == cells[first : first + count]
        for start, length in ((-1, 1), (0, total + 1), (total + 1, 0), (0, -1)):
            with pytest.raises(Invalid, match="blocks"):
                some.reads.block_map(asked, point.restore_point_id, disk.disk_id, first_block=start, count=length)


def spread(
    reads: CatalogReads, asked: Asked, point: PointRow, disk_id: UUID, first: int, count: int
) -> list[tuple[Any, ...]]:
    """A row for each block."""
    _, batches = reads.block_map(asked, point.restore_point_id, disk_id, first_block=first, count=count)
    rows = [row for batch in batches for row in batch.to_pylist()]
    return [
        (row["block"] + more, row["kind"], row["digest"], row["pack_id"], row["pack_offset"])
        for row in rows
        for more in range(row["blocks"])
    ]


def test_references_are_the_points_that_hold_a_chunk(some: World) -> None:
    """Written and inherited, at each position and for each scope; deleted points are not counted."""
    for asked, naive in asked_and_naive(some):
        digest = some.random.choice(DIGESTS)
        rows = whole(lambda one, digest=digest: some.reads.references(one, digest), replace(asked, limit=7))
        assert [(str(row.disk_id), row.seq, row.first_block, row.blocks) for row in rows] == naive.references(digest)
        held = whole(
            lambda one, digest=digest: some.reads.references(one, digest, inherited=True), replace(asked, limit=7)
        )
        assert sorted(spans(held, naive)) == wanted_spans(naive, digest)


def spans(rows: list[Any], naive: Naive) -> list[tuple[str, int, int]]:
    """(disk, seq, block) of each row, its counts checked on the way."""
    found = []
    for row in rows:
        points = naive.disk_points[row.disk_id]
        seqs = [seq for seq in sorted(points) if row.seq <= seq <= row.last_seq]
        kept = [seq for seq in seqs if points[seq][0].restore_point_id not in naive.deleted]
        assert row.points == len(kept)
        assert row.restore_point_id == points[row.seq][0].restore_point_id
        assert row.last_restore_point_id == points[row.last_seq][0].restore_point_id
        after = [seq for seq in sorted(points) if seq > row.last_seq]
        assert row.until_restore_point_id == (points[after[0]][0].restore_point_id if after else None)
        found += [(str(row.disk_id), seq, row.first_block + more) for seq in kept for more in range(row.blocks)]
    return found


def wanted_spans(naive: Naive, digest: bytes) -> list[tuple[str, int, int]]:
    """Those of points that were not deleted."""
    return [
        (disk, seq, block)
        for disk, seq, block in naive.inherited(digest)
        if naive.disk_points[UUID(disk)][seq][0].restore_point_id not in naive.deleted
    ]


def test_coverage_is_that_of_the_events(some: World) -> None:
    """The report and the grid are the pure functions' answers on what was known."""
    for asked, naive in asked_and_naive(some):
        grid = some.reads.coverage_grid(asked, first_day=FIRST, last_day=LAST).rows
        assert [row.machine_id for row in grid] == list(naive.machines)
        for row in grid:
            days = naive.days(row.machine_id, FIRST, LAST)
            assert [msgspec.to_builtins(day) for day in row.days] == [msgspec.to_builtins(day) for day in days]
            assert row.first_seen_at == some.reads.machine(asked, row.machine_id).first_seen_at
            period = {"start": START, "end": START + timedelta(hours=4), "rpo": timedelta(minutes=20)}
            found = some.reads.coverage(asked, row.machine_id, **period)  # type: ignore[arg-type]  # three options
            report = naive.coverage(row.machine_id, *period.values())  # type: ignore[arg-type]  # in this order
            assert (found.covered, found.points, found.known_from) == (report.covered, report.points, report.known_from)
            assert [(gap.start, gap.end) for gap in found.gaps] == [(gap.start, gap.end) for gap in report.gaps]


def test_events_are_those_of_the_log(some: World) -> None:
    """All, of a machine with its runs, of a restore point, of a scope; each way round, page by page."""
    for asked_all, naive in asked_and_naive(some):
        asked = replace(asked_all, limit=9)
        for turned in (False, True):
            rows = whole(lambda one, turned=turned: some.reads.events(one, newest_first=turned), asked)
            assert [row.position for row in rows] == naive.events()[:: -1 if turned else 1]
        for machine_id in list(naive.machines)[:2]:
            mine = whole(lambda one, of=machine_id: some.reads.events(one, machine_id=of), asked)
            assert [row.position for row in mine] == naive.events(machine_id)
        for _, event in naive.points[:2]:
            told = whole(lambda one, of=event.restore_point_id: some.reads.events(one, restore_point_id=of), asked)
            assert [row.position for row in told] == naive.events(point=event.restore_point_id)
        for topic in ("RunOpened", "MachineSeen/1"):
            some_rows = whole(lambda one, topic=topic: some.reads.events(one, topic=topic), asked)
            assert [row.position for row in some_rows] == [
                row.position for row in rows[::-1] if row.topic.startswith(topic)
            ]
        for position in range(1, some.reads.position + 1, 11):
            if position in naive.events():
                assert some.reads.event(asked, position).position == position
            else:
                with pytest.raises(NotFound):
                    some.reads.event(asked, position)


def test_status_and_search_are_those_of_the_events(some: World) -> None:
    """Counts are of the scope, at the position; a search finds names and beginnings of identifiers."""
    for asked, naive in asked_and_naive(some):
        status = some.reads.status(asked)
        alive = [event.restore_point_id for _, event in naive.alive()]
        results = [naive.verified[point].result for point in alive if point in naive.verified]
        assert (status.machines, status.restore_points) == (len(naive.machines), len(alive))
        assert status.deleted_points == len(naive.points) - len(alive)
        assert (status.verified_points, status.damaged_points) == (results.count("ok"), results.count("damaged"))
        unverified = [point for point in alive if point not in naive.verified]
        assert (status.oldest_unverified and status.oldest_unverified.restore_point_id) == (
            unverified[0] if unverified else None
        )
        assert status.never_backed_up == sum(not naive.alive(machine) for machine in naive.machines)
        assert {one.source: one.machines for one in status.failing_sources} == naive.failing()
        hits = some.reads.search(asked, "WEB").rows
        assert {hit.machine_id for hit in hits} == {
            key for key, (_, seen) in naive.machines.items() if "web" in f"{seen.source}/{seen.name}".casefold()
        }
        for point in alive[:3]:
            assert some.reads.find_point(asked, point.hex[:12]).restore_point_id == point
            assert str(point) in [hit.id for hit in some.reads.search(asked, point.hex[:6]).rows]
        if alive:
            assert some.reads.find_point(asked, "latest").restore_point_id == alive[-1]
        held = {digest for digest in DIGESTS if naive.written(digest)}
        assert {d for d in DIGESTS if some.reads.search(asked, d.hex()).rows} == held


def test_a_position_of_a_time_is_the_last_one_recorded_by_then(some: World) -> None:
    """Every event up to it was recorded at or before the time, the next one was not."""
    events = list(some.log.follow(0))
    for recorded in some.random.sample(events, 5):
        for when in (recorded.event.recorded_at, recorded.event.recorded_at - timedelta(microseconds=1)):
            later = [one.position for one in events if one.event.recorded_at > when]
            assert some.reads.position_at(when) == (min(later) - 1 if later else events[-1].position)


def answers(reads: CatalogReads, asked: Asked, world: World) -> dict[str, Callable[[], Any]]:
    """Every question there is, put so that it would tell of all it may."""
    start, end = START, START + timedelta(days=1)
    machine = world.history.guests[0].machine_id
    points = reads.restore_points(Asked(EVERYTHING, as_of=asked.as_of), machine_id=machine).rows
    point = points[0].restore_point_id if points else UUID(int=1)
    disk = world.history.guests[0].disk_id("vda")
    return {
        "machines": lambda: reads.machines(asked),
        "machine": lambda: reads.machine(asked, machine),
        "find_machine": lambda: reads.find_machine(asked, str(machine)),
        "disks": lambda: reads.disks(asked, machine),
        "restore_points": lambda: reads.restore_points(asked, include_deleted=True),
        "restore_point": lambda: reads.restore_point(asked, point),
        "find_point": lambda: reads.find_point(asked, point.hex),
        "point_disks": lambda: reads.point_disks(asked, point),
        "left_out": lambda: reads.left_out(asked, point),
        "provenance": lambda: reads.provenance(asked, point),
        "extents": lambda: reads.extents(asked, point, disk),
        "extent_batches": lambda: [one.to_pylist() for one in reads.extent_batches(asked, point, disk)[1]],
        "block_map": lambda: [one.to_pylist() for one in reads.block_map(asked, point, disk)[1]],
        "references": lambda: [
            reads.references(asked, digest, inherited=inherited) for digest in DIGESTS for inherited in (True, False)
        ],
        "coverage": lambda: reads.coverage(asked, machine, start=start, end=end, rpo=timedelta(hours=1)),
        "coverage_grid": lambda: reads.coverage_grid(asked, first_day=FIRST, last_day=LAST),
        "events": lambda: reads.events(asked),
        "event": lambda: [reads.event(asked, position) for position in (1,)],
        "search": lambda: [reads.search(asked, text) for text in ("a", "e", "/", point.hex[:4])],
        "status": lambda: reads.status(asked),
        "scope_ids": lambda: sorted(reads.scope_ids(asked.scope, asked.as_of) or ()),
    }


NOT_ASKED = {"position", "position_at", "refresh", "close"}


def test_every_question_is_in_the_matrix(some: World) -> None:
    """A question that is added later must prove that it honours scopes."""
    public = {name for name, _ in inspect.getmembers(CatalogReads) if not name.startswith("_")}
    assert set(answers(some.reads, Asked(EVERYTHING), some)) == public - NOT_ASKED


def test_a_foreign_machine_is_in_no_answer(some: World) -> None:
    """What a scope does not admit is NotFound by its identifier, and nowhere else: no id, no run, no point, no disk."""
    for asked, naive in asked_and_naive(some):
        everything = some.naive(naive.position, EVERYTHING)
        foreign = foreign_words(everything, naive)
        guest = some.history.guests[0]
        for name, answer in answers(some.reads, asked, some).items():
            try:
                text = msgspec.json.encode(answer(), enc_hook=str).decode()
            except NotFound as error:
                text = str(error).replace(str(guest.machine_id), "")
                text = text.split(" no restore point")[0] if name == "find_point" else ""
            for word in foreign:
                assert word not in text, name


def foreign_words(everything: Naive, naive: Naive) -> set[str]:
    """Identifiers that only machines out of scope have."""
    if naive.scope.everything:
        return set()
    words = set()
    for machine_id in everything.machines.keys() - naive.machines.keys():
        words |= {str(machine_id), machine_id.hex}
        words |= {str(disk[0]) for disk in everything.disks_now(machine_id)}
        for _, event in everything.points:
            if event.originator_id == machine_id:
                words |= {str(event.restore_point_id), str(event.run_id)}
    return words


def test_pages_at_a_position_stay_while_the_catalog_grows(tmp_path: Path) -> None:
    """Pages of a pinned position put together are the whole list, whatever is recorded between them."""
    with world(tmp_path, 99) as made:
        reads = made.reads
        pinned = Asked(EVERYTHING, as_of=reads.position, limit=1000)
        asks: dict[str, Callable[[Asked], Page[Any]]] = {
            "machines": reads.machines,
            "points": reads.restore_points,
            "oldest": lambda one: reads.restore_points(one, newest_first=False),
            "events": reads.events,
            "newest": lambda one: reads.events(one, newest_first=True),
            "references": lambda one: reads.references(one, DIGESTS[0], inherited=True),
            "grid": lambda one: reads.coverage_grid(one, first_day=FIRST, last_day=LAST),
            "search": lambda one: reads.search(one, "e"),
        }
        before = {name: ask(pinned).rows for name, ask in asks.items()}
        for name, ask in asks.items():
            rows: list[Any] = []
            asked = replace(pinned, limit=3)
            while True:
                page = ask(asked)
                rows += page.rows
                if page.next is None:
                    break
                asked = replace(asked, after=page.next)
                if len(rows) < 10:
                    made.go_on(2)
            assert tuple(rows) == before[name], name


def test_a_new_reader_says_the_same_as_one_that_followed(some: World) -> None:
    """What was learned step by step is what reading it all at once gives."""
    fresh = CatalogReads(some.lake, Resolver(LakeRows(some.lake)))
    for asked, _ in asked_and_naive(some):
        for name, answer in answers(fresh, asked, some).items():
            old = answers(some.reads, asked, some)[name]
            if name not in ("status", "extent_batches"):
                assert _said(answer) == _said(old), name


def _said(answer: Callable[[], Any]) -> Any:
    try:
        return answer()
    except NotFound as error:
        return error.code


def test_readers_are_never_torn_and_never_wait(tmp_path: Path) -> None:
    """While the catalog grows and refreshes, other threads' answers are whole and of one position each."""
    with world(tmp_path, 7) as made:
        stop = threading.Event()

        def read() -> int:
            rounds = 0
            while not stop.is_set():
                machines = made.reads.machines(Asked(EVERYTHING, limit=1000))
                pinned = Asked(EVERYTHING, as_of=machines.position, limit=1000)
                points = made.reads.restore_points(pinned).rows
                assert sum(row.restore_points for row in machines.rows) == len(points)
                events = made.reads.events(replace(pinned, limit=1), newest_first=True)
                assert [row.position for row in events.rows] == [machines.position]
                assert made.reads.status(pinned).restore_points == len(points)
                if points:
                    assert made.reads.point_disks(pinned, points[0].restore_point_id).rows
                rounds += 1
            return rounds

        with ThreadPoolExecutor(3) as pool:
            readers = [pool.submit(read) for _ in range(3)]
            for _ in range(25):
                made.go_on(2)
            stop.set()
            assert all(reader.result() for reader in readers)


def test_names_are_data(tmp_path: Path) -> None:
    """Control characters in names come out as they went in: who shows them must clean them."""
    with world(tmp_path, 1, steps=8) as made:
        guest = made.history.guests[0]
        guest.name = "x\x1b]0;pwned\x07\u202e"
        made.history.see(guest)
        made.go_on(1)
        assert made.reads.machine(Asked(EVERYTHING), guest.machine_id).name == guest.name
        assert made.reads.search(Asked(EVERYTHING), "\x1b]0").rows[0].machine_id == guest.machine_id


@pytest.mark.parametrize("after", [("x",), (1, 2), (None,), (), ("a", "b", "c", "d")])
def test_a_cursor_of_another_list_is_refused(tmp_path: Path, after: Any) -> None:
    """A cursor that no page gave is Invalid, never a wrong page."""
    with world(tmp_path, 3, steps=20) as made:
        asked = Asked(EVERYTHING, after=after)
        for ask in (
            made.reads.restore_points,
            made.reads.events,
            lambda one: made.reads.references(one, DIGESTS[0]),
        ):
            with pytest.raises(Invalid):
                ask(asked)


def test_positions_and_limits_that_cannot_be_are_refused(tmp_path: Path) -> None:
    """The future cannot be answered for, and a page is bounded."""
    with world(tmp_path, 3, steps=20) as made:
        for as_of in (-1, made.reads.position + 1):
            with pytest.raises(Invalid):
                made.reads.machines(Asked(EVERYTHING, as_of=as_of))
        for limit in (0, 1001):
            with pytest.raises(Invalid):
                Asked(EVERYTHING, limit=limit)
        assert made.reads.machines(Asked(EVERYTHING, as_of=0)).rows == ()
        assert made.reads.status(Asked(EVERYTHING, as_of=0)).machines == 0
        with pytest.raises(Invalid):
            made.reads.references(Asked(EVERYTHING), b"short")
