"""A simulator of a Windows host's WinRM service, for our side of the protocol: it proves nothing about Windows.

    with WinrmSimulator(answer) as host:
        settings = HypervSettings(host.address, host.user, ..., port=host.port, ca_file=host.ca_file)

`answer(host name, script id, arguments)` is the world behind it: what it returns is the script's answer, and a
ScriptFailure is the script's failure. It is called in threads of the simulator, several at once.
"""

from __future__ import annotations

import base64
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Self

from tests.support.certificates import Authority, fingerprint
from tests.support.winrm import wsman
from tests.support.winrm.faults import OPERATION_TIMEOUT, QUOTA_SHELLS, SHELL_NOT_FOUND, Faults
from tests.support.winrm.powershell import (
    PROGRESS,
    Answer,
    Outcome,
    ScriptCall,
    read_call,
    run_call,
    run_other,
    too_long,
)
from tests.support.winrm.sealing import PASSWORD, USER, Accounts
from tests.support.winrm.server import HungUp, Server, WsmanFault
from tests.support.winrm.shells import Command, Shells

_ENVELOPE_OVERHEAD = 2048


class WinrmSimulator:
    """One host. `user` and `password` are let in; `calls` are the scripts that ran, in the order of their starts.

    Its certificate is of an authority of its own, or of that of a host `beside` it.
    """

    user = USER
    password = PASSWORD

    def __init__(
        self,
        answer: Answer,
        *,
        host: str = "hv1",
        tls: bool = True,
        address: str = "127.0.0.1",
        port: int = 0,
        expired: bool = False,
        names: tuple[str, ...] = ("127.0.0.1", "::1", "localhost"),
        beside: WinrmSimulator | None = None,
    ) -> None:
        self.host = host
        self.address = address
        self.faults = Faults()
        self.calls: list[ScriptCall] = []
        self._answer = answer
        self._shells = Shells(self._run)
        self._folder = tempfile.TemporaryDirectory(prefix="winrm-")
        self._authority = beside._authority if beside else Authority(Path(self._folder.name) / "ca")
        self.ca_file = self._authority.ca_file
        self.fingerprint = ""
        self._server = Server(address, self._serve, self.faults, port)
        if tls:
            self.show_certificate(names, expired=expired)
        self.port: int = self._server.server_address[1]
        self._thread = Thread(target=lambda: self._server.serve_forever(0.05), name="winrm-simulator")

    def __enter__(self) -> Self:
        Accounts.acquire()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.closing.set()
        self._shells.close()
        self._server.close()
        self._thread.join(60)
        Accounts.release()
        self._folder.cleanup()
        assert not self._thread.is_alive()
        if error[0] is None:
            assert self._server.broken == []

    @property
    def open_shells(self) -> int:
        """How many shells are open; a client that has closed leaves none."""
        return self._shells.open

    @property
    def shells_opened(self) -> int:
        """How many shells were ever opened."""
        return self._shells.opened

    @property
    def requests(self) -> int:
        """How many HTTP requests came, those of authentication included."""
        return self._server.requests

    @property
    def logins(self) -> int:
        """In how many connections somebody tried to log in."""
        return self._server.logins

    @property
    def accepted(self) -> int:
        """How many connections came."""
        return self._server.accepted

    @property
    def clear_bodies(self) -> list[bytes]:
        """What came over plain HTTP without being sealed."""
        return self._server.clear_bodies

    @property
    def broken(self) -> list[BaseException]:
        """What no WinRM would understand; empty it where a test wants that."""
        return self._server.broken

    def operations(self, name: str) -> int:
        """How many messages of an operation came, such as Create."""
        return self._server.operations[name]

    def show_certificate(self, names: tuple[str, ...] = ("127.0.0.1",), *, expired: bool = False) -> None:
        """Show another certificate of the same authority, in connections made from now on."""
        certificate = self._authority.issue("host", names, expired=expired)
        self.fingerprint = fingerprint(certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, self._authority.folder / "host-key.pem")
        self._server.leaf = ssl.PEM_cert_to_DER_cert(certificate.read_text())
        self._server.context = context

    def offer(self, *schemes: str) -> None:
        """Say which kinds of authentication are offered from now on."""
        self._server.schemes = schemes

    def forget_shells(self) -> None:
        """Lose all shells, as a restart of the service does."""
        self._shells.forget()

    def drop_connections(self) -> None:
        """Cut all connections, as an idle time-out does."""
        self._server.drop_connections()

    def _serve(self, message: wsman.Message) -> bytes:
        if message.operation == "Create":
            if self._shells.open >= self.faults.max_shells:
                raise WsmanFault(QUOTA_SHELLS, "The maximum number of concurrent shells for this user was exceeded.")
            return wsman.created(message, self._shells.create())
        serve: dict[str, Callable[[wsman.Message], bytes]] = {
            "Command": self._command,
            "Send": self._send,
            "Receive": self._receive,
            "Signal": self._signal,
            "Delete": self._delete,
        }
        try:
            return serve[message.operation](message)
        except KeyError:
            raise WsmanFault(SHELL_NOT_FOUND, "The shell was not found on the server.") from None

    def _command(self, message: wsman.Message) -> bytes:
        commands = self._shells.commands(message.shell)
        line = " ".join((message.text("rsp:CommandLine/rsp:Command"), message.text("rsp:CommandLine/rsp:Arguments")))
        command = Command(line.strip(), self._shells.changed)
        commands[command.id] = command
        if not command.line.lower().startswith("powershell"):
            self._shells.start(command)
        return wsman.answer(
            message, f"<rsp:CommandResponse><rsp:CommandId>{command.id}</rsp:CommandId></rsp:CommandResponse>"
        )

    def _send(self, message: wsman.Message) -> bytes:
        command = self._shells.commands(message.shell)[message.attribute("rsp:Send/rsp:Stream", "CommandId")]
        command.stdin += base64.b64decode(message.text("rsp:Send/rsp:Stream"))
        if message.attribute("rsp:Send/rsp:Stream", "End").lower() == "true":
            self._shells.start(command)
        return wsman.answer(message, "<rsp:SendResponse/>")

    def _receive(self, message: wsman.Message) -> bytes:
        command_id = message.attribute("rsp:Receive/rsp:DesiredStream", "CommandId")
        command = self._shells.commands(message.shell)[command_id]
        most = (message.envelope_bytes - _ENVELOPE_OVERHEAD) * 3 // 4
        with self._shells.changed:
            self._shells.changed.wait_for(
                lambda: command.ready() or self._server.closing.is_set(), message.timeout_seconds
            )
            if self._server.closing.is_set():
                raise HungUp
            if not command.ready():
                raise WsmanFault(OPERATION_TIMEOUT, "The operation timed out.")
            output, code = command.take(most)
        return wsman.received(message, command.id, output, code)

    def _signal(self, message: wsman.Message) -> bytes:
        self._shells.commands(message.shell)[message.attribute("rsp:Signal", "CommandId")].terminate()
        return wsman.answer(message, "<rsp:SignalResponse/>")

    def _delete(self, message: wsman.Message) -> bytes:
        self._shells.delete(message.shell)
        return wsman.answer(message, "")

    def _run(self, command: Command) -> Outcome:
        """Run a command, in its own thread."""
        outcome = Outcome(b"", b"The simulator failed.", 1)
        if too_long(command.line):
            return Outcome(b"", b"The command line is too long.\r\n", 1)
        try:
            call = read_call(command.line, command.stdin)
            outcome = run_other(command.line, self.host) if call is None else self._run_script(call, command)
        except Exception as error:  # noqa: BLE001 - told when the simulator closes
            self._server.broken.append(error)
        if self.faults.progress:
            outcome = Outcome(outcome.stdout, PROGRESS + outcome.stderr, outcome.code)
        return outcome

    def _run_script(self, call: ScriptCall, command: Command) -> Outcome:
        self.calls.append(call)
        if call.script in self.faults.hang:
            command.terminated.wait()
        outcome = run_call(call, self.host, self._answer)
        stdout = self.faults.noise + outcome.stdout
        if self.faults.garbage is not None:
            stdout = self.faults.garbage
        if self.faults.oversize:
            stdout = b"A" * self.faults.oversize
        if self.faults.truncate:
            stdout = stdout[: -self.faults.truncate]
        return Outcome(stdout, outcome.stderr, outcome.code)
