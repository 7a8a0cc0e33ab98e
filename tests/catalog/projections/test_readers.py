"""The index is a DuckLake: the reference implementation reads all its tables."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from catalog.domain.events import RestorePointDeleted
from catalog.log import EventLog
from catalog.projections import TABLES, Projector
from storage.lake import Lake
from tests.support import lake_readers
from tests.support.recorded import Author, Change, rows_at

COUNT = "SELECT count(*) FROM {}"
COUNT_AT = "SELECT count(*) FROM {} AT (VERSION => {})"
FIND = "SELECT disk_id, seq, block FROM chunk_refs WHERE digest = from_hex('{}')"


@pytest.mark.skipif(lake_readers.missing() is not None, reason=lake_readers.missing() or "")
def test_the_official_extension_reads_every_table(tmp_path: Path) -> None:
    """Row counts of all tables are ours, at the newest snapshot and before, and a digest is found in merged files."""
    with EventLog.create(tmp_path / "events.sqlite") as log, closing(Lake.create(tmp_path / "i", TABLES)) as lake:
        author = Author(log)
        machine = author.machine("web")
        counts = []
        for number in range(1, 5):
            point = author.backup(machine, {"vda": Change(rows_at(range(number * 20_000), number), blocks=100_000)})
            Projector(log, lake).catch_up()
            counts.append([[sum(file.rows for file in lake.plan(table.name))] for table in TABLES])
        author.save(machine, RestorePointDeleted, restore_point_id=point, actor="alice", rule="manual", reason="x")
        Projector(log, lake).catch_up()
        assert len(lake.plan("chunk_refs")) == 1
        first = next(iter(lake.read("chunks", where={"seq": (3, 3)}))).to_pylist()[17]
        digest = first["digest"].hex()
        early = lake.snapshots()[1].id
        asked = [
            *(COUNT.format(table.name) for table in TABLES),
            *(COUNT_AT.format(table.name, early) for table in TABLES),
            FIND.format(digest),
            "SELECT actor FROM deletions",
        ]
        answers = lake_readers.ask(lake.catalog.path, asked)
        now = [sum(file.rows for file in lake.plan(table.name)) for table in TABLES]
        assert [answer[0][0] for answer in answers[: len(TABLES)]] == now
        assert [answer[0] for answer in answers[len(TABLES) : 2 * len(TABLES)]] == counts[0]
        assert answers[-2] == [[first["disk_id"], first["seq"], first["block"]]]
        assert answers[-1] == [["alice"]]
