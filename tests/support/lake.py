"""A small lake for tests: two tables, their rows, and a way to fill them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from storage.lake import Column, Lake, TableSpec

BLOCKS = TableSpec(
    name="blocks",
    comment="Blocks of disks",
    partition="part",
    sort=("disk", "seq", "block"),
    columns=(
        Column("part", "int32", encoding="dictionary", comment="Partition"),
        Column("disk", "varchar", encoding="dictionary", comment="The disk"),
        Column("seq", "int64", encoding="delta"),
        Column("block", "int64", encoding="delta", comment="Number of the block"),
        Column("digest", "blob", encoding="plain", fixed_bytes=32),
        Column("stored", "uint32", encoding="delta"),
    ),
)
NOTES = TableSpec(
    name="notes",
    comment="Remarks of all kinds",
    sort=("id",),
    columns=(
        Column("id", "uint64"),
        Column("seq", "int32"),
        Column("disk", "varchar", nullable=True, encoding="delta"),
        Column("seen_at", "timestamptz", nullable=True, encoding="delta"),
        Column("good", "boolean", nullable=True),
        Column("raw", "blob", nullable=True),
    ),
)
SPECS = (NOTES, BLOCKS)
START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that moves a second each time it is read, or as told."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def blocks(part: int, disk: str, seq: int, numbers: Iterable[int]) -> pa.Table:
    """Rows of BLOCKS whose digest follows from the rest."""
    rows = [
        {
            "part": part,
            "disk": disk,
            "seq": seq,
            "block": number,
            "digest": hashlib.sha256(f"{disk} {seq} {number}".encode()).digest(),
            "stored": (number * 7) % 1000,
        }
        for number in numbers
    ]
    return pa.Table.from_pylist(rows, schema=BLOCKS.arrow_schema)


def notes(seq: int, ids: Sequence[int]) -> pa.Table:
    """Rows of NOTES; every third has nulls, ids use all 64 bits."""
    rows = [
        {
            "id": 2**64 - 1 - number if number % 2 else number,
            "seq": seq,
            "disk": None if number % 3 == 0 else f"dïsk {number:03d}",
            "seen_at": None if number % 3 == 0 else START + timedelta(days=seq, microseconds=number),
            "good": None if number % 3 == 0 else number % 2 == 0,
            "raw": None if number % 3 == 0 else bytes([number % 256, 0, 255]),
        }
        for number in ids
    ]
    return pa.Table.from_pylist(rows, schema=NOTES.arrow_schema)


def add(lake: Lake, position: int, *tables: tuple[str, int | None, pa.Table]) -> int:
    """Write a file for each (table, part, rows) and commit them from the lake's position to `position`."""
    files = []
    for table, part, rows in tables:
        with lake.writer(table, part, positions=(position, position)) as writer:
            writer.write(rows)
            files.append(writer.close())
    return lake.commit(files, expected=lake.position(), position=position, message=f"to {position}")


def fill(lake: Lake, commits: int = 10) -> None:
    """Commit `commits` times two parts of blocks and some notes; snapshot n + 1 is position n."""
    for position in range(lake.position() + 1, lake.position() + commits + 1):
        add(
            lake,
            position,
            ("blocks", 3, blocks(3, "disk-a", position, range(0, 40, 2))),
            ("blocks", 5, blocks(5, "disk-b", position, range(position, position + 5))),
            ("notes", None, notes(position, range(position * 10, position * 10 + 6))),
        )


def all_rows(lake: Lake, table: str, **options: object) -> list[dict[str, object]]:
    """Every row that the lake's own reader returns."""
    return [row for batch in lake.read(table, **options) for row in batch.to_pylist()]  # type: ignore[arg-type]  # options of read


def data_files(root: Path) -> list[Path]:
    """The Parquet files under a lake's root."""
    return sorted((root / "data").rglob("*.parquet"))
