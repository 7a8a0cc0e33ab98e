"""Kerberos with a real KDC on loopback: who logs in to WinRM (simulated) and to SMB (a real Samba), and what is sealed.

The packages for it have an environment of their own (`make kerberos`): there `test_kerberos_apart` has this file run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.errors import SourceDenied
from adapters.hyperv.smb.files import SmbFiles
from adapters.secret import Secret
from tests.adapters.hyperv.control.conftest import MakeRunner, StartHost
from tests.support import kdc
from tests.support.samba_server import samba_server


@pytest.fixture(scope="module")
def realm() -> Iterator[Path]:
    """The folder of a realm with its services' keytab and our ticket."""
    with kdc.realm() as folder:
        yield folder


@pytest.mark.parametrize("tls", [False, True])
def test_a_ticket_logs_in(realm: Path, start_host: StartHost, runner_of: MakeRunner, tls: bool) -> None:
    """The ticket is enough, both sides prove who they are, and over plain HTTP nothing goes in clear text."""
    host = start_host(tls=tls)
    runner = runner_of(host, host="localhost", user=kdc.USER, authentication="kerberos")
    for text in ("日本", "again"):
        assert runner.run("machines", {"name": text})["arguments"] == {"name": text}


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
