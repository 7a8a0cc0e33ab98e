"""A backup killed at any file operation: what was yielded reads back, and the next backup is whole."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from storage.chunks import pending
from storage.chunks.pending import Written
from storage.objects.local import LocalObjects
from storage.packs.format import pack_name
from tests.support.chunk_store import CHUNK, BytesDisk, apply, back_up, make_store, noise, restored
from tests.support.faults import PowerCut, PowerLost

BLOCKS = 40
CONTENT = b"".join(noise(CHUNK, block) for block in range(BLOCKS))


def test_a_power_cut_at_any_operation_loses_nothing_yielded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the power goes, every row yielded before it reads back, every pack in the store is whole, leftovers
    are cleaned, and a new backup of the same disk over the same store and index reproduces it."""
    monkeypatch.setattr(pending, "BATCH_ROWS", 1)
    monkeypatch.setattr("storage.chunks.writer.UNIT_BYTES", 4 * CHUNK)
    for at in range(1, 400):
        home = tmp_path / str(at)
        objects = LocalObjects(home / "store")
        store = make_store(objects, home / "index")
        got: list[Written] = []
        with PowerCut(at) as machine:
            with suppress(PowerLost), store.writer() as writer:
                for written in writer.write(BytesDisk(CONTENT), [(0, BLOCKS)]):
                    got.append(written)
            finished = machine.operations < at
        check_after_crash(home, got)
        if finished:
            break
    assert finished
    assert at > 20


def check_after_crash(home: Path, got: list[Written]) -> None:
    """Open everything anew and look."""
    objects = LocalObjects(home / "store")
    store = make_store(objects, home / "index")
    assert store.index_problems == ()
    for written in got:
        image = bytearray(CONTENT)
        for block in written.rows.blocks.tolist():
            image[block * CHUNK : (block + 1) * CHUNK] = bytes(CHUNK)
        apply(image, store, written.rows, [written.zeros])
        assert image == CONTENT
    packs = list(store.packs())
    assert all(store.verify_pack(pack, level="content").problems == () for pack in packs)
    assert {pack_name(pack.pack_id) for each in got for pack in each.packs} <= {pack_name(pack) for pack in packs}
    objects.clean_partial(timedelta(0))
    assert list((home / "store" / ".partial").iterdir()) == []
    store.sync_index(packs)
    assert restored(store, back_up(store, CONTENT), len(CONTENT)) == CONTENT
