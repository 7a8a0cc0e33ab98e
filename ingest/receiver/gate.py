"""Connections that are let in: so many at once, and so many from one address, each counted before TLS begins.

Imports uvicorn and this package. What is beyond the bounds is closed at once; agents try again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import uvicorn

from catalog.api.quota import Quota
from ingest.receiver.app import Door
from ingest.receiver.bounded import BoundedHttp
from storage.errors import Limit

PAUSE_SECONDS = 0.2
"""Before connections are taken again when the system has no room for another."""


class Server(uvicorn.Server):
    """Serves a door: `run([socket])`. Told to end, it ends the door's runs, so that agents hear of it at once."""

    def __init__(self, config: uvicorn.Config, door: Door) -> None:
        super().__init__(config)
        self._door = door
        limits = door.limits
        self._quota = Quota(limits.connections_each, limits.connections, code="connections", what="connections")
        self._tasks: set[asyncio.Task[None]] = set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop."""
        threading.Thread(target=self._door.runs.stop, name="stop-runs").start()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections at `sockets`."""
        await super().startup(sockets=[])
        for listening in sockets or []:
            listening.setblocking(False)
            self._spawn(self._accept(listening))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more; end what is open."""
        for task in list(self._tasks):
            if task.get_name() == "accept":
                task.cancel()
        await super().shutdown(sockets)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str = "accept") -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(listening)
            except OSError:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            try:
                give_back = self._quota.take(origin(peer[0]))
            except Limit:
                connection.close()
                continue
            self._spawn(self._connection(connection, give_back), "connection")

    async def _connection(self, connection: socket.socket, give_back: Callable[[], None]) -> None:
        """One connection, from its handshake to its end."""
        loop = asyncio.get_running_loop()
        protocol = BoundedHttp(
            self._door.limits,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=loop,
        )
        context = self.config.ssl
        limits = self._door.limits
        patience = (
            {}
            if context is None
            else {
                "ssl_handshake_timeout": limits.handshake,
                "ssl_shutdown_timeout": limits.linger,
            }
        )
        try:
            await loop.connect_accepted_socket(lambda: protocol, connection, ssl=context, **patience)
            await protocol.closed
        except (OSError, ssl.SSLError, TimeoutError):
            connection.close()
        finally:
            give_back()


def origin(address: str) -> str:
    """What counts as one address: a host of IPv4, a /64 of IPv6, which one host may have whole."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or found.packed[:8].hex())
