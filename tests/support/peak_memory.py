"""Runs the `holdfast` command line in this process, then says on stderr how much memory it had at its peak.

`python -m tests.support.peak_memory OUT ARGUMENT...` writes the peak in KiB to the file OUT. The kernel's VmHWM of
this program alone: what getrusage says would include the process that started it.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from catalog.cli.app import run
from ingest.cli.main import register


def peak_kib() -> int:
    """The most memory this process ever had resident."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def settled_kib() -> int:
    """Give back what imports left free, or what comes would hide in it, and begin a new peak; return it."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return peak_kib()


if __name__ == "__main__":
    register(sys.argv[2:])
    code = run(sys.argv[2:])
    Path(sys.argv[1]).write_text(str(peak_kib()))
    sys.exit(code)
