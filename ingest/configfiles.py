"""A machine's configuration as files in a directory. Imports `catalog` and `ingest.configuration`.

A source's names cannot lead out of the directory, and nothing that is there is overwritten.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from catalog.domain.restoring import ConfigurationRestoreStarted
from ingest.configuration import required_configuration
from ingest.restore import safe_name
from ingest.streams import StreamWriter
from ingest.wiring import Services
from storage.errors import Conflict
from storage.files import create_file, make_directory, replace_file, storage_error

MAX_NAME_BYTES = 200
"""What every file system takes, with a number in front of it."""


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One file: its name at the source, and where it was written."""

    name: str
    path: Path
    size_bytes: int


def restore_configuration(services: Services, point_name: str, to: Path, *, force: bool = False) -> list[WrittenFile]:
    """Write the configuration of a restore point into the directory `to`, which is made if it is not there.

    Everything was read back and verified before the first file is written. Raises NotFound, Conflict, Corrupt.
    """
    point = services.catalog.find_point(point_name)
    files = required_configuration(services, point)
    paths = [to / name for name in _file_names([file.name for file in files])]
    taken = [path for path in paths if path.exists() or path.is_symlink()]
    if taken and not force:
        raise Conflict(f"{taken[0]} exists", code="target-exists", hint="choose another directory, or add --force")
    StreamWriter(services.log, services.new_id(), services.clock).append(
        ConfigurationRestoreStarted,
        machine_id=point.machine_id,
        restore_point_id=point.restore_point_id,
        files=tuple(file.name for file in files),
    )
    try:
        make_directory(to)
    except OSError as error:
        raise storage_error(error, f"{to} cannot be made") from error
    write = replace_file if force else create_file
    written = []
    for file, path in zip(files, paths, strict=True):
        write(path, [file.content], partial=to, mode=0o600)
        written.append(WrittenFile(file.name, path, len(file.content)))
    return written


def _file_names(names: list[str]) -> list[str]:
    """A file name for each, all different also where case does not count."""
    safe = [safe_name(name).encode()[-MAX_NAME_BYTES:].decode(errors="ignore") for name in names]
    if len({name.casefold() for name in safe}) != len(safe):
        return [f"{number}-{name}" for number, name in enumerate(safe, start=1)]
    return safe
