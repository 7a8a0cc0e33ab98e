"""A home with image files beside it, worked on through the command line in this process. No simulator."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from catalog.cli.app import run
from catalog.domain.events import Event, PackSealed
from catalog.home import Home
from catalog.log import EventLog
from ingest.cli.main import register
from ingest.wiring import InitOptions, Services, init_home, opened
from storage.packs.format import pack_name

KIB, MIB = 1 << 10, 1 << 20
CHUNK = 64 * KIB
REPOSITORY = Path(__file__).parents[2]
START = """
import sys
from ingest.cli.main import main, register
register(sys.argv[1:])
sys.stderr.write("ready\\n")
sys.stderr.flush()
main()
"""
E = TypeVar("E", bound=Event)

register([])


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command line came to."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()

    def json(self) -> Any:
        return json.loads(self.raw)

    def problem(self) -> dict[str, Any]:
        """The error object: the last line on standard error that is one."""
        found = [json.loads(line) for line in self.err.splitlines() if line.startswith('{"kind"')]
        assert found, self.err
        return found[-1]


def holdfast(*arguments: str | Path) -> Answer:
    """Run a command line in this process."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", newline=""), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
        out.flush()
    return Answer(code, out.buffer.getvalue(), err.getvalue())


def start_holdfast(*arguments: str | Path) -> subprocess.Popen[bytes]:
    """Run a command line in a process of its own; returns when its work begins."""
    process = subprocess.Popen(
        [sys.executable, "-c", START, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == b"ready\n"
    return process


class Lab:
    """One repository below `root`, with small chunks and packs."""

    def __init__(self, root: Path, *, chunk_bytes: int = CHUNK, pack_bytes: int = MIB, encrypted: bool = True) -> None:
        self.root = root
        self.home = Home(root / "home")
        self.images = root / "images"
        self.images.mkdir(parents=True)
        init_home(self.home, InitOptions(chunk_bytes, encrypted=encrypted, pack_bytes=pack_bytes))
        self._restored = 0

    def run(self, *arguments: str | Path) -> Answer:
        """Run a command on this home, whatever it comes to."""
        return holdfast("--home", self.home.root, *arguments)

    def ok(self, *arguments: str | Path) -> Answer:
        """Run a command that must succeed."""
        answer = self.run(*arguments)
        assert answer.code == 0, (arguments, answer)
        return answer

    def json(self, *arguments: str | Path) -> Any:
        """Run a command that must succeed and return its JSON."""
        return self.ok(*arguments, "--json").json()

    def fails(self, code: int, *arguments: str | Path) -> dict[str, Any]:
        """Run a command that must fail with this exit code; return the error object."""
        answer = self.run(*arguments, "--json")
        assert answer.code == code, answer
        problem = answer.problem()
        assert problem["exit"] == code
        return problem

    def start(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Run a command on this home in a process of its own."""
        return start_holdfast("--home", self.home.root, *arguments)

    def add_images(self, name: str = "lab") -> None:
        self.ok("source", "add", name, "--kind", "image", "--path", self.images)

    def backup(self, *options: str, target: str = "lab") -> list[dict[str, Any]]:
        return list(self.json("backup", target, *options))

    def backup_one(self, *options: str, target: str = "lab") -> dict[str, Any]:
        (record,) = self.backup(*options, target=target)
        return record

    def restore(self, point: str, *options: str | Path) -> Path:
        """Restore a point of one disk and return the file."""
        self._restored += 1
        target = self.root / f"restored-{self._restored}"
        self.ok("restore", point, "--to", target, *options)
        return target

    def restored(self, point: str, *options: str | Path) -> bytes:
        """The bytes of a point of one disk."""
        target = self.restore(point, *options)
        data = target.read_bytes()
        target.unlink()
        return data

    def recorded(self) -> list[Event]:
        """Every event, in order."""
        with closing(EventLog.open(self.home.event_file)) as log:
            return [recorded.event for recorded in log.follow()]

    def of_type(self, kind: type[E]) -> list[E]:
        """The events of one type."""
        return [event for event in self.recorded() if isinstance(event, kind)]

    def packs(self) -> list[Path]:
        """The pack files, in the order in which they were recorded."""
        return [self.home.store_dir / pack_name(event.pack_id) for event in self.of_type(PackSealed)]

    def tables(self, name: str) -> list[Path]:
        """The Parquet files of one table of the index."""
        return sorted((self.home.lake_dir / "data").glob(f"**/{name}/**/*.parquet"))

    def services(self, random: Random | None = None) -> AbstractContextManager[Services]:
        """The services, as a context manager."""
        return opened(self.home, random=random)


def flip(path: Path, offset: int, mask: int = 0x10) -> None:
    """Flip a bit; a negative offset counts from the end."""
    with path.open("r+b") as file:
        file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ mask]))


def write_at(path: Path, offset: int, data: bytes) -> None:
    """Write into an image as a guest would."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def punch(path: Path, offset: int, length: int) -> None:
    """Make a hole, as a discard does."""
    subprocess.run(["fallocate", "-p", "-o", str(offset), "-l", str(length), str(path)], check=True)


def make_image(path: Path, size_bytes: int, pieces: Sequence[tuple[int, bytes]]) -> None:
    """Make a sparse raw image with `pieces` of (offset, data)."""
    with path.open("wb") as file:
        file.truncate(size_bytes)
    for offset, data in pieces:
        write_at(path, offset, data)


def allocated_bytes(path: Path) -> int:
    """How much of a file is no hole."""
    return path.stat().st_blocks * 512


def pieces(random: Random, sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
    """Random data at (offset, length)."""
    for offset, length in sizes:
        yield offset, random.randbytes(length)
