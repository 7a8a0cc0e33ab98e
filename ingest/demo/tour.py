"""The steps of the tour, each timed and told; any difference between bytes ends it with an error.

Imports `ingest`. It uses the same flows as the commands it names.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from catalog.cli.output import human_bytes, print_json
from catalog.home import Home
from catalog.sql.runner import run_sql
from ingest.aftercare import care
from ingest.backup import BackupRequest, backup, machine_lock
from ingest.demo.machine import DISK_BYTES, DemoMachine, start_machine
from ingest.demo.service import make_token, running, status
from ingest.flow import BackupReport
from ingest.inventory import discover
from ingest.progress import Silent
from ingest.restoreflow import RestoreRequest, restore_point
from ingest.signals import stop_on_signals
from ingest.sources import add_source, connected
from ingest.synth import synthesise
from ingest.verify import Verifier
from ingest.wiring import InitOptions, Services, init_home, opened
from storage.errors import Conflict, Corrupt

QUESTIONS = (
    (
        "How much changed at each restore point?",
        "SELECT strftime(recorded_at, '%H:%M:%S') AS at, level, cause, changed_bytes // 1024 AS changed_kib, "
        "new_chunks, stored_bytes // 1024 AS stored_kib FROM disk_points ORDER BY seq",
    ),
    (
        "How much does deduplication save?",
        "SELECT count(*) AS blocks, count(DISTINCT digest) AS chunks, "
        "round(count(*) / count(DISTINCT digest), 2) AS ratio FROM chunks",
    ),
    (
        "What was recorded, by kind of event?",
        "SELECT topic, count(*) AS events, sum(rows)::BIGINT AS rows FROM events GROUP BY topic ORDER BY min(position)",
    ),
)
WRITES = (
    ((64 << 20, 4 << 20, 0x11), (200 << 20, 300_000, 0x22)),
    ((64 << 20, 1 << 20, 0x33), (400 << 20, 65_536, 0x44)),
    ((300 << 20, 8 << 20, 0x55), (200 << 20, 262_144, 0x00)),
)


class Tour:
    """What the tour found out, and how it says it."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.steps: list[dict[str, object]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, object]]:
        """Time a step; what the block puts into the record is told with it."""
        record: dict[str, object] = {"step": name}
        started = time.perf_counter()
        yield record
        record["seconds"] = round(time.perf_counter() - started, 3)
        self.steps.append(record)
        details = ", ".join(f"{key} {value}" for key, value in record.items() if key not in ("step", "seconds"))
        self.say(f"{record['seconds']:>7.3f} s  {name}" + (f": {details}" if details else ""))

    def say(self, text: str = "") -> None:
        """Print a line, unless JSON was asked for."""
        if not self._as_json:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def show(self, rows: list[dict[str, object]]) -> None:
        """Print an answer as an aligned table, unless JSON was asked for."""
        if self._as_json or not rows:
            return
        cells = [list(rows[0]), *(["-" if value is None else str(value) for value in row.values()] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            self.say("    " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        self.say()


def run_demo(directory: Path, *, as_json: bool, stay: bool) -> int:
    """Take the tour below `directory`; return 0 when every byte was right. `stay`: serve until interrupted."""
    _make_room(directory)
    tour = Tour(as_json=as_json)
    with tour.step("a machine with an ext4 disk") as told:
        machine = start_machine(directory, Random(1))  # noqa: S311 - test data, and the same each time
        told["it is"] = machine.about
        told["disk"] = human_bytes(DISK_BYTES)
    try:
        _take(tour, directory, machine)
    finally:
        machine.stop()
    _serve(tour, directory, stay=stay)
    if as_json:
        print_json(tour.steps)
    return 0


def _make_room(directory: Path) -> None:
    if directory.exists() and any(directory.iterdir()) and not (directory / "home" / "holdfast.json").exists():
        raise Conflict(f"{directory} holds something else", code="demo-directory", hint="choose another --dir")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)


def _take(tour: Tour, directory: Path, machine: DemoMachine) -> None:
    home = Home(directory / "home")
    with tour.step("holdfast init"):
        init_home(home, InitOptions())
    with opened(home) as services:
        with tour.step("holdfast source add"):
            add_source(services, "demo", *machine.source)
        first = _backup(tour, services)
        _reference(tour, machine, directory / "first.raw")
        for writes in WRITES:
            for offset, length, pattern in writes:
                machine.write(offset, length, pattern)
            _backup(tour, services)
        _reference(tour, machine, directory / "last.raw")
        synthetic = _synthesise(tour, services)
        _restore(tour, services, synthetic, directory / "restored.raw", directory / "last.raw")
        _restore(tour, services, first.restore_point_id.hex, directory / "restored-first.raw", directory / "first.raw")
        _verify(tour, services, synthetic)
        _ask(tour, services)
        for trouble in care(services):
            tour.say(f"warning: {trouble}")


def _backup(tour: Tour, services: Services) -> BackupReport:
    with tour.step("holdfast backup demo") as told:
        outcome = backup(services, BackupRequest("demo", None), progress=Silent(), stop=_never)
        if outcome.failures:
            raise outcome.failures[0].error
        disk = outcome.reports[0].disks[0]
        told.update(
            {
                "level": f"{disk.level} ({disk.cause})",
                "read": human_bytes(disk.read_bytes),
                "new chunks": disk.new_chunks,
                "stored": human_bytes(disk.stored_bytes),
            }
        )
    return outcome.reports[0]


def _never() -> bool:
    return False


def _reference(tour: Tour, machine: DemoMachine, path: Path) -> None:
    with tour.step("a reference copy, made without Holdfast"):
        machine.reference(path)


def _synthesise(tour: Tour, services: Services) -> str:
    with connected(services, "demo") as source:
        _, state = discover(services, "demo", source)[0]
    with tour.step("holdfast synth") as told, machine_lock(services, state, "worked on"):
        made = synthesise(services, services.catalog.index_resolver(), state, state.restore_points[-1])
        told["blocks"] = made.disks[0].chunk_rows
        told["data read"] = human_bytes(made.disks[0].read_bytes)
    services.catalog.catch_up()
    return made.restore_point_id.hex


def _verify(tour: Tour, services: Services, point: str) -> None:
    with tour.step(f"holdfast verify {point[:12]}") as told:
        event = Verifier(services, "content", Silent()).verify(services.catalog.find_point(point))
        if event.result != "ok":
            raise Corrupt(event.problems[0], code="demo-verify")
        told["chunks"] = event.chunks
    services.catalog.catch_up()


def _restore(tour: Tour, services: Services, point: str, target: Path, reference: Path) -> None:
    with tour.step(f"holdfast restore {point[:12]}") as told:
        restored = restore_point(services, RestoreRequest(point, None, target), progress=Silent())
        told["data"] = human_bytes(restored.disks[0].data_bytes)
    with tour.step(f"compare {target.name} with {reference.name}") as told:
        told["equal bytes"] = _compare(target, reference)


def _compare(left: Path, right: Path) -> int:
    same = 0
    with left.open("rb") as one, right.open("rb") as other:
        while True:
            a, b = one.read(1 << 20), other.read(1 << 20)
            if a != b:
                raise Corrupt(f"{left} differs from {right} behind byte {same}", code="demo-differs")
            if not a:
                return same
            same += len(a)


def _ask(tour: Tour, services: Services) -> None:
    for question, query in QUESTIONS:
        with tour.step(question) as told:
            rows = run_sql(services.catalog.lake, query).read_all().to_pylist()
            told["rows"] = len(rows)
        tour.show(rows)


def _serve(tour: Tour, directory: Path, *, stay: bool) -> None:
    """Ask the service once; leave it running for a person who looks on."""
    home = Home(directory / "home")
    with opened(home) as services:
        token = make_token(services)
    with running(home, directory / "restored") as url:
        with tour.step("holdfast serve, asked for its status") as told:
            told["restore points"] = status(url, token)["index"]["restore_points"]
        _next(tour, home)
        tour.say()
        tour.say(f"page   {url}#token={token}")
        tour.say(f"token  {token}")
        tour.steps[-1].update(url=url, token=token)
        if not stay:
            tour.say("The server was stopped; to have it back: make serve")
            return
        tour.say("Serving until interrupted (Ctrl-C); later: make serve")
        with stop_on_signals() as stop:
            while not stop():
                time.sleep(0.2)


def _next(tour: Tour, home: Home) -> None:
    run = f"{os.path.relpath(sys.argv[0])} --home {os.path.relpath(home.root)}"
    tour.say()
    tour.say("Every byte was equal. Try next:")
    tour.say(f"  {run} points")
    tour.say(f"  {run} coverage demo --from {datetime.now(UTC):%F} --to {datetime.now(UTC):%F}")
    tour.say(f"  {run} export latest --nbd 127.0.0.1:10809")
