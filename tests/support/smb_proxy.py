"""A TCP proxy in front of an SMB server that looks at every message to the client, and may change or lose it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

READ = 8
SIGNED = 8

Alter = Callable[[bytearray], bytes | tuple[bytes, ...] | None]
"""Is given a message to the client, without its length; returns what arrives, None to cut the connection."""


class SmbProxy:
    """`alter` is called for each message to a client, in the proxy's thread, and may be replaced at any time."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.alter: Alter = bytes
        self.connections = 0
        self.stalled = False
        self._target_port = target_port

    async def serve(self, ready: threading.Event, over: asyncio.Event) -> None:
        """Listen on loopback until `over`."""
        server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await over.wait()
        server.close()
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        answers, calls = await asyncio.open_connection("127.0.0.1", self._target_port)
        back = asyncio.create_task(self._answer(answers, writer))
        try:
            with suppress(OSError):
                while piece := await reader.read(1 << 18):
                    calls.write(piece)
                    await calls.drain()
        finally:
            calls.close()
            back.cancel()
            writer.close()

    async def _answer(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                length = int.from_bytes(await answers.readexactly(4), "big")
                message = bytearray(await answers.readexactly(length))
                while self.stalled:
                    await asyncio.sleep(0.01)
                if (altered := self.alter(message)) is None:
                    break
                for piece in altered if isinstance(altered, tuple) else (altered,):
                    writer.write(len(piece).to_bytes(4, "big") + piece)
                await writer.drain()
        writer.close()


def is_read(message: bytes | bytearray) -> bool:
    """Whether it is the good answer to a read, in plain."""
    return message[:4] == b"\xfeSMB" and message[8:14] == bytes([0, 0, 0, 0, READ, 0])


@contextmanager
def smb_proxy(target_port: int) -> Iterator[SmbProxy]:
    """Run one in a thread for the length of the block."""
    proxy = SmbProxy(target_port)
    loop, over, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(proxy.serve(ready, over),))
    thread.start()
    try:
        if not ready.wait(30):
            raise RuntimeError("the proxy does not listen")
        yield proxy
    finally:
        proxy.stalled = False
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
