"""A stand-in for a pool's session in tests of the data path alone: it knows where VDIs are served, and tasks.

It proves our side only; `tests/support/xapi` has the simulator of a whole pool.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from adapters.errors import SourceNotFound
from adapters.secret import Secret
from adapters.xen.transport.access import VdiAccess


class PoolStandIn:
    """A session with `id`; `log_in_again` ends it and begins another. `servers` answers `VDI.get_nbd_info`.

    `vdis` are the uuids that exist, and `calls` every method that was called.
    """

    def __init__(self, servers: Callable[[str, str], list[dict[str, Any]]], *, vdis: Mapping[str, Path]) -> None:
        self.ssl_context = ssl.create_default_context()
        self.vdis = dict(vdis)
        self.calls: list[str] = []
        self.epoch = 1
        self.servers = servers

    @property
    def id(self) -> str:
        """The id of the session in force."""
        return f"OpaqueRef:session-{self.epoch}-very-secret"

    def log_in_again(self) -> None:
        """The session ended, and another one began."""
        self.epoch += 1

    def session_id(self) -> Secret:
        """As `Session` has it."""
        session = self.id
        return Secret(lambda: session)

    def served(self, uuid: str, session: str) -> Path | None:
        """The file of a VDI, for a session that is in force."""
        return self.vdis.get(uuid) if session == self.id else None

    def call(self, method: str, *args: object) -> Any:
        """Answer the few methods there are."""
        self.calls.append(method)
        if method == "VDI.get_by_uuid":
            if args[0] not in self.vdis:
                raise SourceNotFound("The VDI is gone", code="uuid-invalid")
            return f"OpaqueRef:{args[0]}"
        assert method == "VDI.get_nbd_info", method
        return self.servers(str(args[0]).removeprefix("OpaqueRef:"), self.id)

    def access(self, uuid: str, runtime_dir: Path, **changes: Any) -> VdiAccess:
        """How to reach a VDI of this pool."""
        settings: dict[str, Any] = {
            "pool": self,
            "uuid": uuid,
            "label": "xvda of web",
            "size_bytes": self.vdis[uuid].stat().st_size,
            "host": "localhost",
            "hosts": frozenset({"localhost"}),
            "port": 443,
            "runtime_dir": runtime_dir,
        }
        return VdiAccess(**(settings | changes))
