"""The home of one repository: where everything lives, and the file that says what it is.

May import `storage.errors` only. `holdfast.json` is written last and never changed, so a directory
without it is not a home, whatever else it holds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import msgspec

from storage.errors import Corrupt, Invalid, NotFound

FORMAT = 1
MIN_CHUNK_BYTES = 64 * 1024
MAX_CHUNK_BYTES = 4 * 1024 * 1024


class RepositoryConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for the life of a repository; the content of `holdfast.json`."""

    format: int
    repository_id: UUID
    created_at: datetime
    chunk_bytes: int
    pack_bytes: int
    compression_level: int
    encrypted: bool
    key_id: str


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below one root."""

    root: Path

    @classmethod
    def locate(cls, explicit: Path | None, environ: Mapping[str, str]) -> Home:
        """Choose the home: the option, then HOLDFAST_HOME, then ~/.local/share/holdfast."""
        if explicit is not None:
            return cls(explicit.expanduser().absolute())
        named = environ.get("HOLDFAST_HOME")
        if named:
            return cls(Path(named).expanduser().absolute())
        return cls(Path("~/.local/share/holdfast").expanduser())

    @property
    def config_file(self) -> Path:
        """What this home is."""
        return self.root / "holdfast.json"

    @property
    def key_file(self) -> Path:
        """The master key, mode 0600."""
        return self.root / "keys" / "repository.key"

    @property
    def service_key_file(self) -> Path:
        """What the API signs its cursors with, mode 0600; made when it is first needed."""
        return self.root / "keys" / "service.key"

    @property
    def ledger_key_file(self) -> Path:
        """The private key that signs checkpoints, mode 0600; made when it is first needed."""
        return self.root / "keys" / "ledger.key"

    @property
    def ledger_dir(self) -> Path:
        """Hashes of the ledger's tree, rebuildable from the events."""
        return self.root / "index" / "ledger"

    @property
    def event_file(self) -> Path:
        """The event log."""
        return self.root / "events.sqlite"

    @property
    def store_dir(self) -> Path:
        """The object store."""
        return self.root / "store"

    @property
    def lake_dir(self) -> Path:
        """The index: a DuckLake, rebuildable from the events."""
        return self.root / "index"

    @property
    def chunk_index_dir(self) -> Path:
        """The chunk index, rebuildable from the packs."""
        return self.root / "index" / "chunks"

    @property
    def checkpoint_dir(self) -> Path:
        """Resolved block maps, rebuildable from the events."""
        return self.root / "index" / "checkpoints"

    @property
    def lock_dir(self) -> Path:
        """Lock files of running work."""
        return self.root / "locks"

    @property
    def scratch_dir(self) -> Path:
        """Space for what a running snapshot must hold, and for sockets of child processes."""
        return self.root / "scratch"

    def read_config(self) -> RepositoryConfig:
        """Say what this home is. Raises NotFound, Invalid (newer format) or Corrupt."""
        try:
            raw = self.config_file.read_bytes()
        except FileNotFoundError:
            raise NotFound(
                f"no Holdfast home at {self.root}",
                code="home-missing",
                hint="create one with: holdfast init, or name another with --home or HOLDFAST_HOME",
            ) from None
        try:
            version = msgspec.json.decode(raw, type=dict[str, object]).get("format")
            if isinstance(version, int) and version > FORMAT:
                raise Invalid(
                    f"the home at {self.root} was written by a newer version",
                    code="home-newer",
                    why=f"its format is {version}, this version knows up to {FORMAT}",
                    hint="upgrade holdfast; nothing was changed",
                )
            return msgspec.json.decode(raw, type=RepositoryConfig)
        except msgspec.MsgspecError as error:
            raise Corrupt(
                f"{self.config_file} is not readable",
                code="home-config",
                why=str(error),
                hint="restore holdfast.json from a backup of the home",
            ) from error

    def write_config(self, config: RepositoryConfig) -> None:
        """Publish the config, durably and at once."""
        partial = self.config_file.with_suffix(".partial")
        with partial.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.config_file)
        directory = os.open(self.root, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def check_chunk_bytes(chunk_bytes: int) -> int:
    """Return the chunk size, or raise Invalid: a power of two from 64 KiB to 4 MiB."""
    if not MIN_CHUNK_BYTES <= chunk_bytes <= MAX_CHUNK_BYTES or chunk_bytes & (chunk_bytes - 1):
        raise Invalid(
            f"a chunk of {chunk_bytes} bytes is not possible",
            code="chunk-size",
            hint="choose a power of two from 65536 to 4194304",
        )
    return chunk_bytes
