"""The same look-ups in PostgreSQL: rows loaded by binary COPY, B-trees built, statements prepared."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import psycopg
import pyarrow as pa

from catalog.access.caller import EVERYTHING
from catalog.home import Home
from catalog.queries.reads import Asked, CatalogReads
from catalog.runtime import Catalog
from tests.bench.figures import Figure, figure

LOOK_UPS = 400
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
ROW = np.dtype(
    [
        ("fields", ">i2"),
        *(("digest_bytes", ">i4"), ("digest", "V32")),
        *(("disk_bytes", ">i4"), ("disk", ">i4")),
        *(("seq_bytes", ">i4"), ("seq", ">i4")),
        *(("block_bytes", ">i4"), ("block", ">i8")),
    ]
)


def compare(home: Home, connection: str, machines: int) -> Iterator[Figure]:
    """Load, look up by digest and list points on both sides; yield milliseconds and their ratio."""
    with Catalog.opened(home) as catalog, psycopg.connect(connection, autocommit=True) as peer:
        chosen = catalog.machines()[:machines]
        sample = _load_chunks(catalog, peer, [str(machine.disks[0].disk_id) for machine in chosen])
        _load_points(catalog, peer)
        with closing(CatalogReads(catalog.lake, catalog.index_resolver())) as reads:
            rng = random.Random(9)
            digests = [rng.choice(sample) for _ in range(LOOK_UPS)]
            asked = Asked(scope=EVERYTHING)
            by_digest = "SELECT disk, seq, block FROM chunks WHERE digest = %s ORDER BY disk, seq, block LIMIT 100"
            yield from _sides(
                "chunk references of a digest, in process",
                [lambda value=value: reads.references(asked, value) for value in digests],
                [lambda value=value: peer.execute(by_digest, (value,), prepare=True).fetchall() for value in digests],
            )
            ids = [rng.choice(chosen).machine_id for _ in range(LOOK_UPS)]
            by_machine = "SELECT * FROM points WHERE machine_id = %s ORDER BY position DESC LIMIT 100"
            yield from _sides(
                "newest 100 restore points of a machine, in process",
                [lambda value=value: reads.restore_points(asked, machine_id=value) for value in ids],
                [lambda value=value: peer.execute(by_machine, (value,), prepare=True).fetchall() for value in ids],
            )


def _sides(name: str, ours: list[Callable[[], object]], theirs: list[Callable[[], object]]) -> Iterator[Figure]:
    taken = {}
    for side, questions in (("Holdfast", ours), ("PostgreSQL", theirs)):
        for question in questions[:50]:
            question()
        taken[side] = [_timed(question) * 1000 for question in questions]
        for share in (50, 95):
            yield figure(f"{name}, {side}, p{share}", float(np.percentile(taken[side], share)), "ms")
    ratio = float(np.percentile(taken["Holdfast"], 50) / np.percentile(taken["PostgreSQL"], 50))
    yield figure(f"{name}, Holdfast over PostgreSQL, p50", ratio, "x")


def _timed(question: Callable[[], object]) -> float:
    began = time.perf_counter()
    question()
    return time.perf_counter() - began


def _load_chunks(catalog: Catalog, peer: psycopg.Connection, disks: list[str]) -> list[bytes]:
    peer.execute("CREATE UNLOGGED TABLE chunks (digest bytea, disk integer, seq integer, block bigint)")
    sample: list[bytes] = []
    with peer.cursor() as cursor, cursor.copy("COPY chunks FROM STDIN (FORMAT binary)") as copy:
        copy.write(HEADER)
        for number, disk in enumerate(disks):
            for batch in catalog.lake.read("chunks", ["digest", "seq", "block"], where={"disk_id": (disk, disk)}):
                copy.write(_rows(batch, number))
                sample += batch.column(0).take(pa.array(range(0, batch.num_rows, 5_000))).to_pylist()
        copy.write(struct.pack(">h", -1))
    peer.execute("CREATE INDEX ON chunks (digest)")
    peer.execute("VACUUM ANALYZE chunks")
    return sample


def _rows(batch: pa.RecordBatch, disk: int) -> bytes:
    digests = batch.column(0)
    flat = np.frombuffer(digests.buffers()[1], np.uint8)[digests.offset * 32 : (digests.offset + len(digests)) * 32]
    rows = np.zeros(batch.num_rows, ROW)
    rows["fields"] = 4
    rows["digest_bytes"], rows["digest"] = 32, flat.view("V32")
    rows["disk_bytes"], rows["disk"] = 4, disk
    rows["seq_bytes"], rows["seq"] = 4, batch.column(1).to_numpy()
    rows["block_bytes"], rows["block"] = 8, batch.column(2).to_numpy()
    return rows.tobytes()


def _load_points(catalog: Catalog, peer: psycopg.Connection) -> None:
    peer.execute(
        "CREATE UNLOGGED TABLE points (restore_point_id uuid PRIMARY KEY, machine_id uuid, machine text, source text,"
        " run_id uuid, origin text, result text, consistency text, disks bigint, size_bytes bigint,"
        " changed_bytes bigint, stored_bytes bigint, recorded_at timestamptz, position bigint)"
    )
    names = [
        *("restore_point_id", "machine_id", "machine", "source", "run_id", "origin", "result", "consistency"),
        *("disks", "size_bytes", "changed_bytes", "stored_bytes", "recorded_at", "position"),
    ]
    with peer.cursor() as cursor, cursor.copy("COPY points FROM STDIN") as copy:
        for batch in catalog.lake.read("restore_points", names):
            for row in batch.to_pylist():
                copy.write_row([row[name] for name in names])
    peer.execute("CREATE INDEX ON points (machine_id, position)")
    peer.execute("VACUUM ANALYZE points")
