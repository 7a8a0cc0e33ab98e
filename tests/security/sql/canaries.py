"""Things that no statement may find, change or call, and what tells that one did."""

from __future__ import annotations

import hashlib
import json
import secrets
import select
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from uuid import UUID, uuid4

import duckdb
import numpy as np
import pytest

from catalog.domain import ids
from catalog.domain.access import TokenRevoked
from catalog.log import EventLog
from catalog.projections import TABLES, Projector
from storage.chunks.rows import ZeroRuns
from storage.lake import Lake
from tests.support.recorded import REPOSITORY, Author, Change, rows_at

PLANTED_BYTES = 16 << 20
OWN_NAME = "own-web"
OF_NO_MACHINE = "canary-of-no-machine"
ELSEWHERE = (Path("/dev/shm/holdfast-canary.csv"), Path("/relative.csv"))  # noqa: S108 - a statement writes there
"""Where statements write that do not know the canaries' folder."""


class Canaries:
    """An index of two machines whose rows share files, secrets in files and variables, and listening sockets."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "shared"
        self.index = root / "index"
        self.file_secret, self.env_secret = (f"CANARY-{name}-{secrets.token_hex(8)}" for name in ("FILE", "ENV"))
        self._plant()
        self.lake = self._recorded()
        self.foreign_file = self.lake.plan("machines")[0].path
        self._sockets = self._listen()

    def _plant(self) -> None:
        self.folder.mkdir()
        self.folder.chmod(0o777)
        self.secret = self.folder / "secret.txt"
        for suffix in ("txt", "csv", "json"):
            text = json.dumps({"word": self.file_secret}) if suffix == "json" else f"word\n{self.file_secret}\n"
            (self.folder / f"secret.{suffix}").write_text(text)
        with duckdb.connect(self.folder / "secret.duckdb") as database:
            database.execute("CREATE TABLE words AS SELECT ? AS word", [self.file_secret])
            database.execute(f"COPY words TO '{self.folder}/secret.parquet'")
        with closing(sqlite3.connect(self.folder / "secret.sqlite")) as database:
            database.execute("CREATE TABLE words AS SELECT ? AS word", [self.file_secret])
            database.commit()
        for path in self.folder.iterdir():
            path.chmod(0o666)

    def _recorded(self) -> Lake:
        """Both machines' disks are of one partition, and their rows are committed together, hence in one file."""
        with EventLog.create(self.root / "events.sqlite") as log:
            author = Author(log)
            self.own = author.machine(OWN_NAME)
            self.foreign_name = _name_sharing_parts_with(self.own)
            self.foreign = author.machine(self.foreign_name)
            zeros = ZeroRuns(np.array([50], np.uint32), np.array([4], np.uint32))
            for salt, machine in enumerate((self.own, self.foreign)):
                author.backup(machine, {"vda": Change(rows_at(range(40), salt), zeros)}, name=f"name-{machine}")
                author.backup(machine, {"vda": Change(rows_at(range(7), salt + 9))}, name=f"name-{machine}")
            author.save(uuid4(), TokenRevoked, revoked_by=OF_NO_MACHINE)
            lake = Lake.create(self.index, TABLES)
            Projector(log, lake).catch_up()
        self.foreign_disk = ids.disk_id(self.foreign, "vda")
        return lake

    def _listen(self) -> list[socket.socket]:
        tcp, udp = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        self.unix = self.folder / "socket"
        path = socket.socket(socket.AF_UNIX)
        path.bind(str(self.unix))
        path.listen()
        self.unix.chmod(0o777)
        self.tcp_port, self.udp_port = tcp.getsockname()[1], udp.getsockname()[1]
        return [tcp, udp, path]

    def placed(self, statement: str) -> str:
        """A statement with the names of what it is after."""
        for name, value in {
            "$SECRET": self.secret,
            "$FOLDER": self.folder,
            "$NAME": self.folder.name,
            "$INDEX": self.index,
            "$TCP": self.tcp_port,
            "$UDP": self.udp_port,
            "$UNIX": self.unix,
            "$FOREIGN_DISK": self.foreign_disk,
            "$FOREIGN_MACHINE": self.foreign,
            "$FOREIGN_NAME": self.foreign_name,
            "$FOREIGN": self.foreign_file,
        }.items():
            statement = statement.replace(name, str(value))
        return statement

    @cached_property
    def foreign_words(self) -> list[str]:
        """What names the other machine or anything of it."""
        connection = duckdb.connect()
        folder = self.index / "data" / "main"
        chunks, points = f"read_parquet('{folder}/chunks/*/*')", f"read_parquet('{folder}/disk_points/*/*')"
        of_disk = f"WHERE disk_id = '{self.foreign_disk}'"
        digests = connection.execute(f"SELECT lower(hex(digest)) FROM {chunks} {of_disk}").fetchall()  # noqa: S608
        named = connection.execute(f"SELECT restore_point_id, run_id FROM {points} {of_disk}").fetchall()  # noqa: S608
        assert digests
        assert named
        words = [self.foreign_name, str(self.foreign), str(self.foreign_disk), "CANARY-FOUND", OF_NO_MACHINE]
        return [*words, *(word for row in [*digests, *named] for word in row)]

    @property
    def secret_words(self) -> list[str]:
        """Secrets that are nobody's rows."""
        return [self.file_secret, self.env_secret]

    def state(self) -> dict[str, tuple[int, str]]:
        """Every file that could be written to, and what it is."""
        found = [*self.folder.rglob("*"), *self.index.rglob("*"), *(path for path in ELSEWHERE if path.exists())]
        return {str(path): (path.stat().st_mode, _content(path)) for path in found}

    def called(self) -> bool:
        """Whether anybody has connected or sent something since this was last asked."""
        found = select.select(self._sockets, [], [], 0)[0]
        for each in found:
            if each.type == socket.SOCK_DGRAM:
                each.recv(1)
            else:
                each.accept()[0].close()
        return bool(found)

    def close(self) -> None:
        """Remove everything."""
        self.lake.close()
        for each in self._sockets:
            each.close()
        for path in ELSEWHERE:
            path.unlink(missing_ok=True)


def _name_sharing_parts_with(machine: UUID) -> str:
    part = ids.part_of(ids.disk_id(machine, "vda"))
    source = ids.source_id(REPOSITORY, "lab")
    names = (f"canary-foreign-{number}" for number in range(100_000))
    return next(name for name in names if ids.part_of(ids.disk_id(ids.machine_id(source, name), "vda")) == part)


def _content(path: Path) -> str:
    """A file's content in short. Nothing planted is large: what is, a statement spilled there, and its size tells."""
    if not path.is_file():
        return ""
    size = path.stat().st_size
    return f"{size} bytes" if size > PLANTED_BYTES else hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def planted() -> Iterator[Canaries]:
    """Canaries in a folder that every user may enter, which pytest's own are not."""
    root = Path(tempfile.mkdtemp(prefix="holdfast-canaries-"))
    root.chmod(0o755)
    try:
        found = Canaries(root)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("HOLDFAST_CANARY", found.env_secret)
                yield found
        finally:
            found.close()
    finally:
        shutil.rmtree(root)
