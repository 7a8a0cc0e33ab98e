"""SIGINT and SIGTERM during a backup: it ends soon, keeps what it stored, and the next run goes on from there."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from random import Random

import pytest

from catalog.domain import events as ev
from tests.support.eventually import eventually
from tests.support.lab import CHUNK, MIB, Lab, make_image

SIZE = 96 * MIB


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_backup_is_not_lost_work(lab: Lab, number: signal.Signals) -> None:
    """Exit 130, no restore point, the packs kept; the next run stores little anew and its point is exact."""
    image = lab.images / "vm.raw"
    make_image(image, SIZE, [(at, Random(at).randbytes(16 * MIB)) for at in range(0, SIZE, 16 * MIB)])
    lab.add_images()
    process = lab.start("backup", "lab", "--json")
    eventually(lambda: len(list(_packs(lab))) >= 3, "a few packs are stored")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out) == []
    assert b"Traceback" not in err
    assert lab.json("points") == []
    assert [event.outcome for event in lab.of_type(ev.RunClosed)] == ["interrupted"]
    assert [event.cause for event in lab.of_type(ev.BackupInterrupted)] == ["signal"]
    kept = len(list(_packs(lab)))
    record = lab.backup_one()
    (disk,) = record["disks"]
    assert disk["new_chunks"] <= SIZE // CHUNK - (kept - 1) * (MIB // CHUNK - 1)
    assert lab.restored(record["restore_point"]) == image.read_bytes()
    assert {path.name for path in _packs(lab)} == {path.name for path in lab.packs()}
    assert [path for path in lab.home.store_dir.rglob("*.partial") if path.is_file()] == []


def _packs(lab: Lab) -> list[Path]:
    return [path for path in (lab.home.store_dir / "packs").glob("*/*") if path.is_file()]
