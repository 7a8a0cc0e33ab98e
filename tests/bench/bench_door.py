"""What the SQL door costs a question, over DuckDB in the same process. Run alone: `python -m tests.bench door`."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import UUID

import duckdb

from catalog.answers import AnswerFormat
from catalog.log import EventLog
from catalog.projections import TABLES, Projector
from catalog.sql.door.answer import SqlQuestion
from catalog.sql.door.door import DoorLimits, SqlDoor
from catalog.sql.entrance import Entrance, entrance
from catalog.sql.runner import connect
from storage.lake import Lake
from tests.bench.figures import Figure, figure
from tests.support.recorded import Author, Change, rows_at

MACHINES, POINTS, BLOCKS = 20, 10, 2000
ROUNDS = 40
PAUSE_SECONDS = 0.2
"""Between questions, so that a spare is there: what is measured is an analyst, not a crowd."""
QUERY = "SELECT disk_id, count(*) AS n, sum(stored_bytes) AS bytes FROM chunks GROUP BY disk_id ORDER BY n DESC"


def run() -> list[Figure]:
    """Measure on an index of 400,000 chunks."""
    with tempfile.TemporaryDirectory(prefix="holdfast-door-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        with EventLog.create(root / "e.sqlite") as log, closing(Lake.create(root / "index", TABLES)) as lake:
            own = _fill(log, lake)
            return _measured(lake, entrance(lake, machine_ids=None), entrance(lake, machine_ids=frozenset([own])))


def _fill(log: EventLog, lake: Lake) -> UUID:
    author = Author(log)
    machines = [author.machine(f"vm{number}") for number in range(MACHINES)]
    for salt in range(POINTS):
        for machine in machines:
            author.backup(machine, {"vda": Change(rows_at(range(BLOCKS), salt), blocks=BLOCKS)})
    Projector(log, lake).catch_up()
    return machines[0]


def _measured(lake: Lake, whole: Entrance, scoped: Entrance) -> list[Figure]:
    with closing(connect(lake)) as connection, SqlDoor(DoorLimits(), spares=2) as door:
        plain = _times(lambda: _plain(connection))
        sealed = _times(lambda: _asked(door, QUERY, whole))
        simple = _times(lambda: _asked(door, "SELECT 1", whole))
        filtered = _times(lambda: _asked(door, QUERY, scoped))
    with SqlDoor(DoorLimits(), spares=0) as cold:
        _asked(cold, QUERY, whole)
        unready = _times(lambda: _asked(cold, QUERY, whole), pause=0)
    before = statistics.median(plain)
    return [
        figure("SQL door, added to a query over 400,000 rows by a ready worker, p50", _p(sealed, 50) - before, "ms"),
        figure("SQL door, added by a ready worker, p95", _p(sealed, 95) - before, "ms", "<= 50"),
        figure("SQL door, added where no worker is ready, p95", _p(unready, 95) - before, "ms"),
        figure("SQL door, `SELECT 1`, p50", _p(simple, 50), "ms"),
        figure("SQL door, a caller of one machine of twenty, p50", _p(filtered, 50), "ms"),
    ]


def _plain(connection: duckdb.DuckDBPyConnection) -> None:
    connection.sql(QUERY).to_arrow_reader(8192).read_all()


def _asked(door: SqlDoor, query: str, enters: Entrance) -> None:
    with door.ask(SqlQuestion(query, AnswerFormat.JSON), enters) as answer:
        b"".join(answer)


def _times(work: Callable[[], None], *, pause: float = PAUSE_SECONDS) -> list[float]:
    """Milliseconds of each round; the first two prepare."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        found.append((time.perf_counter() - began) * 1000)
        time.sleep(pause)
    return found[2:]


def _p(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]
