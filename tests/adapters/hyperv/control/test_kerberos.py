"""Kerberos with a real KDC (MIT's, on loopback) and the simulated host: who logs in, and that messages are sealed.

The packages for it have an environment of their own (`make kerberos`), in which the file is run a second time.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.errors import SourceDenied
from tests.adapters.hyperv.control.conftest import MakeRunner, StartHost

_PACKAGES = ("kerberos", "gssapi", "krb5")
_TOOLS = ("krb5kdc", "kdb5_util", "kadmin.local", "kinit")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_MISSING = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
_MISSING += [name for name in _TOOLS if shutil.which(name, path=_PATH) is None]

_ROOT = Path(__file__).parents[4]
_PYTHON = _ROOT / "build" / "kerberos" / "bin" / "python"

needs_kerberos = pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}")

REALM = "EXAMPLE.TEST"
USER = f"backup@{REALM}"
PASSWORD = "Sw0rdfish-42"


def _write_settings(folder: Path, port: int) -> None:
    (folder / "krb5.conf").write_text(
        f"[libdefaults]\ndefault_realm = {REALM}\ndns_lookup_kdc = false\nrdns = false\n"
        "dns_canonicalize_hostname = false\nudp_preference_limit = 1\n"
        f"[realms]\n{REALM} = {{\n kdc = 127.0.0.1:{port}\n}}\n[domain_realm]\nlocalhost = {REALM}\n"
    )
    (folder / "kdc.conf").write_text(
        f'[kdcdefaults]\nkdc_listen = ""\nkdc_tcp_listen = 127.0.0.1:{port}\n'
        f"[realms]\n{REALM} = {{\n database_name = {folder}/db\n key_stash_file = {folder}/stash\n}}\n"
    )


@contextmanager
def _kdc(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A KDC that answers; another port is tried when the first one is taken meanwhile."""
    for _ in range(5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        _write_settings(folder, port)
        with subprocess.Popen(
            ["krb5kdc", "-n"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                if _answers(process, port):
                    yield
                    return
            finally:
                process.kill()
    raise RuntimeError("no KDC could be started")


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


@pytest.fixture(scope="module")
def realm() -> Iterator[Path]:
    """A realm with the user and the service of `localhost`; the user has a ticket."""
    with tempfile.TemporaryDirectory(prefix="hf-") as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        patch.setenv("PATH", _PATH)
        patch.setenv("KRB5_CONFIG", str(folder / "krb5.conf"))
        patch.setenv("KRB5_KDC_PROFILE", str(folder / "kdc.conf"))
        patch.setenv("KRB5_KTNAME", f"FILE:{folder}/keytab")
        patch.setenv("KRB5CCNAME", f"FILE:{folder}/ticket")
        _write_settings(folder, 1)
        made = ["kdb5_util", "create", "-s", "-P", "master", "-r", REALM]
        for command in (
            made,
            ["kadmin.local", "addprinc", "-pw", PASSWORD, USER],
            ["kadmin.local", "addprinc", "-randkey", f"HTTP/localhost@{REALM}"],
            ["kadmin.local", "ktadd", "-k", str(folder / "keytab"), f"HTTP/localhost@{REALM}"],
        ):
            subprocess.run(command, check=True, capture_output=True, timeout=120)
        with _kdc(folder, dict(os.environ)):
            subprocess.run(["kinit", USER], input=PASSWORD.encode(), check=True, capture_output=True, timeout=120)
            yield folder


@pytest.mark.skipif(not _MISSING, reason="this is the environment with Kerberos")
def test_all_of_this_in_the_environment_with_kerberos() -> None:
    """What is skipped here is run there."""
    if not _PYTHON.exists():
        pytest.skip("make kerberos sets the environment up")
    if absent := [name for name in _TOOLS if shutil.which(name, path=_PATH) is None]:
        pytest.skip(f"not installed: {', '.join(absent)}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [_PYTHON, "-m", "pytest", "-q", Path(__file__).relative_to(_ROOT)]
    result = subprocess.run(
        command, cwd=_ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-20_000:]
    assert "3 passed" in result.stdout, result.stdout[-20_000:]


@needs_kerberos
@pytest.mark.parametrize("tls", [False, True])
def test_a_ticket_logs_in(realm: Path, start_host: StartHost, runner_of: MakeRunner, tls: bool) -> None:
    """The ticket is enough, both sides prove who they are, and over plain HTTP nothing goes in clear text."""
    host = start_host(tls=tls)
    runner = runner_of(host, host="localhost", user=USER, authentication="kerberos")
    for text in ("日本", "again"):
        assert runner.run("machines", {"name": text})["arguments"] == {"name": text}


@needs_kerberos
def test_no_ticket_is_refused(
    realm: Path, start_host: StartHost, runner_of: MakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told as a refused login, with where to look."""
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{realm}/nothing")
    host = start_host(tls=True)
    runner = runner_of(host, host="localhost", user=USER, authentication="kerberos")
    with pytest.raises(SourceDenied) as raised:
        runner.run("machines", {})
    assert raised.value.code == "login-refused"
    assert "klist" in raised.value.hint
