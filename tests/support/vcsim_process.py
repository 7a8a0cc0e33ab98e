"""The third-party vCenter simulator as a process that ends with the test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from adapters.secret import Secret
from adapters.vmware.settings import VmwareSettings
from tests.support.certificates import Authority, fingerprint
from tests.support.go_tools import vcsim

PASSWORD = "swordfish-26"


@dataclass(frozen=True)
class Vcsim:
    """A running vcsim: where it listens and how its certificate is checked."""

    host: str
    port: int
    ca_file: Path
    certificate: Path

    @property
    def fingerprint(self) -> str:
        """The certificate's SHA-256."""
        return fingerprint(self.certificate)

    def settings(self, **others: object) -> VmwareSettings:
        """Settings that trust it, by its fingerprint unless told otherwise."""
        trust = {} if {"ca_file", "insecure", "fingerprint"} & others.keys() else {"fingerprint": self.fingerprint}
        return VmwareSettings(
            **{"host": self.host, "port": self.port, "user": "user", "password": Secret(lambda: PASSWORD)}
            | trust
            | others
        )


@contextmanager
def running_vcsim(folder: Path, *arguments: str) -> Iterator[Vcsim]:
    """Start it with a certificate for `localhost` of an authority of our own."""
    authority = Authority(folder / "vcsim-ca")
    certificate = authority.issue("server", ["localhost"])
    key = certificate.with_name("server-key.pem")
    process = subprocess.Popen(
        [vcsim(), "-cert", certificate, "-key", key, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "VCSIM_PASSWORD": PASSWORD},
        text=True,
    )
    try:
        assert process.stdout is not None
        address = urlsplit(process.stdout.readline().strip())
        assert address.port
        yield Vcsim("localhost", address.port, authority.ca_file, certificate)
    finally:
        process.communicate()
