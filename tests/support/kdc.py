"""A real KDC (MIT's krb5kdc) on loopback, with a user who has a ticket and with the services of `localhost`."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

REALM = "EXAMPLE.TEST"
USER = f"{pwd.getpwuid(os.geteuid()).pw_name}@{REALM}"
"""Samba lets in whom the system knows."""

_PASSWORD = "Sw0rdfish-42"
_SERVICES = (f"HTTP/localhost@{REALM}", f"cifs/localhost@{REALM}")
_TOOLS = ("krb5kdc", "kdb5_util", "kadmin.local", "kinit")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def missing() -> list[str]:
    """The programs that are not here."""
    return [name for name in _TOOLS if shutil.which(name, path=_PATH) is None]


@contextmanager
def realm() -> Iterator[Path]:
    """Have the environment name the realm, the services' `keytab` and the user's `ticket`, both in the folder given."""
    with tempfile.TemporaryDirectory(prefix="hf-") as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        patch.setenv("PATH", _PATH)
        patch.setenv("KRB5_CONFIG", str(folder / "krb5.conf"))
        patch.setenv("KRB5_KDC_PROFILE", str(folder / "kdc.conf"))
        patch.setenv("KRB5_KTNAME", f"FILE:{folder}/keytab")
        patch.setenv("KRB5CCNAME", f"FILE:{folder}/ticket")
        _write_settings(folder, 1)
        _run("kdb5_util", "create", "-s", "-P", "master", "-r", REALM)
        _run("kadmin.local", "addprinc", "-pw", _PASSWORD, USER)
        for service in _SERVICES:
            _run("kadmin.local", "addprinc", "-randkey", service)
            _run("kadmin.local", "ktadd", "-k", str(folder / "keytab"), service)
        with _kdc(folder):
            _run("kinit", USER, said=_PASSWORD)
            yield folder


def _run(*command: str, said: str = "") -> None:
    subprocess.run(command, input=said.encode(), check=True, capture_output=True, timeout=120)


def _write_settings(folder: Path, port: int) -> None:
    """Without a PAC in its tickets, which Samba takes in a domain only."""
    (folder / "krb5.conf").write_text(
        f"[libdefaults]\ndefault_realm = {REALM}\ndns_lookup_kdc = false\nrdns = false\n"
        "dns_canonicalize_hostname = false\nudp_preference_limit = 1\n"
        f"[realms]\n{REALM} = {{\n kdc = 127.0.0.1:{port}\n}}\n[domain_realm]\nlocalhost = {REALM}\n"
    )
    (folder / "kdc.conf").write_text(
        f'[kdcdefaults]\nkdc_listen = ""\nkdc_tcp_listen = 127.0.0.1:{port}\n'
        f"[realms]\n{REALM} = {{\n database_name = {folder}/db\n key_stash_file = {folder}/stash\n"
        " disable_pac = true\n}\n"
    )


@contextmanager
def _kdc(folder: Path) -> Iterator[None]:
    """A KDC that answers; another port is tried when the first one is taken meanwhile."""
    for _ in range(5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        _write_settings(folder, port)
        with subprocess.Popen(["krb5kdc", "-n"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
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
            return process.poll() is None
    return False
