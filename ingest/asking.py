"""Asking another program for a few bytes: no shell, no input, a bound and a deadline.

Imports `storage.errors`. What it says beside its answer is not kept: it may hold what was asked for.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from threading import Event, Timer

from storage.errors import Limit, NotFound, Unavailable


def first_bytes(words: Sequence[str], *, at_most: int, deadline_s: float) -> bytes:
    """What a program writes to its standard output, up to `at_most` bytes; then it is ended.

    Raises NotFound, Unavailable when it fails, Limit when it takes longer than `deadline_s`.
    """
    try:
        process = subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise NotFound(f"{words[0]} cannot be run", code="command-missing", why=error.strerror or "") from None
    if process.stdout is None:
        raise AssertionError("its output is a pipe")
    late = Event()

    def end() -> None:
        late.set()
        _kill(process)

    timer = Timer(deadline_s, end)
    timer.daemon = True
    timer.start()
    try:
        with process.stdout as output:
            data = output.read(at_most)
        # From here on the process may be reaped, and its number may become another's: the timer must not act on it.
        timer.cancel()
        timer.join()
        if len(data) < at_most and not late.is_set():
            _check_end(process, words[0], deadline_s)
    finally:
        timer.cancel()
        timer.join()
        if process.returncode is None:
            _kill(process)
            process.wait()
    if late.is_set():
        raise _too_slow(words[0], deadline_s)
    return data


def _check_end(process: subprocess.Popen[bytes], name: str, deadline_s: float) -> None:
    try:
        code = process.wait(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        raise _too_slow(name, deadline_s) from None
    if code:
        raise Unavailable(
            f"{name} failed", code="command-failed", why=f"it ended with {code}", hint="run it yourself to see why"
        )


def _too_slow(name: str, deadline_s: float) -> Limit:
    return Limit(f"{name} did not answer within {deadline_s:g} s", code="command-deadline")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the program and all that it started; its group outlives a leader that ended before."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
