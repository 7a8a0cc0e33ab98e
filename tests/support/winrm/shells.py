"""The shells of the simulated host and the commands in them. A command runs in a thread of its own."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable
from threading import Condition, Event, Thread

from tests.support.winrm.powershell import Outcome

Run = Callable[["Command"], Outcome]

_TERMINATED = 0xC000013A


class Command:
    """One process. Its output waits until somebody takes it."""

    def __init__(self, line: str, changed: Condition) -> None:
        self.id = str(uuid.uuid4()).upper()
        self.line = line
        self.stdin = b""
        self.started = False
        self.terminated = Event()
        self._changed = changed
        self._output: deque[tuple[str, bytes]] = deque()
        self._code: int | None = None

    def finish(self, outcome: Outcome) -> None:
        """Leave output and exit code, unless the command was terminated before."""
        with self._changed:
            if self._code is None:
                for stream, content in (("stdout", outcome.stdout), ("stderr", outcome.stderr)):
                    if content:
                        self._output.append((stream, content))
                self._code = outcome.code
                self._changed.notify_all()

    def terminate(self) -> None:
        """End the process, whatever it does."""
        self.terminated.set()
        self.finish(Outcome(b"", code=_TERMINATED))

    def ready(self) -> bool:
        """Whether there is anything to tell. The lock is held."""
        return bool(self._output) or self._code is not None

    def take(self, most: int) -> tuple[list[tuple[str, bytes]], int | None]:
        """Up to `most` bytes of output, and the exit code once all output is told. The lock is held."""
        taken = []
        while self._output and most > 0:
            stream, content = self._output.popleft()
            taken.append((stream, content[:most]))
            if content[most:]:
                self._output.appendleft((stream, content[most:]))
            most -= len(content[:most])
        return taken, None if self._output else self._code


class Shells:
    """All shells that are open, and how many ever were."""

    def __init__(self, run: Run) -> None:
        self.changed = Condition()
        self._run = run
        self._shells: dict[str, dict[str, Command]] = {}
        self._threads: list[Thread] = []
        self.opened = 0
        self.most = 0

    @property
    def open(self) -> int:
        """How many shells are open now."""
        with self.changed:
            return len(self._shells)

    def create(self) -> str:
        """Open a shell and return its id."""
        with self.changed:
            shell = str(uuid.uuid4()).upper()
            self._shells[shell] = {}
            self.opened += 1
            self.most = max(self.most, len(self._shells))
            return shell

    def commands(self, shell: str) -> dict[str, Command]:
        """The commands of a shell. Raises KeyError when it is gone."""
        with self.changed:
            return self._shells[shell]

    def start(self, command: Command) -> None:
        """Let a command run, once."""
        with self.changed:
            if command.started:
                return
            command.started = True
            thread = Thread(target=lambda: command.finish(self._run(command)), name="winrm-command")
            self._threads.append(thread)
        thread.start()

    def delete(self, shell: str) -> None:
        """Close a shell and end its commands. Raises KeyError when it is gone."""
        with self.changed:
            commands = self._shells.pop(shell)
        for command in list(commands.values()):
            command.terminate()

    def forget(self) -> None:
        """Close all shells, as a restart of the service or their idle time-out does."""
        for shell in list(self._shells):
            self.delete(shell)

    def close(self) -> None:
        """End everything, and wait for it."""
        self.forget()
        with self.changed:
            threads = list(self._threads)
            self.changed.notify_all()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
