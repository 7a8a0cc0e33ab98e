"""A simulator of the peer on a QMP socket, for what a real QEMU does not do on request: lie, stall and break off."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

GREETING = b'{"QMP": {"version": {}, "capabilities": []}}\n'
Answer = Callable[[dict[str, object]], bytes | None]


def ok(command: dict[str, object], value: object = None) -> bytes:
    """The answer of a command that worked."""
    return json.dumps({"return": {} if value is None else value, "id": command["id"]}).encode() + b"\n"


@contextmanager
def qmp_simulator(path: Path, answer: Answer, *, greeting: bytes = GREETING) -> Iterator[None]:
    """Serve one client: greet, agree to capabilities, then let `answer` say what to send; None hangs up."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        thread = Thread(target=_serve, args=(listener, answer, greeting))
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(listener: socket.socket, answer: Answer, greeting: bytes) -> None:
    try:
        client, _ = listener.accept()
    except OSError:
        return
    with client, client.makefile("rb") as lines:
        try:
            client.sendall(greeting)
            for line in lines:
                command = json.loads(line)
                reply = ok(command) if command["execute"] == "qmp_capabilities" else answer(command)
                if reply is None:
                    return
                client.sendall(reply)
        except OSError:
            return
