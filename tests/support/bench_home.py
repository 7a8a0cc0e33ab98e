"""A repository in a temporary directory, driven as the command line drives it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from catalog.home import Home
from ingest.backup import BackupRequest, backup
from ingest.flow import BackupReport
from ingest.progress import Silent
from ingest.sources import add_source
from ingest.wiring import InitOptions, Services, init_home, opened

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def repository(root: Path, kind: str, **settings: str) -> Iterator[Services]:
    """A new repository with one source, `lab`, open for the length of the block."""
    home = Home(root)
    init_home(home, InitOptions())
    with opened(home) as services:
        add_source(services, "lab", kind, settings)
        yield services


def back_up(services: Services) -> BackupReport:
    """Back up the one machine of `lab`; raise what went wrong."""
    outcome = backup(services, BackupRequest("lab", None), progress=Silent(), stop=lambda: False)
    if outcome.failures:
        raise outcome.failures[0].error
    if outcome.index_trouble:
        raise AssertionError(outcome.index_trouble)
    return outcome.reports[0]


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def holdfast(home: Path, *arguments: str) -> None:
    """Run the command in a process of its own."""
    program = "import sys; from ingest.cli.main import main; main()"
    command = [sys.executable, "-c", program, "--home", str(home), *arguments]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def holdfast_peak_mib(home: Path, *arguments: str) -> float:
    """Run the command in a process of its own; return the most memory it had resident, in MiB."""
    out = home.with_suffix(".peak")
    command = [sys.executable, "-m", "tests.support.peak_memory", str(out), "--home", str(home), *arguments]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return int(out.read_text()) / 1024
