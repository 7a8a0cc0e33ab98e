"""A process that takes places at a host and holds them until it is ended: another job, as far as the limit goes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapters.xen.transport.places import HostPlaces

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def other_process(folder: Path, name: str, cap: int, count: int) -> Iterator[subprocess.Popen[str]]:
    """Run one that holds `count` of a host's `cap` places; killed at the end of the block at the latest."""
    command = [sys.executable, "-m", "tests.support.hold_places", str(folder), name, str(cap), str(count)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{count}\n"
        yield process
    finally:
        process.kill()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


def main() -> None:
    """Take the places, say so, and wait."""
    folder, name, cap, count = sys.argv[1:]
    held = [HostPlaces(Path(folder), name, int(cap)).try_enter() for _ in range(int(count))]
    sys.stdout.write(f"{len(held) - held.count(None)}\n")
    sys.stdout.flush()
    signal.pause()


if __name__ == "__main__":
    main()
