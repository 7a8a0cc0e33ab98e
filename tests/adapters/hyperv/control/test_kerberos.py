"""Kerberos with a real KDC on loopback: who logs in to WinRM (simulated) and to SMB (a real Samba), and what is sealed.

The packages for it have an environment of their own (`make kerberos`), in which the file is run a second time.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.errors import SourceDenied
from adapters.hyperv.smb.files import SmbFiles
from adapters.secret import Secret
from tests.adapters.hyperv.control.conftest import MakeRunner, StartHost
from tests.support import kdc
from tests.support.samba_server import samba_server

_PACKAGES = ("kerberos", "gssapi", "krb5")
_MISSING = [name for name in _PACKAGES if importlib.util.find_spec(name) is None] + kdc.missing()
_ROOT = Path(__file__).parents[4]
_PYTHON = _ROOT / "build" / "kerberos" / "bin" / "python"

needs_kerberos = pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}")


@pytest.fixture(scope="module")
def realm() -> Iterator[Path]:
    """The folder of a realm with its services' keytab and our ticket."""
    with kdc.realm() as folder:
        yield folder


@pytest.mark.skipif(not _MISSING, reason="this is the environment with Kerberos")
def test_all_of_this_in_the_environment_with_kerberos() -> None:
    """What is skipped here is run there."""
    if not _PYTHON.exists():
        pytest.skip("make kerberos sets the environment up")
    if absent := kdc.missing():
        pytest.skip(f"not installed: {', '.join(absent)}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [_PYTHON, "-m", "pytest", "-q", Path(__file__).relative_to(_ROOT)]
    result = subprocess.run(
        command, cwd=_ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-20_000:]
    assert "passed" in result.stdout, result.stdout[-20_000:]


@needs_kerberos
@pytest.mark.parametrize("tls", [False, True])
def test_a_ticket_logs_in(realm: Path, start_host: StartHost, runner_of: MakeRunner, tls: bool) -> None:
    """The ticket is enough, both sides prove who they are, and over plain HTTP nothing goes in clear text."""
    host = start_host(tls=tls)
    runner = runner_of(host, host="localhost", user=kdc.USER, authentication="kerberos")
    for text in ("日本", "again"):
        assert runner.run("machines", {"name": text})["arguments"] == {"name": text}


@needs_kerberos
def test_no_ticket_is_refused(
    realm: Path, start_host: StartHost, runner_of: MakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told as a refused login, with where to look."""
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{realm}/nothing")
    runner = runner_of(start_host(), host="localhost", user=kdc.USER, authentication="kerberos")
    with pytest.raises(SourceDenied) as raised:
        runner.run("machines", {})
    assert raised.value.code == "login-refused"
    assert "klist" in raised.value.hint


@needs_kerberos
@pytest.mark.parametrize("ticket", ["ticket", "nothing"])
def test_files_are_read_with_the_ticket_alone(
    realm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ticket: str
) -> None:
    """The password, which is another here, is not asked for: files are read with the ticket, and not without."""
    (tmp_path / "disk").write_bytes(b"content")
    options = {"realm": kdc.REALM, "kerberos method": "dedicated keytab", "dedicated keytab file": f"{realm}/keytab"}
    with samba_server({"C$": tmp_path}, options=options) as samba:
        monkeypatch.setenv("KRB5CCNAME", f"FILE:{realm}/{ticket}")
        other = Secret(lambda: "another")
        files = SmbFiles(samba.settings(host="localhost", user=kdc.USER, password=other, authentication="kerberos"))
        try:
            if ticket == "ticket":
                assert files.read_bytes(r"\\localhost\C$\disk") == b"content"
            else:
                with pytest.raises(SourceDenied) as raised:
                    files.read_bytes(r"\\localhost\C$\disk")
                assert raised.value.code == "smb-logon"
        finally:
            files.close()
