"""One remote shell and the connection it is used over. Imports `adapters.errors` and this package.

A script starts when the last piece of its input arrives, and not before: what fails earlier can be done again. Behind
that point a lost connection is made anew, once, and the answer waited for there. A shell that failed is deleted over a
new connection, whatever happened to the old one.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

from spnego.exceptions import SpnegoError
from urllib3.exceptions import HTTPError
from winrm.exceptions import WinRMError, WinRMOperationTimeoutError, WinRMTransportError, WSManFaultError
from winrm.protocol import Protocol

from adapters.errors import AdapterError, SourceDenied, SourceInvalid, SourceLimit, SourceUnavailable
from adapters.hyperv.control.answers import Output, command_line, standard_input
from adapters.hyperv.control.failures import CREDSSP_REFUSALS, SHELL_GONE, message_error, never_heard
from adapters.hyperv.control.scripts import Script

T = TypeVar("T")

_PIECE_BYTES = 64 << 10
_STDERR_BYTES = 64 << 10
_UTF8_CODEPAGE = 65001
_FAILURES: tuple[type[Exception], ...] = (
    OSError,  # requests' errors among them
    HTTPError,
    SpnegoError,
    WinRMError,
    WinRMTransportError,
    SourceLimit,
    # what pywinrm raises over an answer that is none of WinRM's; those of base64 and Unicode are ValueErrors
    ET.ParseError,
    AttributeError,
    AssertionError,
    LookupError,
    StopIteration,
    TypeError,
    ValueError,
    *CREDSSP_REFUSALS,
)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things may take, in seconds, and how large an answer may be.

    `deadline` is for a script until it answers, and again until its answer is here. `wait` is how long the host keeps a
    question for output open, `grace` how long its reply may take beyond that. A shell nobody uses for `idle` ends.
    """

    deadline: float = 300
    wait: int = 20
    grace: int = 10
    connect: float = 10
    idle: int = 900
    answer_bytes: int = 16 << 20


class NotStarted(Exception):
    """The script did not run, and will not. `error` is what kept it from running."""

    def __init__(self, error: AdapterError) -> None:
        super().__init__(error.code)
        self.error = error


class NoAnswer(Exception):
    """Nobody knows whether the script ran. `error` is what kept its answer away."""

    def __init__(self, error: AdapterError) -> None:
        super().__init__(error.code)
        self.error = error


class _Lost(Exception):
    """A message was not answered. `error` says why."""

    def __init__(self, error: AdapterError) -> None:
        super().__init__(error.code)
        self.error = error


class Shell:
    """A shell, opened at its first use, and one thread's at a time. `connect` makes a connection for it.

    `sound` says whether it can be used again.
    """

    def __init__(
        self,
        connect: Callable[[], Protocol],
        host: str,
        timing: Timing,
        clock: Callable[[], float],
        closed: Event,
    ) -> None:
        self._connect = connect
        self._host = host
        self._timing = timing
        self._clock = clock
        self._closed = closed
        self._protocol: Protocol | None = None
        self._id = ""
        self._command = ""
        self.used = False
        self.sound = False

    def run(self, script: Script, arguments: Mapping[str, object], nonce: str) -> Output:
        """Run one script and return what it wrote. Raises NotStarted and NoAnswer."""
        self.sound = False
        try:
            self._start(standard_input(script, arguments, nonce), effect=script.effect == "changes")
        except _Lost as lost:
            raise NotStarted(lost.error) from None
        except AdapterError as error:
            raise NotStarted(error) from None
        try:
            output = self._finish()
        except _Lost as lost:
            raise NoAnswer(lost.error) from None
        except AdapterError as error:
            raise NoAnswer(error) from None
        with suppress(AdapterError, _Lost):
            self._end_command()
            self.sound = self.used = True
        return output

    def close(self) -> None:
        """End what runs, delete the shell and close the connection. A shell that nobody can delete ends when idle."""
        for _ in range(2 if self._protocol is not None else 1):
            if not self._id:
                break
            try:
                self._delete()
            except Exception:  # noqa: BLE001 - whatever brought us here is told, and not this
                self._hang_up()
        self._hang_up()

    def discard(self) -> None:
        """Close after a failure: the connection may be in any state, so a new one is used."""
        self._hang_up()
        self.close()

    def _start(self, stdin: bytes, *, effect: bool) -> None:
        """Send everything. An effect that may have begun, because only the last message was not answered, goes on."""
        if not self._id:
            idle = f"PT{self._timing.idle}S"
            self._id = self._ask(lambda to: to.open_shell(codepage=_UTF8_CODEPAGE, idle_timeout=idle))
        program, options = command_line()
        shell = self._id
        self._command = command = self._ask(
            lambda to: to.run_command(shell, program, options, console_mode_stdin=False)
        )
        *pieces, last = [stdin[at : at + _PIECE_BYTES] for at in range(0, len(stdin), _PIECE_BYTES)]
        for piece in pieces:
            self._ask(lambda to, piece=piece: to.send_command_input(shell, command, piece))  # type: ignore[misc]  # mypy infers no lambda that has a default
        try:
            self._ask(lambda to: to.send_command_input(shell, command, last, end=True))
        except _Lost:
            if not effect:
                raise
        except AdapterError as error:
            if not effect or error.code != "winrm-fault":  # any other refusal came before the script
                raise

    def _finish(self) -> Output:
        """Take output until the command has ended."""
        deadline = self._clock() + self._timing.deadline
        stdout, stderr, lost = bytearray(), bytearray(), False
        while True:
            self._require_time(deadline)
            try:
                out, err, code, done = self._receive(deadline)
            except WinRMOperationTimeoutError:
                continue
            except _Lost:
                if lost:
                    raise
                lost = True
                continue
            if out and not stdout:
                deadline = self._clock() + self._timing.deadline
            stdout += out
            stderr += err[: _STDERR_BYTES - len(stderr)]
            if len(stdout) > self._timing.answer_bytes:
                raise SourceLimit(
                    f"A script on {self._host} answers too much",
                    code="answer-too-large",
                    why=f"more than {self._timing.answer_bytes} bytes",
                )
            if done:
                return Output(bytes(stdout), bytes(stderr), code)

    def _require_time(self, deadline: float) -> None:
        if self._closed.is_set():
            raise SourceInvalid(f"The connection to {self._host} is closed", code="runner-closed")
        if self._clock() >= deadline:
            raise SourceUnavailable(
                f"A script on {self._host} gave no answer in time",
                code="script-deadline",
                why=f"it was ended after {self._timing.deadline:g} seconds",
            )

    def _receive(self, deadline: float) -> tuple[bytes, bytes, int, bool]:
        shell, command = self._id, self._command
        wait = max(1, min(self._timing.wait, math.ceil(deadline - self._clock())))
        return self._ask(lambda to: to.get_command_output_raw(shell, command), wait)

    def _end_command(self) -> None:
        """End what runs, or take away what has ended."""
        shell, command, self._command = self._id, self._command, ""
        self._ask(lambda to: to.cleanup_command(shell, command))

    def _delete(self) -> None:
        if self._command:
            with suppress(AdapterError, _Lost):
                self._end_command()
        shell = self._id
        if shell:
            self._ask(lambda to: to.close_shell(shell, close_session=False))
        self._id = ""

    def _ask(self, call: Callable[[Protocol], T], wait: int = 0) -> T:
        """Send one message; a failed connection is closed, and the next message makes a new one.

        Raises an AdapterError when the host certainly did not do what was asked, _Lost when nobody knows, and
        WinRMOperationTimeoutError when it was asked to `wait` so many seconds for something and did in vain.
        """
        protocol = self._protocol = self._protocol or self._connect()
        protocol.operation_timeout_sec = wait or self._timing.wait
        protocol.transport.read_timeout_sec = protocol.operation_timeout_sec + self._timing.grace
        kept = False
        try:
            answer = call(protocol)
            kept = True
        except WinRMOperationTimeoutError as error:
            kept = True
            if wait:
                raise
            raise _Lost(message_error(error, "", self._host)) from None
        except WSManFaultError as fault:
            kept = True
            if SHELL_GONE in (fault.wsman_fault_code, fault.wmierror_code):
                self._id = self._command = ""
                raise SourceUnavailable(f"{self._host} ended our shell", code="shell-gone") from None
            raise message_error(fault, "", self._host) from None
        except _FAILURES as error:
            told = (
                error if isinstance(error, AdapterError) else message_error(error, protocol.username or "", self._host)
            )
            if isinstance(told, SourceDenied):
                self._id = self._command = ""  # asking again only counts as one more wrong login: it ends when idle
            raise (told if never_heard(error) else _Lost(told)) from None
        finally:
            if not kept:
                self._hang_up()
        return answer

    def _hang_up(self) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.transport.close_session()
