"""The configuration that a machine had at a restore point: which files, and the chunks that hold them.

Imports `catalog.domain`, `catalog.log`, `catalog.batches` and `storage` of ours. Read from the log alone, so that it
is there without the index; why it is an event of its own: `adr-0001-configuration.md`.
"""

from __future__ import annotations

from uuid import UUID

import numpy as np

from catalog.batches import SCHEMA_ID, decode_chunks
from catalog.domain.events import ConfigurationRecorded
from catalog.domain.ids import configuration_stream
from catalog.log import EventLog
from storage.chunks.rows import ChunkRows
from storage.errors import Corrupt, Invalid


def configuration_of(log: EventLog, run_id: UUID) -> ConfigurationRecorded | None:
    """What the run of a restore point recorded; None when the source told nothing."""
    for event in log.stream(configuration_stream(run_id)):
        if isinstance(event, ConfigurationRecorded) and event.run_id == run_id:
            return event
    return None


def configuration_rows(event: ConfigurationRecorded) -> ChunkRows:
    """The chunks of all files. Raises Corrupt when they do not lie within the files."""
    if event.schema_id != SCHEMA_ID:
        raise Invalid(
            f"a configuration has rows of schema {event.schema_id}", code="event-newer", hint="use a newer version"
        )
    rows = decode_chunks(event.batch)
    blocks = 0
    for part in event.files:
        if part.first_block != blocks:
            raise _impossible(part.name)
        blocks += -(-part.size_bytes // event.chunk_bytes)
    if len(rows) and int(rows.blocks[-1]) >= blocks:
        raise _impossible(event.files[-1].name if event.files else "no file")
    return rows


def rows_of_part(event: ConfigurationRecorded, rows: ChunkRows, number: int) -> ChunkRows:
    """Those of the rows that hold file `number`."""
    part = event.files[number]
    first, last = part.first_block, part.first_block - (-part.size_bytes // event.chunk_bytes)
    low, high = (int(at) for at in np.searchsorted(rows.blocks, [first, last]))
    return ChunkRows(
        blocks=rows.blocks[low:high],
        digests=rows.digests[low:high],
        packs=rows.packs,
        pack_index=rows.pack_index[low:high],
        offsets=rows.offsets[low:high],
        stored=rows.stored[low:high],
    )


def _impossible(name: str) -> Corrupt:
    return Corrupt(f"the rows of {name} do not lie within it", code="configuration-rows")
