"""A program that serves NBD for us alone, as a child process. Imports `adapters.errors` and this package only.

A child has one run folder: `owner` (locked by us while we live), `pid` and `log`. It serves one private socket and must
be told to end with its last connection, so that it ends however we die; what slipped through (killed between start
and first connection) is found by its run folder: `strays.py`.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adapters.errors import SourceNotFound, SourceUnavailable
from adapters.nbd.client import NbdClient

_START_SECONDS = 20.0
_END_SECONDS = 5.0
_DYING_SECONDS = 0.3  # between a connection that broke and the end of the program that broke it
_TAIL_BYTES = 4096


@contextmanager
def as_descriptor(secret: str) -> Iterator[int]:
    """Offer a secret to a child by a descriptor that it inherits: its command line and environment show nothing."""
    read_end, write_end = os.pipe()
    try:
        try:
            os.write(write_end, secret.encode())
        finally:
            os.close(write_end)
        yield read_end
    finally:
        os.close(read_end)


class ChildEnded(Exception):
    """The program ended before it served; `words` are its last ones, a line each."""

    def __init__(self, words: list[str]) -> None:
        super().__init__(words[-1] if words else "it gave no reason")
        self.words = words


class NbdChild:
    """One program, from `start` to `close`.

    `prefix` begins the run folder's name in `runtime_dir`, and `about` says in words what the program serves. Its
    command line must contain `pid_option`, by which it is recognised as ours.
    """

    def __init__(self, runtime_dir: Path, prefix: str, about: Mapping[str, str]) -> None:
        runtime_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._run_dir = Path(tempfile.mkdtemp(prefix=prefix, dir=runtime_dir))
        self._socket_dir = Path(tempfile.mkdtemp(prefix="holdfast-"))  # short: a socket's path has few bytes
        self._owner = open(self._run_dir / "owner", "x+b", buffering=0)  # noqa: SIM115 - closed with the child
        fcntl.flock(self._owner, fcntl.LOCK_EX)
        self._owner.write(json.dumps({**about, "socket_dir": str(self._socket_dir)}).encode())
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = self._socket_dir / "s"
        self.log = self._run_dir / "log"
        self.pid_option = f"--pid-file={self._run_dir / 'pid'}"

    def start(
        self, command: list[str], *, pass_fds: Sequence[int] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        """Run the program. Raises FileNotFoundError when it is not installed."""
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=pass_fds, env=environment
            )

    def connect(self, **options: Any) -> NbdClient:
        """Connect as soon as the socket is there; `options` are NbdClient's.

        Raises ChildEnded, or what the program answered: it is asked once, since that may cost a log-in elsewhere.
        """
        deadline = time.monotonic() + _START_SECONDS
        while True:
            ended = self._process is None or self._process.poll() is not None
            try:
                return NbdClient(f"unix:{self.socket}", **options)
            except (SourceNotFound, SourceUnavailable) as error:
                listening = error.code not in {"nbd-no-socket", "nbd-connect"}
                if ended or (listening and self._ends(_DYING_SECONDS)):
                    raise ChildEnded(self.last_words()) from None
                if listening or time.monotonic() > deadline:
                    raise
            time.sleep(0.005)

    def last_words(self) -> list[str]:
        """Return the end of what the program wrote, a line each."""
        with open(self.log, "rb") as log:
            log.seek(max(log.seek(0, 2) - _TAIL_BYTES, 0))
            return log.read().decode(errors="replace").strip().splitlines()

    def close(self) -> None:
        """End the program and remove what it needed; twice is harmless."""
        if self._process is not None:
            self._process.terminate()
            if not self._ends(_END_SECONDS):
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._socket_dir, ignore_errors=True)
        shutil.rmtree(self._run_dir, ignore_errors=True)
        self._owner.close()

    def _ends(self, seconds: float) -> bool:
        """Wait for the program's end for a moment."""
        try:
            return self._process is None or self._process.wait(seconds) is not None
        except subprocess.TimeoutExpired:
            return False
