"""The end of the tour: the service over what it made, asked once to be sure, and left running for whoever looks on.

Imports `catalog.access` and `ingest.wiring`. Server and worker are the commands themselves, in processes of their own.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from secrets import token_bytes
from typing import Any
from urllib.request import Request, urlopen

from catalog.access.caller import Role
from catalog.access.tokens import TokenBook
from catalog.home import Home
from ingest.wiring import Services
from storage.errors import Unavailable

PORT = 8765
TOKEN_LIFE = timedelta(days=7)
START = "from ingest.cli import main; main()"
STOP_SECONDS = 20


def make_token(services: Services) -> str:
    """An admin's token that ends in a week."""
    book = TokenBook(services.log, services.config.repository_id, services.clock, token_bytes)
    expires_at = services.clock() + TOKEN_LIFE
    return book.create("demo", Role.ADMIN, None, expires_at, "demo")[1]


@contextmanager
def running(home: Home, restore_to: Path) -> Iterator[str]:
    """A server and a worker for the length of a block; yields the page's address."""
    restore_to.mkdir(exist_ok=True)
    with (
        _process(home, "serve", "--port", _free_port(), talk=subprocess.DEVNULL) as server,
        _process(home, "worker", "--restore-to", str(restore_to), talk=subprocess.DEVNULL),
    ):
        line = server.stdout.readline() if server.stdout else b""
        if not line:
            raise Unavailable("the server did not start", code="demo-server", hint="holdfast serve says why")
        yield line.decode().strip()


def status(url: str, token: str) -> dict[str, Any]:
    """What the service says of itself to the holder of `token`."""
    request = Request(f"{url}v1/status", headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - our own server
    with urlopen(request, timeout=30) as answer:  # noqa: S310 - our own server
        found: dict[str, Any] = json.load(answer)
    return found


@contextmanager
def _process(home: Home, *arguments: str, talk: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", START, "--home", str(home.root), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=talk)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _free_port() -> str:
    """The usual port if nobody has it, else any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            return "0"
    return str(PORT)
