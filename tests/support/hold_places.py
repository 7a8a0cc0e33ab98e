"""A process that takes places at a host and holds them until it is ended: `python -m … FOLDER NAME CAP COUNT`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from adapters.xen.transport.places import HostPlaces


def main() -> None:
    """Take the places, say so, and wait."""
    folder, name, cap, count = sys.argv[1:]
    held = [HostPlaces(Path(folder), name, int(cap)).enter(0) for _ in range(int(count))]
    sys.stdout.write(f"{len(held)}\n")
    sys.stdout.flush()
    signal.pause()


if __name__ == "__main__":
    main()
