"""Ends NBD programs that an earlier run of ours left. Imports `adapters.port` and this package only.

A process is ours when a run folder's `pid` names it and its command line names that very folder; it is a
stray when nobody holds the folder's `owner` lock any more. Everything else is left alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from adapters.port import Leftover

_END_MILLISECONDS = 5000


def end_strays(runtime_dir: Path, prefix: str, about: Mapping[str, str]) -> list[Leftover]:
    """End the strays whose run folder has `prefix` and says at least what `about` says, and remove their folders."""
    cleaned = []
    for run_dir in sorted(runtime_dir.glob(f"{prefix}*")):
        try:
            with open(run_dir / "owner", "r+b") as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found = json.loads(owner.read() or b"{}")
                if about.items() <= found.items():
                    cleaned.append(_clean(run_dir, prefix.removesuffix("-"), found))
        except (OSError, ValueError):
            continue  # it is in use, or it goes away this moment
    return cleaned


def _clean(run_dir: Path, program: str, about: dict[str, str]) -> Leftover:
    pid = _pid(run_dir)
    ended = pid is not None and end_process(pid, f"--pid-file={run_dir / 'pid'}")
    socket_dir = Path(about.get("socket_dir", ""))
    if socket_dir.name.startswith("holdfast-"):
        shutil.rmtree(socket_dir, ignore_errors=True)
    shutil.rmtree(run_dir, ignore_errors=True)
    what = f"{program} {pid} of {about.get('label')}" if ended else f"run folder of {about.get('label')}"
    return Leftover(what=what, action="ended" if ended else "removed")


def end_process(pid: int, argument: str) -> bool:
    """End a process if `argument` stands in its command line; the descriptor rules out a reused pid."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return False
    with os.fdopen(process, "rb", buffering=0):
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        if os.fsencode(argument) not in arguments:
            return False
        poll = select.poll()
        poll.register(process, select.POLLIN)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, number)
            if poll.poll(_END_MILLISECONDS):
                return True
    return False


def _pid(run_dir: Path) -> int | None:
    try:
        return int((run_dir / "pid").read_text())
    except (OSError, ValueError):
        return None
