"""Time, memory, rows, bytes and processes: what a question may cost, and that nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from catalog.answers import AnswerFormat
from catalog.sql.door.answer import SqlAnswer, SqlQuestion
from catalog.sql.door.door import DoorLimits, SqlDoor
from catalog.sql.door.layers import UNSEALED
from catalog.sql.entrance import Entrance
from storage.errors import Invalid, Limit, Unavailable
from tests.security.sql.canaries import Canaries
from tests.support.eventually import eventually
from tests.support.leaky_zygote import leaky

ROOT = Path(__file__).parents[3]
NDJSON = AnswerFormat.NDJSON
ENDLESS = "SELECT count(*) FROM range(1000000000000) t(i) WHERE i % 7 = 3"
DEAF = "SELECT levenshtein(repeat('a', 300000), repeat('b', 300000))"
ROWS = "SELECT i FROM range({}) t(i)"
MANY_ROWS = "SELECT i, repeat('x', 100) AS text FROM range(10000000) t(i)"


@pytest.fixture(scope="module")
def door(canaries: Canaries) -> Iterator[SqlDoor]:
    """A door as the service opens it."""
    del canaries
    with SqlDoor(DoorLimits(workers=2, threads=2), spares=1) as found:
        yield found


def pid_of(answer: SqlAnswer) -> int:
    """The process behind an answer."""
    assert answer._worker is not None
    return answer._worker.pid


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody waited for yet has."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the second when it ends between the open and the read
        return True
    return state in "ZX"


@pytest.mark.parametrize("query", [ENDLESS, DEAF], ids=["endless", "deaf to interrupts"])
def test_time_ends_a_statement(door: SqlDoor, whole: Entrance, query: str) -> None:
    """A statement that will not end is ended, whether it listens or not."""
    with pytest.raises(Limit) as caught:
        b"".join(door.ask(SqlQuestion(query, seconds=0.3), whole))
    assert caught.value.code == "sql-time"


def test_time_runs_while_nobody_reads(door: SqlDoor, whole: Entrance) -> None:
    """A reader who stops reading does not keep a process for longer than the statement may take."""
    answer = door.ask(SqlQuestion(MANY_ROWS, NDJSON, 10**8, seconds=0.5), whole)
    pid = pid_of(answer)
    eventually(lambda: gone(pid), "the worker is gone")
    with pytest.raises(Limit) as caught:
        b"".join(answer)
    assert caught.value.code == "sql-time"


def test_memory_is_a_limit(door: SqlDoor, whole: Entrance) -> None:
    """A statement that needs more memory than it may use is told so."""
    with pytest.raises(Limit) as caught:
        b"".join(door.ask(SqlQuestion("SELECT list(i) FROM range(100000000) t(i)", memory_bytes=64 << 20), whole))
    assert caught.value.code == "sql-memory"


def test_rows_are_cut_and_it_is_said(door: SqlDoor, whole: Entrance) -> None:
    """At the limit of rows the answer ends whole, and says that there were more; not when there were none."""
    for limit, total, truncated in ((10, 11, True), (10, 10, False), (9000, 8192, False), (8192, 20000, True)):
        answer = door.ask(SqlQuestion(ROWS.format(total), NDJSON, limit), whole)
        text = b"".join(answer)
        rows = min(limit, total)
        assert (answer.rows, answer.truncated) == (rows, truncated)
        assert text.endswith(b'\n{"row_count":%d,"truncated":%s}\n' % (rows, str(truncated).lower().encode()))


def test_bytes_are_counted_outside(door: SqlDoor, whole: Entrance) -> None:
    """An answer beyond its bytes breaks off with an error, and its process is gone."""
    answer = door.ask(SqlQuestion(MANY_ROWS, NDJSON, 10**8, byte_limit=1 << 20), whole)
    pieces: list[bytes] = []
    with pytest.raises(Limit) as caught:
        pieces.extend(answer)
    assert caught.value.code == "sql-bytes"
    assert sum(map(len, pieces)) <= 1 << 20
    eventually(lambda: gone(pid_of(answer)), "the worker is gone")


def test_leaving_ends_the_process(door: SqlDoor, whole: Entrance) -> None:
    """Who stops listening ends the worker at once, in the middle of an answer or before its first byte."""
    for query in (MANY_ROWS, "SELECT i FROM range(1000000000000) t(i) ORDER BY i"):
        answer = door.ask(SqlQuestion(query, NDJSON, 10**8, seconds=60), whole)
        answer.close()
        pid = pid_of(answer)
        eventually(partial(gone, pid), "the worker is gone")


def test_only_so_many_at_once(door: SqlDoor, whole: Entrance) -> None:
    """One statement more than there may be is refused, and admitted when one has ended."""
    question = SqlQuestion(MANY_ROWS, NDJSON, 10**8, seconds=60)
    running = [door.ask(question, whole) for _ in range(door.limits.workers)]
    with pytest.raises(Limit) as caught:
        door.ask(question, whole)
    assert caught.value.code == "sql-busy"
    running[0].close()
    door.ask(question, whole).close()
    for answer in running:
        answer.close()


def test_time_that_is_over_before_a_worker_is_ready_is_told_as_time(door: SqlDoor, whole: Entrance) -> None:
    """Wherever a question is when its time ends, that is what its caller hears."""
    for _ in range(10):
        with pytest.raises(Limit) as caught:
            b"".join(door.ask(SqlQuestion("SELECT 1", seconds=1e-6), whole))
        assert caught.value.code == "sql-time"
    assert b"1" in b"".join(door.ask(SqlQuestion("SELECT 1"), whole))


@pytest.mark.parametrize(
    "change", [{"seconds": 1e9}, {"seconds": 0}, {"memory_bytes": 1 << 50}, {"row_limit": 0}, {"byte_limit": -1}]
)
def test_limits_have_limits(door: SqlDoor, whole: Entrance, change: dict[str, float]) -> None:
    """What a question may cost is bounded by what the door allows."""
    with pytest.raises(Limit) as caught:
        door.ask(replace(SqlQuestion("SELECT 1"), **change), whole)
    assert caught.value.code == "sql-limit"


def test_a_long_statement_is_not_looked_at(door: SqlDoor, whole: Entrance) -> None:
    """The length of a statement is bounded before anything reads it."""
    with pytest.raises(Limit) as caught:
        door.ask(SqlQuestion("SELECT '" + "x" * 1_000_000 + "'"), whole)
    assert caught.value.code == "sql-length"


def test_errors_come_before_and_in_the_middle_of_answers(door: SqlDoor, whole: Entrance) -> None:
    """An error is raised where it happens, and never becomes a short answer."""
    with pytest.raises(Invalid) as caught:
        door.ask(SqlQuestion("SELEC 1"), whole)
    assert caught.value.code == "sql-syntax"
    late = "SELECT CASE WHEN i = 900000 THEN error('boom') ELSE i END AS i FROM range(1000000) AS t(i)"
    with pytest.raises(Invalid, match="boom"):
        b"".join(door.ask(SqlQuestion(late, NDJSON, 10**8), whole))


def test_a_dead_zygote_is_replaced(door: SqlDoor, whole: Entrance) -> None:
    """When the process that forks is killed the next question gets another one."""
    b"".join(door.ask(SqlQuestion("SELECT 1"), whole))
    assert door._zygote is not None
    pid = door._zygote.pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: gone(pid), "the zygote is gone")
    assert b"own-web" in b"".join(door.ask(SqlQuestion("SELECT name FROM machines"), whole))


SERVICE = """
import sys
sys.path.insert(0, sys.argv[1])
from catalog.sql.door.answer import SqlQuestion
from catalog.sql.door.door import NOTHING, DoorLimits, SqlDoor
with SqlDoor(DoorLimits(), spares=2) as door:
    answer = door.ask(SqlQuestion(sys.argv[2], seconds=200), NOTHING)
    print(door._zygote.pid, flush=True)
    list(answer)
"""


def test_workers_die_with_a_killed_service() -> None:
    """When the service is killed nothing of the door stays."""
    command = [sys.executable, "-c", SERVICE, str(ROOT), ENDLESS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        zygote = int(service.stdout.readline())
        workers = children(zygote)
        assert workers
        service.kill()
    for pid in [zygote, *workers]:
        eventually(partial(gone, pid), f"process {pid} is gone")


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_door_without_files_or_calls_bound_does_not_open(whole: Entrance) -> None:
    """Fail closed: where the kernel binds too little the worker refuses, whoever asks."""
    with SqlDoor(DoorLimits(), spares=0, new_zygote=leaky(("unsealable",))) as door:
        with pytest.raises(Unavailable) as caught:
            door.ask(SqlQuestion("SELECT 1"), whole)
        assert caught.value.code == UNSEALED
        with pytest.raises(Unavailable):
            door.missing()
