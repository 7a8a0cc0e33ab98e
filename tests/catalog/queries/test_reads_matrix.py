"""Every question there is, for every scope: nothing foreign in the answer, and the same from every reader."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from catalog.access.caller import EVERYTHING
from catalog.queries.reads import Asked, CatalogReads
from catalog.resolve.from_lake import LakeRows
from catalog.resolve.resolver import Resolver
from storage.errors import NotFound
from tests.support.history import DIGESTS
from tests.support.naive_reads import Naive
from tests.support.read_world import FIRST, LAST, START, World, asked_and_naive

NOT_ASKED = {"position", "position_at", "refresh", "close"}


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
