"""A real Samba on loopback: configuration, state and users of its own, ended with the block. Skips where it cannot be.

smbd runs as root only; its user is the one that runs the tests, with a password of Samba's own.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.hyperv.settings import HypervSettings
from adapters.secret import Secret
from tests.support.eventually import eventually

PASSWORD = "swordfish-smb-26"
HOST = "127.0.0.1"
_FOLDERS = ("lock", "state", "cache", "private", "pid", "ncalrpc")
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


@dataclass(frozen=True)
class Samba:
    """A running server: its port, its user, and the process that its connections' processes are children of."""

    port: int
    user: str
    process: subprocess.Popen[bytes]

    def settings(self, **others: object) -> HypervSettings:
        """Settings that reach it."""
        return HypervSettings(
            **{"host": HOST, "user": self.user, "password": Secret(lambda: PASSWORD), "smb_port": self.port} | others
        )

    @property
    def has_ipv6(self) -> bool:
        """Whether it is there under `::1`, too."""
        try:
            socket.create_connection(("::1", self.port), 5).close()
        except OSError:
            return False
        return True

    @property
    def sessions(self) -> list[int]:
        """The processes that serve a connection each."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(child) for child in children if _serves(int(child), self.port)]

    def drop_sessions(self) -> None:
        """Kill what serves connections, and see it dead: clients lose theirs at any moment of a request."""
        for child in (dropped := self.sessions):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        eventually(lambda: not set(dropped) & set(self.sessions), "the sessions are dropped")

    def environment(self) -> dict[str, str]:
        """For smbclient, which reads the password there."""
        return {**os.environ, "PATH": _PATH, "PASSWD": PASSWORD, "USER": self.user}


@contextmanager
def samba_server(
    shares: Mapping[str, Path],
    *,
    options: Mapping[str, str] | None = None,
    share_options: Mapping[str, str] | None = None,
) -> Iterator[Samba]:
    """Serve folders by their shares' names; the options are lines of smb.conf, global ones and those of each share."""
    for tool in ("smbd", "smbpasswd"):
        if shutil.which(tool, path=_PATH) is None:
            pytest.skip(f"needs {tool} (apt-get install samba)")
    if os.geteuid():
        pytest.skip("smbd runs as root only")
    user = pwd.getpwuid(os.geteuid()).pw_name
    # Samba's sockets are below it: a short path.
    with tempfile.TemporaryDirectory(prefix="smb-", dir="/tmp") as name:
        home = Path(name)
        for folder in _FOLDERS:
            (home / folder).mkdir(mode=0o700 if folder == "private" else 0o755)
        server = _started(
            home, lambda port: _configuration(home, port, shares, options or {}, share_options or {}), user
        )
        try:
            yield server
        finally:
            _end(server.process)


def _started(home: Path, configuration_for: Callable[[int], str], user: str) -> Samba:
    for _ in range(5):  # somebody else may take the port before smbd does
        port = _free_port()
        configuration = home / "smb.conf"
        configuration.write_text(configuration_for(port))
        tool = shutil.which("smbpasswd", path=_PATH)
        subprocess.run(
            [tool, "-c", configuration, "-L", "-a", "-s", user],
            input=f"{PASSWORD}\n{PASSWORD}\n".encode(),
            check=True,
            capture_output=True,
        )
        command = [shutil.which("smbd", path=_PATH), "-F", "--no-process-group", "-s", configuration, "-l", home]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if eventually(lambda p=process, n=port: p.poll() is not None or _listens(n), "smbd listens") and (
            process.poll() is None
        ):
            return Samba(port, user, process)
        _end(process)
    raise RuntimeError(f"smbd does not start: {(home / 'log.smbd').read_text()[-2000:]}")


def _configuration(
    home: Path, port: int, shares: Mapping[str, Path], options: Mapping[str, str], share_options: Mapping[str, str]
) -> str:
    settings = {
        "server role": "standalone server",
        "workgroup": "HOLDFAST",
        "interfaces": f"{HOST} ::1",
        "bind interfaces only": "yes",
        "smb ports": str(port),
        "disable netbios": "yes",
        "lock directory": str(home / "lock"),
        "state directory": str(home / "state"),
        "cache directory": str(home / "cache"),
        "private dir": str(home / "private"),
        "pid directory": str(home / "pid"),
        "ncalrpc dir": str(home / "ncalrpc"),
        "log file": str(home / "log.smbd"),
        "passdb backend": "tdbsam",
        "load printers": "no",
        "printing": "bsd",
        "disable spoolss": "yes",
        "map to guest": "never",
        "store dos attributes": "yes",
        "kernel share modes": "no",
        **options,
    }
    lines = ["[global]", *(f"{name} = {value}" for name, value in settings.items())]
    for share, folder in shares.items():
        own = {"path": str(folder), "read only": "no", "guest ok": "yes", **share_options}
        lines += [f"[{share}]", *(f"{name} = {value}" for name, value in own.items())]
    return "\n".join(lines) + "\n"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((HOST, port)) == 0


def _serves(pid: int, port: int) -> bool:
    """Whether a process has a connection to our port: smbd has children for other purposes, too."""
    try:
        links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    except OSError:
        return False
    return any(at[1].endswith(f":{port:04X}") and at[3] == "01" and f"socket:[{at[9]}]" in links for at in lines)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
