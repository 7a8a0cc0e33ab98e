"""What `holdfast serve` can be told, by options or a TOML file. Imports `catalog.access`.

Unknown keys are refused. Nothing here is a secret.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

import msgspec

from catalog.access.oidc_settings import OidcSettings
from storage.errors import Invalid, NotFound


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds on what callers may ask for."""

    body_bytes: int = 1 << 20
    body_seconds: float = 30.0
    url_bytes: int = 8192
    requests: int = 256
    """Requests under way at once; more are told to come again."""
    answers: int = 3
    """Answers worked out at once: more threads only take the interpreter from each other."""
    threads: int = 32
    """Threads that wait at once: for disks, for SQL workers, for readers of streams."""
    streams: int = 64
    """Event streams at once, for all callers together; `streams_each` for one."""
    streams_each: int = 16
    downloads: int = 32
    """Block maps and extents sent at once, for all callers together: each holds memory until it is read."""
    downloads_each: int = 8
    questions: int = 4
    """SQL questions answered at once, for all callers together; `questions_each` for one."""
    questions_each: int = 2
    cursor_seconds: int = 24 * 3600
    follow_seconds: float = 0.2
    """How often it is looked whether the log has grown."""
    wait_seconds: float = 5.0
    """How long a request waits for the index to reach the position that it names."""


class ServeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to listen, and whom to believe."""

    host: str = "127.0.0.1"
    port: int = 8765
    tls_cert: str | None = None
    tls_key: str | None = None
    hosts: tuple[str, ...] = ()
    """Names by which clients may call this server beside its own address."""
    plain_http: bool = False
    """Listen without TLS beyond loopback: something in front of this server encrypts."""
    metrics_open: bool = False
    """Show /metrics beyond loopback to callers without a credential too."""
    oidc: OidcSettings | None = None
    limits: Limits = Limits()

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted here."""
        return self.tls_cert is not None


def is_loopback(host: str) -> bool:
    """Whether `host` is an address of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_settings(path: Path) -> ServeSettings:
    """Read a settings file. Raises NotFound; Invalid for anything that is not a setting."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no settings file {path}", code="settings-missing") from None
    try:
        return msgspec.toml.decode(raw, type=ServeSettings)
    except msgspec.MsgspecError as error:
        raise Invalid(f"{path} is not a settings file", code="settings-invalid", why=str(error)) from error
