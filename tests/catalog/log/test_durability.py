"""Writers that are killed, and writers at the same time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest

from catalog.log import EventLog
from tests.support.log_events import STREAM, notes
from tests.support.log_writer import EVENTS_PER_SAVE


def _writer(path: Path, stream: UUID, saves: int, *, shared: bool = False) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.log_writer", str(path), stream.hex, str(saves), str(int(shared))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _acked(writer: subprocess.Popen[str]) -> Iterator[int]:
    assert writer.stdout is not None
    return map(int, writer.stdout)


@pytest.mark.parametrize("acks", [1, 4, 9, 17])
def test_a_killed_writer_loses_nothing_it_was_told_is_saved(path: Path, acks: int) -> None:
    """After kill -9 in the middle of writing, every acknowledged save is there, whole, and the chain holds."""
    EventLog.create(path).close()
    with _writer(path, STREAM, 1_000_000) as writer:
        positions = [next(_acked(writer)) for _ in range(acks)]
        writer.kill()
    with EventLog.open(path) as log:
        assert positions[-1] <= log.position()
        assert log.position() % EVENTS_PER_SAVE == 0
        assert [recorded.position for recorded in log.follow()] == list(range(1, log.position() + 1))
        assert [event.originator_version for event in log.stream(STREAM)] == list(range(1, log.position() + 1))
        report = log.verify_chain()
        assert (report.ok, report.events) == (True, log.position())
        assert log.save(*notes(1, first=log.position() + 1)) == report.position + 1


def test_two_processes_write_one_log(path: Path) -> None:
    """Writers at the same time leave no gap, keep each save together, and a reader meanwhile misses no event."""
    saves = 60
    streams = [UUID(int=1), UUID(int=2)]
    with EventLog.create(path) as log:
        writers = [_writer(path, stream, saves) for stream in streams]
        seen: list[UUID] = []
        while any(writer.poll() is None for writer in writers) or len(seen) < log.position():
            for recorded in log.poll(len(seen)):
                assert recorded.position == len(seen) + 1
                seen.append(recorded.event.originator_id)
        assert [writer.communicate()[0] and writer.returncode for writer in writers] == [0, 0]
        together = [seen[at : at + EVENTS_PER_SAVE] for at in range(0, len(seen), EVENTS_PER_SAVE)]
        assert all(len(set(save)) == 1 for save in together)
        assert [log.version(stream) for stream in streams] == [saves * EVENTS_PER_SAVE] * 2
        assert log.verify_chain().events == 2 * saves * EVENTS_PER_SAVE


def test_two_processes_write_one_stream(path: Path) -> None:
    """Writers that compete for a stream and look again after each conflict lose no save and double none."""
    with EventLog.create(path) as log:
        writers = [_writer(path, STREAM, 20, shared=True) for _ in range(2)]
        for writer in writers:
            assert writer.communicate()[0]
            assert writer.returncode == 0
        assert log.version(STREAM) == 2 * 20 * EVENTS_PER_SAVE
        assert log.verify_chain().ok


def test_threads_share_a_log(path: Path) -> None:
    """Threads that save and read through one object lose nothing and see whole saves only."""
    with EventLog.create(path) as log, ThreadPoolExecutor(4) as threads:

        def work(number: int) -> int:
            stream = UUID(int=number)
            for first in range(1, 50, 5):
                log.save(*notes(5, stream, first))
                assert len(list(log.stream(stream))) == first + 4
            return sum(1 for _ in log.follow())

        seen = list(threads.map(work, range(1, 5)))
        assert max(seen) == 200
        assert log.verify_chain().events == 200
