"""The chunk index: digest -> pack, offset, stored; imports `storage` only.

Immutable runs on disk, a dictionary of what this process added in front. A cache: every entry comes from a pack's
footer, and what is damaged or lost is said in `problems` and loaded again by the store. Several processes may
have it open; a publisher holds a file lock. Look-ups take no lock and may run in several threads.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import NamedTuple

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from storage.chunks.merging import due, merge, run_of
from storage.chunks.runs import Run, prefixes_of, run_name
from storage.errors import Corrupt
from storage.files import fsync_directory, make_directory, replace_file
from storage.packs.format import DIGEST_BYTES, Entries

_TITLE = "holdfast chunk index 1"
_MAX_MANIFEST_BYTES = 1 << 20
_PUBLISH_AT_ENTRIES = 1 << 17
_OPEN_ATTEMPTS = 16
_STAGED_SECONDS = 86_400


class Location(NamedTuple):
    """Where the record of a chunk is."""

    pack_id: bytes
    offset: int
    stored: int


class _View(NamedTuple):
    run: Run
    alive: NDArray[np.bool_]


class ChunkIndex:
    """The index in one directory. `problems` names what was found damaged and left out since it was opened."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = RLock()
        self._views: tuple[_View, ...] = ()
        self._recent: dict[bytes, Location] = {}
        self._unpublished: dict[bytes, Entries] = {}
        self._allowed: set[bytes] | None = None
        self.problems: tuple[str, ...] = ()
        self.staging = folder / ".partial"
        make_directory(self.staging)
        self.refresh()

    def __len__(self) -> int:
        return sum(len(view.run) for view in self._views) + sum(map(len, self._unpublished.values()))

    def packs(self) -> set[bytes]:
        """Return the packs whose chunks may be cited."""
        with self._lock:
            known = {pack for view in self._views for pack in view.run.packs}.union(self._unpublished)
            return known if self._allowed is None else known & self._allowed

    def lookup(self, digests: NDArray[np.uint8]) -> list[Location | None]:
        """Return where each digest u8[n, 32] is stored, or None."""
        recent = self._recent
        flat = digests.tobytes()
        found = [recent.get(flat[at : at + DIGEST_BYTES]) for at in range(0, len(flat), DIGEST_BYTES)]
        for view in self._views:
            missing = [number for number, location in enumerate(found) if location is None]
            if not missing:
                break
            asked = digests[missing]
            at = view.run.find(asked, prefixes_of(asked), view.alive)
            hits = np.flatnonzero(at >= 0)
            for number, location in zip(hits.tolist(), _locations(view.run, at[hits]), strict=True):
                found[missing[number]] = location
        return found

    def recent(self, digest: bytes) -> Location | None:
        """Return where a chunk is that this process stored since the last publication, or None."""
        return self._recent.get(digest)

    def add(self, pack_id: bytes, entries: Entries) -> None:
        """Take in a durable pack; the index is published once enough is new."""
        with self._lock:
            if self._allowed is not None:
                self._allowed.add(pack_id)
            self._unpublished[pack_id] = entries
            for digest, offset, stored in zip(
                entries["digest"], entries["offset"].tolist(), entries["stored"].tolist(), strict=True
            ):
                self._recent[digest.tobytes()] = Location(pack_id, offset, stored)
            if sum(map(len, self._unpublished.values())) >= _PUBLISH_AT_ENTRIES:
                self.publish()

    def keep_only(self, packs: Iterable[bytes]) -> None:
        """From now on cite these packs only, and those added later. Their entries are skipped, not rewritten."""
        with self._lock:
            self._allowed = set(packs)
            self._unpublished = {pack: kept for pack, kept in self._unpublished.items() if pack in self._allowed}
            self._recent = {key: at for key, at in self._recent.items() if at.pack_id in self._allowed}
            self._show([view.run for view in self._views])

    def publish(self, runs: Sequence[Run] = ()) -> None:
        """Write what is new as a run, add the staged `runs`, merge small ones, and replace the manifest."""
        with self._lock, self._publishing():
            self.refresh()
            listed = [view.run for view in self._views]
            known = {pack for run in [*listed, *runs] for pack in run.packs}
            fresh = [(pack, entries) for pack, entries in self._unpublished.items() if pack not in known]
            if fresh or runs:
                new = [*runs, run_of(fresh, self.staging)] if fresh else runs
                self._replace([*listed, *new])
            self._unpublished, self._recent = {}, {}

    def replace(self, runs: Sequence[Run]) -> None:
        """Make these runs the whole index: what a rebuild ends with."""
        with self._lock, self._publishing():
            self._unpublished, self._recent, self._allowed, self.problems = {}, {}, None, ()
            self._replace(list(runs))

    def refresh(self) -> None:
        """Read the manifest again and open the runs that other processes published."""
        with self._lock:
            opened = {run_name(view.run.body_hash): view.run for view in self._views}
            problems: list[str] = []
            for _ in range(_OPEN_ATTEMPTS):
                names, problems = self._manifest()
                runs, gone = self._open(names, opened, problems)
                if not gone or self._manifest()[0] == names:
                    problems += [f"chunk index run {name} is missing" for name in gone]
                    break
            self.problems = tuple(dict.fromkeys([*self.problems, *problems]))
            self._show(runs)

    def _open(self, names: list[str], opened: dict[str, Run], problems: list[str]) -> tuple[list[Run], list[str]]:
        runs, gone = [], []
        for name in names:
            try:
                runs.append(opened.get(name) or Run(self._folder / name))
            except Corrupt as error:
                problems.append(str(error))
            except FileNotFoundError:
                gone.append(name)
        return runs, gone

    def _replace(self, runs: list[Run]) -> None:
        """Merge what is due and publish the result, the new runs before the manifest. The lock is held."""
        small = due(runs)
        if small:
            runs = [run for run in runs if run not in small] + [merge(small, self.staging)]
        names = [run_name(run.body_hash) for run in runs]
        for name in names:
            # A name is its content's, but a file that was there may be damaged: a staged one takes its place.
            staged, listed = self.staging / name, self._folder / name
            if staged.exists() or not listed.exists():
                os.rename(staged, listed)
        fsync_directory(self._folder)
        lines = [_TITLE, *(run.body_hash.hex() for run in runs)]
        body = "".join(line + "\n" for line in lines)
        text = body + f"end {blake3(body.encode()).hexdigest()}\n"
        replace_file(self._folder / "MANIFEST", [text.encode()], partial=self.staging)
        self._show(runs)
        self._clean(names, [run_name(run.body_hash) for run in small])

    def _clean(self, listed: list[str], merged: list[str]) -> None:
        """Remove unlisted runs, and what was staged so long ago that its process is gone."""
        garbage = [path for path in self._folder.glob("*.run") if path.name not in listed]
        garbage += [self.staging / name for name in merged]
        before = time.time() - _STAGED_SECONDS
        for path in self.staging.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    garbage.append(path)
        for path in garbage:
            path.unlink(missing_ok=True)

    def _show(self, runs: Sequence[Run]) -> None:
        allowed = self._allowed
        self._views = tuple(
            _View(run, np.array([allowed is None or pack in allowed for pack in run.packs], bool)) for run in runs
        )

    def _manifest(self) -> tuple[list[str], list[str]]:
        """Return the names of the runs, and what is wrong with the manifest."""
        try:
            with (self._folder / "MANIFEST").open("rb") as file:
                text = file.read(_MAX_MANIFEST_BYTES)
        except FileNotFoundError:
            return [], []
        body, _, end = text.rpartition(b"end ")
        lines = body.splitlines()
        if end != blake3(body).hexdigest().encode() + b"\n" or lines[:1] != [_TITLE.encode()]:
            return [], ["the chunk index manifest does not verify"]
        return [run_name(bytes.fromhex(line.decode())) for line in lines[1:]], []

    @contextmanager
    def _publishing(self) -> Iterator[None]:
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _locations(run: Run, at: NDArray[np.int64]) -> Iterator[Location]:
    tails = run.tails[at]
    packs = [run.packs[number] for number in tails["pack"].tolist()]
    return map(Location, packs, tails["offset"].tolist(), tails["stored"].tolist())
