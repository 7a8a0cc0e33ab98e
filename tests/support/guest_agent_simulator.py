"""A simulator of QEMU's guest agent: it answers the protocol, but no file system stands behind it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread


class GuestAgentSimulator:
    """`frozen` is the guest's state and `commands` what it was asked, besides to synchronise.

    `broken` commands get an error, `silent` ones are obeyed without an answer, and `nonsense`, when set, answers
    all. With `thaws_alone` a frozen guest has thawed by the time it is asked for its status.
    """

    def __init__(self) -> None:
        self.frozen = False
        self.commands: list[str] = []
        self.broken: set[str] = set()
        self.silent: set[str] = set()
        self.nonsense = b""
        self.thaws_alone = False

    def answer(self, request: dict[str, object]) -> bytes:
        """Obey one request and return what to send."""
        command = str(request["execute"])
        if command == "guest-sync-delimited":
            arguments = request["arguments"]
            assert isinstance(arguments, dict)
            return b'{"return": "late"}\n\xff' + json.dumps({"return": arguments["id"]}).encode() + b"\n"
        self.commands.append(command)
        if command in self.broken:
            return b'{"error": {"class": "GenericError", "desc": "no"}}\n'
        value = self._obey(command)
        answer = self.nonsense or json.dumps({"return": value}).encode() + b"\n"
        return b"" if command in self.silent else answer

    def _obey(self, command: str) -> object:
        if command == "guest-fsfreeze-status":
            self.frozen = self.frozen and not self.thaws_alone
            return "frozen" if self.frozen else "thawed"
        if command.startswith("guest-fsfreeze-"):
            self.frozen = command == "guest-fsfreeze-freeze"
            return 1
        return {}

    @contextmanager
    def serving(self, path: Path) -> Iterator[Path]:
        """Listen at `path`, one client after the other."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(4)
            thread = Thread(target=self._serve, args=(listener,))
            thread.start()
            try:
                yield path
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, client.makefile("rb") as lines:
                try:
                    for line in lines:
                        client.sendall(self.answer(json.loads(line.lstrip(b"\xff"))))
                except OSError:
                    continue
