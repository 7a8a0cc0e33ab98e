"""A real `holdfast serve` over a home with two sources, of which callers may be kept to one; and tokens for it."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import IO, Any
from uuid import UUID, uuid4

import httpx

from catalog.access.caller import EVERYTHING, Caller, Role
from catalog.access.tokens import TokenBook
from catalog.batches import decode_chunks
from catalog.domain.access import AccessRecorded
from catalog.domain.events import ChunksRecorded, MachineSeen, RestorePointCommitted
from catalog.ledger.ledger import Ledger
from catalog.log import EventLog
from catalog.tasks.book import TaskBook
from tests.support.lab import REPOSITORY, Lab, make_image, write_at

OWN, FOREIGN = "lab", "vault"
CANARY = "xanadu"
"""The name of the machine that a caller of the scope lab/* must not learn."""
START = "from ingest.cli.main import main; main()"


@dataclass(frozen=True, slots=True)
class Things:
    """What one machine has, by the identifiers that a request names. `spare_points` may be used up."""

    source: str
    machine: str
    machine_id: str
    disk_id: str
    restore_point: str
    digest: str
    position: int
    task_id: str
    spare_points: list[str] = field(default_factory=list)

    def identifiers(self) -> list[str]:
        """All of them, as they may stand in an answer."""
        plain = [self.machine_id, self.disk_id, self.restore_point, self.task_id, self.digest, *self.spare_points]
        return [self.machine, self.source, *plain, *(text.replace("-", "") for text in plain)]


class ApiLab:
    """Home, tokens and server. `tokens` are secrets by name."""

    def __init__(self, root: Path) -> None:
        self.lab = Lab(root)
        self.clock = lambda: datetime.now(UTC)
        random = Random(7)
        for source, machine in ((OWN, "web"), (FOREIGN, CANARY)):
            folder = root / source
            folder.mkdir()
            image = folder / f"{machine}.raw"
            make_image(image, 1 << 20, [(0, random.randbytes(200_000))])
            self.lab.ok("source", "add", source, "--kind", "image", "--path", folder)
            for number in range(3):
                write_at(image, 300_000 + number, random.randbytes(1000))
                self.lab.backup(target=source)
        self.log = EventLog.open(self.lab.home.event_file)
        self.book = TokenBook(self.log, self.lab.home.read_config().repository_id, self.clock, secrets.token_bytes)
        Ledger(self.log, self.lab.home, self.clock).publish()
        self.own, self.foreign = self._things(OWN), self._things(FOREIGN)

    def token(self, name: str, role: Role, machines: list[str] | None = None) -> str:
        """The secret of a new token."""
        return self.book.create(name, role, machines, None, "ada")[1]

    def expired_token(self) -> str:
        """A secret that was good until yesterday."""
        past = TokenBook(
            self.log,
            self.lab.home.read_config().repository_id,
            lambda: self.clock() - timedelta(days=2),
            secrets.token_bytes,
        )
        return past.create("expired", Role.ADMIN, None, self.clock() - timedelta(days=1), "ada")[1]

    def revoked_token(self) -> str:
        """A secret that was good until now."""
        token_id, secret = self.book.create("revoked", Role.ADMIN, None, None, "ada")
        self.book.revoke(token_id, "ada")
        return secret

    def accesses(self, after: int) -> list[AccessRecorded]:
        """What was recorded behind a position."""
        found = self.log.follow_only((AccessRecorded,), after)
        return [one.event for one in found if isinstance(one.event, AccessRecorded)]

    def close(self) -> None:
        self.log.close()

    def _things(self, source: str) -> Things:
        events = list(self.log.follow())
        seen = [(one.position, one.event) for one in events if isinstance(one.event, MachineSeen)]
        position, machine = next((at, event) for at, event in seen if event.source == source)
        disk = machine.disks[0].disk_id
        points = [
            str(one.event.restore_point_id)
            for one in events
            if isinstance(one.event, RestorePointCommitted) and one.event.source == source
        ]
        rows = next(one.event for one in events if isinstance(one.event, ChunksRecorded) and one.event.disk_id == disk)
        return Things(
            source=source,
            machine=machine.name,
            machine_id=str(machine.originator_id),
            disk_id=str(disk),
            restore_point=points[-1],
            digest=bytes(decode_chunks(rows.batch).digests[0]).hex(),
            position=position,
            task_id=str(self._task(machine.originator_id)),
            spare_points=points[:-1],
        )

    def _task(self, machine_id: UUID) -> UUID:
        tasks = TaskBook(self.log, self.lab.home.read_config().repository_id, self.clock, uuid4)
        return tasks.request_backup(Caller("ada", "local", Role.ADMIN, EVERYTHING), machine_id=machine_id).task_id


class Server:
    """The running server."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, url: str) -> None:
        self.process = process
        self.log = log
        self.client = httpx.Client(base_url=url, trust_env=False, timeout=60)

    def ask(self, method: str, path: str, secret: str | None, body: Any = None, **headers: str) -> httpx.Response:
        """Ask, and read the answer; of a stream of events the head and the first bytes."""
        if secret is not None:
            headers["Authorization"] = f"Bearer {secret}"
        with self.client.stream(method, path, json=body, headers=headers) as answer:
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                answer._content = next(answer.iter_bytes(), b"")
            else:
                answer.read()
        return answer


@contextmanager
def served(home: Path, folder: Path, *options: str) -> Iterator[Server]:
    """Start `holdfast serve` on a free port of loopback; its log is a file."""
    log = folder / "serve.log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-c", START, "--home", str(home), "serve", "--port", "0", "--json", *options],
            stdout=subprocess.PIPE,
            stderr=written,
            cwd=REPOSITORY,
        )
    assert process.stdout is not None
    try:
        server = Server(process, log, _url(process.stdout, log))
        with closing(server.client):
            yield server
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def _url(output: IO[bytes], log: Path) -> str:
    said = b""
    while not said.rstrip().endswith(b"}"):
        line = output.readline()
        assert line, log.read_text()
        said += line
    return str(json.loads(said)["url"])
