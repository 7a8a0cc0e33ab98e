"""How to reach one VDI. Imports `adapters.secret` only."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from adapters.secret import Secret


class Pool(Protocol):
    """What is needed of a session: see `adapters.xen.session`. Safe from several threads."""

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """Trusts exactly what the settings say."""

    def call(self, method: str, *args: object) -> Any:
        """Call a method of the API."""

    def session_id(self) -> Secret:
        """The session in force, which a new log-in changes."""

    def shown(self, text: str) -> str:
        """Return what a host said without the ids of sessions."""


@dataclass(frozen=True, slots=True)
class VdiAccess:
    """One VDI of a pool: a snapshot's to be read, or a new disk's to be written.

    `uuid` names it for ever, `label` in words. `hosts` are the addresses of the pool's hosts: to no other are the
    session's credentials sent. `host` is the one that streams are asked from; it may send us on to one that sees the
    disk. `image_formats` are those that the disk's storage supports (`SM.supported_image_formats`; older pools name
    none). `insecure_nbd` says that the settings allow NBD in clear text.
    """

    pool: Pool = field(repr=False)
    uuid: str
    label: str
    size_bytes: int
    host: str
    hosts: frozenset[str]
    port: int
    runtime_dir: Path
    connections_per_host: int = 16
    insecure_nbd: bool = False
    image_formats: frozenset[str] = frozenset()
