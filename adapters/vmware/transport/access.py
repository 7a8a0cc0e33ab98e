"""How to reach one frozen disk. Imports `adapters.secret` and `limits`."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.secret import Secret
from adapters.vmware.transport.limits import host_place


@dataclass(frozen=True, slots=True)
class DiskAccess:
    """One disk of one snapshot at one server.

    `ssl_context` trusts exactly what the settings say; `thumbprint_sha1` is of the server's certificate, as VDDK wants
    it (`AA:BB:…`). `cookie` returns the session's `vmware_soap_session` value, which changes after a new log-in;
    `renew` logs in again if the session has ended. `path` is the descriptor of the frozen disk within `datastore`,
    `flat_path` its flat file when it has one.
    `export_lease` asks the server for a lease on the snapshot's disks; `export_key` (`VirtualLsiLogicController0:0`)
    tells this disk's among them, and may be left out of a machine with one disk. `host_moref` is the ESXi host that the
    machine runs on.
    """

    host: str
    port: int
    user: str
    password: Secret = field(repr=False)
    ssl_context: ssl.SSLContext
    thumbprint_sha1: str
    cookie: Callable[[], str] = field(repr=False)
    vm_moref: str
    snapshot_moref: str
    datastore: str
    datacenter_path: str
    path: str
    flat_path: str | None
    size_bytes: int
    export_lease: Callable[[], Any] | None
    runtime_dir: Path
    vddk_dir: Path | None
    export_key: str | None = None
    renew: Callable[[], None] | None = None
    host_moref: str | None = None

    @property
    def place(self) -> str:
        """Whose connections are counted."""
        return host_place(self.host, self.host_moref)

    @property
    def name(self) -> str:
        """The disk as VMware writes it."""
        return f"[{self.datastore}] {self.path}"
