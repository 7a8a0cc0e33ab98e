"""The runner that speaks WinRM. Imports `adapters.errors`, `adapters.trust` and this package.

Shells are kept for the next script and closed together; each is one thread's at a time. A script without an effect is
run a second time when its shell or its answer was lost; one with an effect never is.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from threading import BoundedSemaphore, Event, Lock
from typing import Any

from adapters.errors import AdapterError, SourceInvalid, SourceUnavailable
from adapters.hyperv.control.answers import Output, Unreadable, read_answer
from adapters.hyperv.control.connection import address, connect, require_extra
from adapters.hyperv.control.failures import reply_lost
from adapters.hyperv.control.scripts import Script
from adapters.hyperv.control.scripts import load as load_script
from adapters.hyperv.control.shell import NoAnswer, NotStarted, Shell, Timing
from adapters.hyperv.settings import HypervSettings
from adapters.trust import trust_context

_PARALLEL = 4
"""Shells at once: Windows lets a user have 30, of all programs."""

_TRANSIENT = ("connection-lost", "shell-gone", "answer-unreadable")


class WinrmRunner:
    """Runs scripts on `host`, or on the host of the settings. Connects at its first use; `host` is its name in errors.

    Raises SourceInvalid for a CA file that cannot be read and for packages that are missing.
    """

    def __init__(
        self,
        settings: HypervSettings,
        host: str | None = None,
        *,
        timing: Timing | None = None,
        load: Callable[[str], Script] = load_script,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        require_extra(settings)
        self._host = host or settings.host
        self.host = address(settings, self._host)
        self._settings = settings
        self._timing = timing or Timing()
        self._load = load
        self._clock = clock
        self._context = trust_context(
            ca_file=settings.ca_file, fingerprint=settings.fingerprint, insecure=settings.insecure
        )
        self._closed = Event()
        self._slots = BoundedSemaphore(_PARALLEL)
        self._lock = Lock()
        self._idle: list[Shell] = []

    def run(self, script: str, arguments: Mapping[str, object]) -> Any:
        """Run a script; see ScriptRunner."""
        loaded = self._load(script)
        with self._slots:
            try:
                return self._attempt(loaded, arguments)
            except _Again:
                return self._attempt(loaded, arguments, last=True)

    def close(self) -> None:
        """Close all shells; one that works now is closed by whoever uses it. Closing twice is harmless."""
        self._closed.set()
        with self._lock:
            idle, self._idle = self._idle, []
        for shell in idle:
            shell.close()

    def _attempt(self, script: Script, arguments: Mapping[str, object], *, last: bool = False) -> Any:
        """Run a script once. Raises _Again when that may, and should, be done a second time."""
        shell = self._take(fresh=last)
        used = shell.used
        nonce = secrets.token_hex(8)
        try:
            output = shell.run(script, arguments, nonce)
        except NotStarted as failure:
            if not last and (used or (script.effect == "none" and failure.error.code in _TRANSIENT)):
                raise _Again from None
            raise failure.error from None
        except NoAnswer as failure:
            raise self._unanswered(script, failure.error, last=last) from None
        finally:
            self._give_back(shell)
        return self._read(script, output, nonce, last=last)

    def _read(self, script: Script, output: Output, nonce: str, *, last: bool) -> Any:
        try:
            return read_answer(output, script, nonce, self.host)
        except Unreadable as found:
            error = SourceUnavailable(
                f"{script.id} on {self.host} gave no answer", code="answer-unreadable", why=str(found)
            )
            raise self._unanswered(script, error, last=last) from None

    def _unanswered(self, script: Script, error: AdapterError, *, last: bool) -> Exception:
        """What to raise when a script ran, or may have run, and left no answer."""
        if script.effect == "changes":
            return reply_lost(script.id, self.host, str(error))
        return error if last or error.code not in _TRANSIENT else _Again()

    def _take(self, *, fresh: bool) -> Shell:
        if self._closed.is_set():
            raise SourceInvalid(f"The connection to {self.host} is closed", code="runner-closed")
        with self._lock:
            if self._idle and not fresh:
                return self._idle.pop()
        return Shell(self._connection, self.host, self._timing, self._clock, self._closed)

    def _give_back(self, shell: Shell) -> None:
        """Keep a shell for the next script, or close it."""
        with self._lock:
            if shell.sound and not self._closed.is_set():
                self._idle.append(shell)
                return
        if shell.sound:
            shell.close()
        else:
            shell.discard()

    def _connection(self) -> Any:
        return connect(self._settings, self._host, self._context, self._timing.connect)


class _Again(Exception):
    """The script may be run once more."""
