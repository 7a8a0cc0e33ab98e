"""A TLS proxy in front of a vSphere server that passes everything on and counts connections from outside.

One counts for an ESXi host from its first read of a file of a machine there until it closes, as servers count.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

_PIECE = 1 << 18
_FILE = re.compile(rb"GET /folder/([^/?]+)/")


class CountingProxy:
    """`host_of` tells a machine's host by the name of its folder; `most` has the peak of each host."""

    def __init__(self, target_port: int, host_of: Callable[[str], str]) -> None:
        self.port = 0
        self.most: Counter[str] = Counter()
        self._target_port = target_port
        self._host_of = host_of
        self._now: Counter[str] = Counter()
        self._trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._trusting.check_hostname, self._trusting.verify_mode = False, ssl.CERT_NONE

    async def serve(self, certificate: Path, ready: threading.Event, over: asyncio.Event) -> None:
        """Listen on loopback until `over`, with a certificate whose key lies beside it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_name(certificate.name.replace("-cert", "-key")))
        server = await asyncio.start_server(self._pass, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await over.wait()
        server.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hosts: set[str] = set()
        answers, calls = await asyncio.open_connection("127.0.0.1", self._target_port, ssl=self._trusting)
        back = asyncio.create_task(_pump(answers, writer, lambda _: None))
        try:
            await _pump(reader, calls, lambda piece: self._look(piece, hosts))
        finally:
            self._now.subtract(hosts)
            calls.close()
            await back

    def _look(self, piece: bytes, hosts: set[str]) -> None:
        """See whose file is asked for: a request without a body comes in one piece."""
        if (found := _FILE.match(piece)) is None or (host := self._host_of(unquote(found[1].decode()))) in hosts:
            return
        hosts.add(host)
        self._now[host] += 1
        self.most[host] = max(self.most[host], self._now[host])


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, look: Callable[[bytes], None]) -> None:
    with suppress(OSError):  # either side may go away at any time
        while piece := await source.read(_PIECE):
            look(piece)
            target.write(piece)
            await target.drain()
    target.close()


@contextmanager
def counting_proxy(target_port: int, certificate: Path, host_of: Callable[[str], str]) -> Iterator[CountingProxy]:
    """Run one in a thread for the length of the block."""
    proxy = CountingProxy(target_port, host_of)
    loop, over, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(proxy.serve(certificate, ready, over),))
    thread.start()
    try:
        if not ready.wait(30):
            raise RuntimeError("the proxy does not listen")
        yield proxy
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
