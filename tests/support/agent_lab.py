"""A repository with its receiver in a process of its own, and agents that send to it over real TLS. No simulator."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from catalog.api.settings import ServeSettings
from catalog.cli.serve import listening_socket
from ingest.cli.receive import server_of
from ingest.receiver.limits import Limits
from ingest.receiver.opening import opened_door
from storage.errors import EXIT_INTERRUPTED
from tests.support.agent_peer import AgentPeer
from tests.support.certificates import Authority, fingerprint
from tests.support.eventually import eventually
from tests.support.lab import REPOSITORY, START, Answer, Lab, holdfast

IMPATIENT = {"pace": 0.0, "settle": 0.0}
"""What hides the work of the store from agents costs time that most tests need not spend."""
LIMITED = """
import sys
from dataclasses import replace
import ingest.cli.receive as receive
limits = replace(receive.Limits(), **eval(sys.argv.pop(1)))
receive.Limits = lambda: limits
"""


class AgentLab:
    """A lab, a certificate for `localhost`, and tokens."""

    def __init__(self, root: Path, **lab: Any) -> None:
        self.root = root
        self.lab = Lab(root / "lab", **lab)
        self.authority = Authority(root / "tls")
        self.certificate = self.authority.issue("server", ["localhost"], common_name="localhost")
        self.key = self.authority.folder / "server-key.pem"
        self.fingerprint = fingerprint(self.certificate)
        self.tokens: dict[str, Path] = {}

    def token(self, name: str, *globs: str, role: str = "agent") -> Path:
        """A file with a new token."""
        machines = [word for glob in globs or (f"agent/{name}",) for word in ("--machines", glob)]
        made = self.lab.json("token", "create", "--role", role, "--name", f"{role}-{name}", *machines)
        path = self.root / f"{role}-{name}.token"
        path.write_text(made["secret"])
        path.chmod(0o600)
        return path

    def secret(self, name: str, *globs: str, role: str = "agent") -> str:
        return self.token(name, *globs, role=role).read_text()

    @contextmanager
    def receiving(self, **limits: Any) -> Iterator[ReceivingProcess]:
        """Run `holdfast receive` in a process of its own; `limits` differ from the product's."""
        receiving = ReceivingProcess(self, {**IMPATIENT, **limits})
        receiving.start()
        try:
            yield receiving
        finally:
            receiving.stop()

    @contextmanager
    def receiving_here(self, **limits: Any) -> Iterator[Receiving]:
        """Run the same server in a thread, which starts sooner."""
        settings = ServeSettings(tls_cert=str(self.certificate), tls_key=str(self.key))
        with (
            opened_door(self.lab.home, settings, replace(Limits(), **{**IMPATIENT, **limits})) as door,
            listening_socket("127.0.0.1", 0) as listening,
        ):
            server = server_of(door, settings)
            thread = threading.Thread(target=server.run, args=([listening],), name="receiver")
            thread.start()
            try:
                eventually(lambda: server.started, "the receiver")
                yield Receiving(self, listening.getsockname()[1])
            finally:
                door.runs.stop()
                server.should_exit = True
                thread.join(60)
                assert not thread.is_alive()


class Receiving:
    """A receiver on `port`, and agents that send to it."""

    def __init__(self, lab: AgentLab, port: int = 0) -> None:
        self.lab = lab
        self.port = port
        self.trust = ["--ca", str(lab.authority.ca_file)]
        """Whom agents believe."""

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def peer(self, secret: str | None) -> AgentPeer:
        """An agent that the test plays."""
        return AgentPeer(self.port, secret, str(self.lab.authority.ca_file))

    def arguments(self, token: Path, name: str, *what: str | Path, state: str = "state") -> list[str]:
        """The command line of an agent."""
        line = ["agent", "backup", "--server", self.url, "--token", f"file:{token}", "--name", name]
        line += [*self.trust, "--state", str(self.lab.root / state), "--json"]
        return [*line, *map(str, what)]

    def agent(self, token: Path, name: str, *what: str | Path, state: str = "state") -> Answer:
        """Run an agent in this process, whatever it comes to."""
        return holdfast(*self.arguments(token, name, *what, state=state))

    def sent(self, token: Path, name: str, *what: str | Path, state: str = "state", code: int = 0) -> dict[str, Any]:
        """Run an agent that must make a restore point."""
        answer = self.agent(token, name, *what, state=state)
        assert answer.code == code, answer
        made: dict[str, Any] = answer.json()
        return made

    def refused(self, code: int, token: Path, name: str, *what: str | Path, state: str = "state") -> dict[str, Any]:
        """Run an agent that must fail; return the error object."""
        answer = self.agent(token, name, *what, state=state)
        assert answer.code == code, answer
        return answer.problem()

    def start_agent(self, token: Path, name: str, *what: str | Path, state: str = "state") -> subprocess.Popen[bytes]:
        """Run an agent in a process of its own; returns when its work begins."""
        command = [sys.executable, "-c", START, *self.arguments(token, name, *what, state=state)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY)
        assert process.stderr is not None
        assert process.stderr.readline() == b"ready\n"
        return process


class ReceivingProcess(Receiving):
    """A receiver's process, which can be killed and started again on the same port."""

    def __init__(self, lab: AgentLab, limits: dict[str, Any]) -> None:
        super().__init__(lab)
        self.log = lab.root / "receiver.log"
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, fault: str = "") -> None:
        """Start it; `fault` is Python that it runs first."""
        command = [
            sys.executable,
            "-c",
            LIMITED + fault + START,
            repr(self._limits),
            "--home",
            str(self.lab.lab.home.root),
        ]
        command += ["receive", "--port", str(self.port), "--json"]
        command += ["--tls-cert", str(self.lab.certificate), "--tls-key", str(self.lab.key)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=REPOSITORY)
        assert self._process.stdout is not None
        said = b""
        while not said.rstrip().endswith(b"}"):
            line = self._process.stdout.readline()
            assert line, self.log.read_text()
            said += line
        self.port = int(json.loads(said)["url"].rstrip("/").rpartition(":")[2])

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def dead(self) -> None:
        """Wait until it has killed itself."""
        assert self._process is not None
        assert self._process.wait(60) == -signal.SIGKILL
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None

    def stop(self) -> None:
        if self._process is not None:
            code = self._end(signal.SIGTERM)
            assert code in (0, EXIT_INTERRUPTED), self.log.read_text()

    def _end(self, number: int) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        code = self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
        return code


def output_of(process: subprocess.Popen[bytes], code: int | Sequence[int] = 0) -> str:
    """What a process printed until its end, which must be with `code`."""
    out, err = process.communicate(timeout=120)
    codes = [code] if isinstance(code, int) else code
    assert process.returncode in codes, err.decode()
    return out.decode()
