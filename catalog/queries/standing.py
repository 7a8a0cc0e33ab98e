"""What there is, what needs attention, and what a text names. Imports this package and `storage`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import numpy as np

from catalog.access.caller import Scope
from catalog.queries.asked import Asked, Page, page
from catalog.queries.machines import kept_of
from catalog.queries.moment import KnownMachine, Moment, Rows, microseconds, time_of
from catalog.queries.points import starting_with
from catalog.queries.references import is_held
from catalog.queries.rows import FailingSource, IndexStatus, LateMachine, SearchHit, UnverifiedPoint
from catalog.queries.runs import Runs
from catalog.queries.warm import NULL
from storage.errors import Invalid
from storage.lake import Lake

LATE = timedelta(days=1)
SHOWN = 20
MAX_TEXT = 200


def status(moment: Moment, runs: Runs, scope: Scope, now: datetime) -> IndexStatus:
    """See `CatalogReads.status`; a machine is late when its last restore point is older than a day at `now`."""
    kept, machines = kept_of(moment), moment.visible_machines(scope)
    points = moment.table("restore_points")
    admitted = moment.admits(scope, points["machine_id"])
    seen = np.ones(points.rows, bool) if admitted is None else admitted
    alive = seen & (moment.deleted_rows < 0)
    results = _last_results(moment)
    oldest = np.flatnonzero(alive & (results < 0))
    latest = np.flatnonzero(alive)
    late = _late(moment, machines, microseconds(now - LATE))
    disks = [kept.disks.get(machine.number, (0, 0, 0)) for machine in machines]
    return IndexStatus(
        position=moment.position,
        machines=len(machines),
        disks=sum(count for count, _, _ in disks),
        excluded_disks=sum(excluded for _, excluded, _ in disks),
        restore_points=int(np.count_nonzero(alive)),
        partial_points=int(np.count_nonzero(alive & (points["left_out"] > 0))),
        deleted_points=int(np.count_nonzero(seen & ~alive)),
        verified_points=int(np.count_nonzero(alive & (results == moment.words("word").find("ok")) & (results >= 0))),
        damaged_points=int(
            np.count_nonzero(alive & (results == moment.words("word").find("damaged")) & (results >= 0))
        ),
        stored_bytes=int(points["stored_bytes"][alive].sum()),
        last_point_at=time_of(int(points["recorded_at"][latest[-1]])) if len(latest) else None,
        oldest_unverified=_unverified(moment, int(oldest[0])) if len(oldest) else None,
        never_backed_up=sum(kept.last[machine.number] < 0 for machine in machines),
        late_machines=len(late),
        late=tuple(late[:SHOWN]),
        failing_sources=tuple(_failing(moment, runs, machines)),
    )


def search(moment: Moment, lake: Lake, runs: Runs, asked: Asked, text: str) -> Page[SearchHit]:
    """See `CatalogReads.search`."""
    wanted = text.strip()
    if not 0 < len(wanted) <= MAX_TEXT:
        raise Invalid(f"a search is for 1 to {MAX_TEXT} letters", code="search-text")
    hits = _machine_hits(moment, asked.scope, wanted.casefold())
    digits = wanted.replace("-", "").lower()
    if re.fullmatch(r"[0-9a-f]{4,32}", digits):
        hits += _point_hits(moment, asked.scope, digits) + _run_hits(moment, runs, asked.scope, digits)
    if re.fullmatch(r"[0-9a-f]{64}", digits) and is_held(moment, lake, asked.scope, bytes.fromhex(digits)):
        hits.append(SearchHit(kind="chunk", id=digits, title="chunk", machine_id=None))
    hits.sort(key=lambda hit: (hit.kind, hit.id))
    return page(asked, moment.position, hits, lambda hit: (hit.kind, hit.id), lambda hit: hit)


def _last_results(moment: Moment) -> Rows:
    """The result of each restore point's last verification, -1 for none."""
    verified = moment.verified_rows
    results = np.append(moment.table("verifications")["result"], -1)
    found: Rows = results[verified]
    return found


def _unverified(moment: Moment, row: int) -> UnverifiedPoint:
    table = moment.table("restore_points")
    return UnverifiedPoint(
        restore_point_id=moment.id(int(table["restore_point_id"][row]), "point"),
        machine_id=moment.id(int(table["machine_id"][row]), "machine"),
        recorded_at=time_of(int(table["recorded_at"][row])),
    )


def _late(moment: Moment, machines: list[KnownMachine], before: int) -> list[LateMachine]:
    """Machines whose last restore point is from before then, those without one first."""
    recorded = moment.table("restore_points")["recorded_at"]
    found = []
    for machine in machines:
        last = kept_of(moment).last[machine.number]
        at = NULL if last < 0 else int(recorded[last])
        if at < before:
            found.append((at, machine))
    return [
        LateMachine(
            machine_id=machine.machine_id,
            source=machine.source,
            name=machine.name,
            last_point_at=None if at == NULL else time_of(at),
        )
        for at, machine in sorted(found, key=lambda one: (one[0], one[1].key))
    ]


def _failing(moment: Moment, runs: Runs, machines: list[KnownMachine]) -> list[FailingSource]:
    """Sources with machines whose last backup failed and which nothing completed since."""
    outcomes = runs.outcomes[: np.searchsorted(runs.outcomes[:, 0], moment.position, "right")]
    last = np.full(len(moment.words("machine")), -1, np.int64)
    last[outcomes[:, 2]] = np.arange(len(outcomes))
    failed: dict[str, list[int]] = {}
    for machine in machines:
        if last[machine.number] >= 0:
            _, at, _, completed = outcomes[last[machine.number]].tolist()
            if not completed:
                failed.setdefault(machine.source, []).append(at)
    return [
        FailingSource(source=source, machines=len(times), last_failed_at=time_of(max(times)))
        for source, times in sorted(failed.items())
    ]


def _machine_hits(moment: Moment, scope: Scope, wanted: str) -> list[SearchHit]:
    found = []
    for machine in moment.visible_machines(scope):
        title = f"{machine.source}/{machine.name}"
        if wanted in title.casefold() or (len(wanted) > 3 and str(machine.machine_id).startswith(wanted)):
            found.append(
                SearchHit(kind="machine", id=str(machine.machine_id), title=title, machine_id=machine.machine_id)
            )
    return found


def _point_hits(moment: Moment, scope: Scope, digits: str) -> list[SearchHit]:
    table = moment.table("restore_points")
    found = []
    for point_id in starting_with(moment, scope, digits):
        row = moment.point(scope, point_id)
        at = time_of(int(table["recorded_at"][row])).isoformat(timespec="seconds").replace("+00:00", "Z")
        found.append(
            SearchHit(
                kind="restore_point",
                id=str(point_id),
                title=f"{moment.text(int(table['machine'][row]))} {at}",
                machine_id=moment.id(int(table["machine_id"][row]), "machine"),
            )
        )
    return found


def _run_hits(moment: Moment, runs: Runs, scope: Scope, digits: str) -> list[SearchHit]:
    found = []
    for number in moment.words("run").starting_with(digits):
        machine = int(runs.machine[number]) if number < len(runs.machine) else -1
        if machine >= 0 and runs.known[number] <= moment.position and moment.sees(scope, machine):
            run, machine_id = str(moment.id(number, "run")), moment.id(machine, "machine")
            found.append(SearchHit(kind="run", id=run, title="run", machine_id=machine_id))
    return found
