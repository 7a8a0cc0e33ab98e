"""A machine's configuration: into the chunk store when it is backed up, and out of it whole or not at all.

Imports `adapters.port`, `catalog` and `storage`. Nothing cites a pack before it is durable; every byte that comes back
was decrypted and compared with its digest, chunk by chunk and as a file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from blake3 import blake3

from adapters.port import ConfigurationFile
from catalog.batches import SCHEMA_ID, encode_chunks
from catalog.configuration import configuration_of, configuration_rows, rows_of_part
from catalog.domain.events import ConfigurationRecorded
from catalog.domain.facts import ConfigurationPart
from catalog.domain.ids import configuration_stream
from catalog.domain.machine import RestorePoint
from ingest.streams import StreamWriter
from ingest.wiring import Services
from storage.chunks.rows import ChunkRows, concat_rows
from storage.chunks.store import ChunkStore
from storage.errors import Corrupt, HoldfastError, Invalid, Limit, NotFound

MAX_FILES = 64
MAX_FILE_BYTES = 16 << 20
MAX_NAME_CHARS = 255


@dataclass(frozen=True, slots=True)
class _Blocks:
    """The files as one disk: each begins a block of its own, and zeros follow it to the block's end."""

    files: Sequence[tuple[int, bytes]]
    size_bytes: int

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = bytes(len(buffer))
        end = offset + len(buffer)
        for start, content in self.files:
            low, high = max(start, offset), min(start + len(content), end)
            if low < high:
                buffer[low - offset : high - offset] = content[low - start : high - start]


def keep_configuration(
    services: Services, machine_id: UUID, run_id: UUID, files: Sequence[ConfigurationFile]
) -> ConfigurationRecorded | None:
    """Store the files for the point that `run_id` makes, and record them; no files are no event.

    Raises Limit for too many or too large ones, Invalid for names that are not one file's each.
    """
    if not files:
        return None
    _check(files)
    chunk_bytes = services.config.chunk_bytes
    parts, placed, blocks = [], [], 0
    for file in files:
        digest = blake3(file.content, key=services.store.digest_key).digest()
        parts.append(ConfigurationPart(name=file.name, size_bytes=len(file.content), digest=digest, first_block=blocks))
        placed.append((blocks * chunk_bytes, file.content))
        blocks += -(-len(file.content) // chunk_bytes)
    rows = _stored(services, run_id, _Blocks(placed, blocks * chunk_bytes), blocks)
    return _record(services, machine_id, run_id, tuple(parts), encode_chunks(rows))


def repeat_configuration(services: Services, of: RestorePoint, run_id: UUID) -> ConfigurationRecorded | None:
    """Record the configuration of a point for another that `run_id` makes of it, citing the same chunks."""
    found = configuration_of(services.log, of.run_id)
    return found and _record(services, of.machine_id, run_id, found.files, found.batch)


def _check(files: Sequence[ConfigurationFile]) -> None:
    large = next((file.name for file in files if len(file.content) > MAX_FILE_BYTES), None)
    if len(files) > MAX_FILES or large is not None:
        raise Limit(
            "the machine's configuration is too large to keep",
            code="configuration-size",
            why=f"{len(files)} files" if large is None else f"{large} is larger than {MAX_FILE_BYTES >> 20} MiB",
            hint=f"at most {MAX_FILES} files of {MAX_FILE_BYTES >> 20} MiB are kept",
        )
    names = [file.name for file in files]
    if len(set(names)) != len(names) or not all(0 < len(name) <= MAX_NAME_CHARS for name in names):
        raise Invalid("the source names its configuration's files wrongly", code="configuration-names")


def _stored(services: Services, run_id: UUID, disk: _Blocks, blocks: int) -> ChunkRows:
    rows = []
    with services.store.writer() as writer:
        for piece in writer.write(disk, [(0, blocks)] if blocks else []):
            services.packs.save(piece.packs, run_id)
            rows.append(piece.rows)
    return concat_rows(rows)


def _record(
    services: Services, machine_id: UUID, run_id: UUID, parts: tuple[ConfigurationPart, ...], batch: bytes
) -> ConfigurationRecorded:
    return StreamWriter(services.log, configuration_stream(run_id), services.clock).append(
        ConfigurationRecorded,
        machine_id=machine_id,
        run_id=run_id,
        chunk_bytes=services.config.chunk_bytes,
        files=parts,
        schema_id=SCHEMA_ID,
        batch=batch,
    )


def read_configuration(services: Services, point: RestorePoint) -> tuple[ConfigurationFile, ...]:
    """The files of a restore point, in the source's order; none when it has none. Raises NotFound, Corrupt."""
    event = configuration_of(services.log, point.run_id)
    if event is None:
        return ()
    rows = configuration_rows(event)
    return tuple(
        ConfigurationFile(part.name, _content(services.store, event, rows, number))
        for number, part in enumerate(event.files)
    )


def required_configuration(services: Services, point: RestorePoint) -> tuple[ConfigurationFile, ...]:
    """The same; NotFound when the point has none."""
    files = read_configuration(services, point)
    if not files:
        raise NotFound(
            f"restore point {point.restore_point_id} holds no configuration",
            code="configuration-missing",
            why=f"{point.source} told none when {point.machine} was backed up",
        )
    return files


def check_configuration(
    store: ChunkStore, event: ConfigurationRecorded, rows: ChunkRows, note: Callable[[str, HoldfastError], None]
) -> None:
    """Read all files back and tell `note(name, error)` of each that is not right."""
    for number, part in enumerate(event.files):
        try:
            _content(store, event, rows, number)
        except HoldfastError as error:
            note(part.name, error)


def _content(store: ChunkStore, event: ConfigurationRecorded, rows: ChunkRows, number: int) -> bytes:
    part = event.files[number]
    blocks = -(-part.size_bytes // event.chunk_bytes)
    found = bytearray(blocks * event.chunk_bytes)

    def write(block: int, data: memoryview) -> None:
        at = (block - part.first_block) * event.chunk_bytes
        found[at : at + len(data)] = data

    store.scatter(rows_of_part(event, rows, number), write)
    content = bytes(found[: part.size_bytes])
    if blake3(content, key=store.digest_key).digest() != part.digest:
        raise Corrupt(f"{part.name} is not the file that was stored", code="configuration-digest")
    return content
