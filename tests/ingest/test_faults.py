"""Damage to what is stored: always found, never given back as data, and the next backup heals what it can."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from catalog.domain import events as ev
from storage.keys import KeyRing
from tests.support.lab import CHUNK, MIB, Lab, flip, make_image, pieces, write_at
from tests.support.small_disk import resize, small_disk

SIZE = 4 * MIB

Fault = Callable[[Path], None]
PACK_FAULTS: dict[str, Fault] = {
    "cut": lambda pack: os.truncate(pack, pack.stat().st_size // 2),
    "empty": lambda pack: os.truncate(pack, 0),
    "bit in a record": lambda pack: flip(pack, pack.stat().st_size // 2),
    "bit in the footer": lambda pack: flip(pack, -300),
    "bit in the header": lambda pack: flip(pack, 20),
    "bit in the trailer": lambda pack: flip(pack, -20),
    "missing": Path.unlink,
}


@pytest.fixture
def image(lab: Lab) -> Path:
    """An image of two packs of random data, backed up once."""
    path = lab.images / "vm.raw"
    make_image(path, SIZE, list(pieces(Random(31), [(0, 2 * MIB)])))
    lab.add_images()
    lab.backup()
    return path


@pytest.mark.parametrize("level", ["stored", "content"])
@pytest.mark.parametrize("fault", PACK_FAULTS)
def test_a_damaged_pack_is_found_by_name(lab: Lab, image: Path, fault: str, level: str) -> None:
    """`verify` exits 4 and names the pack, at either level; the event and the list of points say damaged."""
    pack = lab.packs()[0]
    PACK_FAULTS[fault](pack)
    answer = lab.run("verify", "--level", level, "--json")
    assert answer.code == 4
    (row,) = answer.json()["restore_points"]
    assert row["result"] == "damaged"
    assert any(pack.name in problem for problem in row["problems"]), row
    assert lab.of_type(ev.RestorePointVerified)[-1].result == "damaged"
    assert lab.json("points")[0]["verified_result"] == "damaged"


@pytest.mark.parametrize("fault", ["bit in the footer", "bit in the trailer"])
def test_damage_beside_the_data_costs_nothing(lab: Lab, image: Path, fault: str) -> None:
    """What only lists a pack's chunks is not needed to give them back: the restore is exact."""
    PACK_FAULTS[fault](lab.packs()[0])
    assert lab.restored("latest") == image.read_bytes()


@pytest.mark.parametrize("fault", ["cut", "empty", "bit in a record", "bit in the header", "missing"])
def test_damaged_bytes_are_never_given_back(lab: Lab, image: Path, fault: str) -> None:
    """A restore that meets damage fails and leaves no file; `--salvage` gives the rest, and says what is missing."""
    PACK_FAULTS[fault](lab.packs()[0])
    target = lab.root / "out.raw"
    problem = lab.fails(5 if fault == "missing" else 4, "restore", "latest", "--to", target)
    assert lab.packs()[0].name in problem["title"]
    assert not target.exists()
    answer = lab.run("restore", "latest", "--to", target, "--salvage", "--json")
    assert answer.code == 3
    damaged = answer.json()[0]["damaged"]
    _assert_salvaged(image.read_bytes(), target.read_bytes(), damaged)
    beside = json.loads(target.with_name("out.raw.damaged.json").read_text())
    assert [[part["offset"], part["length"]] for part in beside] == damaged
    if fault == "bit in a record":
        assert [length for _, length in damaged] == [CHUNK]
    assert sum(length for _, length in damaged) < 2 * MIB


def _assert_salvaged(expected: bytes, found: bytes, damaged: list[list[int]]) -> None:
    wanted = bytearray(expected)
    assert damaged
    for offset, length in damaged:
        wanted[offset : offset + length] = bytes(length)
    assert found == bytes(wanted)


def test_other_formats_do_not_hide_damage(lab: Lab, image: Path) -> None:
    """qemu-img only sees a failed read: the command still names the pack, and leaves no image."""
    if shutil.which("qemu-img") is None:
        pytest.skip("needs qemu-img")
    flip(lab.packs()[0], lab.packs()[0].stat().st_size // 2)
    target = lab.root / "out.qcow2"
    problem = lab.fails(4, "restore", "latest", "--to", target, "--format", "qcow2")
    assert lab.packs()[0].name in problem["title"]
    assert not target.exists()


@pytest.mark.parametrize("fault", PACK_FAULTS)
def test_damage_is_stored_again(lab: Lab, image: Path, fault: str) -> None:
    """Once damage is known, the next full stores those chunks anew, and restores exactly; later verifies agree."""
    PACK_FAULTS[fault](lab.packs()[0])
    assert lab.run("verify").code == 4
    record = lab.backup_one("--full")
    assert record["disks"][0]["new_chunks"] > 0
    assert lab.restored(record["restore_point"]) == image.read_bytes()
    lab.ok("verify", record["restore_point"])
    again = lab.backup_one("--full")
    assert again["disks"][0]["new_chunks"] == 0
    assert lab.run("rebuild", "index").code in (0, 3)
    assert lab.restored(lab.backup_one("--full")["restore_point"]) == image.read_bytes()


def test_damage_is_recorded_once(lab: Lab, image: Path) -> None:
    """However often it is met, that a pack is damaged is one event."""
    flip(lab.packs()[0], lab.packs()[0].stat().st_size // 2)
    for level in ("stored", "content", "content"):
        assert lab.run("verify", "--level", level).code == 4
    assert len(lab.of_type(ev.PackDamaged)) == 1


def test_a_store_that_is_away_damages_nothing(lab: Lab, image: Path) -> None:
    """While the store's disk is not there everything fails, but no pack is written off, and all is well afterwards."""
    away = lab.root / "away"
    lab.home.store_dir.rename(away)
    lab.home.store_dir.mkdir()
    assert lab.run("verify").code == 4
    shutil.rmtree(lab.home.store_dir)
    away.rename(lab.home.store_dir)
    assert lab.of_type(ev.PackDamaged) == []
    lab.ok("verify")
    assert lab.backup_one("--full")["disks"][0]["new_chunks"] == 0


def test_an_altered_event_is_found(lab: Lab, image: Path) -> None:
    """A byte changed in any row of the log, by SQL, is named by its position and exits 4."""
    rows = len(lab.recorded())
    for position in range(1, rows + 1, 3):
        with sqlite3.connect(lab.home.event_file) as database:
            (table,) = database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%originator_id%'"
            ).fetchone()
            read = f"SELECT state FROM {table} WHERE rowid = ?"  # noqa: S608 - the name is the database's own
            write = f"UPDATE {table} SET state = ? WHERE rowid = ?"  # noqa: S608 - likewise
            (state,) = database.execute(read, [position]).fetchone()
            database.execute(write, [bytes([*state[:-1], state[-1] ^ 1]), position])
        database.close()
        answer = lab.run("verify")
        assert answer.code == 4, position
        assert str(position) in answer.err
        with sqlite3.connect(lab.home.event_file) as database:
            database.execute(write, [state, position])
        database.close()
    lab.ok("verify")


@pytest.mark.parametrize("fault", ["flip", "cut", "gone"])
def test_a_damaged_table_is_found(lab: Lab, image: Path, fault: str) -> None:
    """`verify` and `doctor` name a Parquet file that is not as it was written; a rebuild puts it right."""
    file = lab.tables("chunks")[0]
    if fault == "flip":
        flip(file, file.stat().st_size // 2)
    elif fault == "cut":
        os.truncate(file, file.stat().st_size - 1)
    else:
        file.unlink()
    answer = lab.run("verify", "--json")
    assert answer.code == 4
    assert any(file.name in problem for problem in answer.json()["catalog_problems"])
    checks = {check["check"]: check for check in lab.run("doctor", "--json").json()}
    assert checks["index"]["status"] == "fail"
    assert file.name in checks["index"]["detail"]
    lab.ok("rebuild", "index")
    lab.ok("verify")


@pytest.mark.parametrize("command", [["backup", "lab"], ["restore", "latest", "--to", "out"], ["verify"]])
@pytest.mark.parametrize("fault", ["wrong", "missing", "open to others", "not a key"])
def test_without_the_right_key_nothing_runs(lab: Lab, image: Path, command: list[str], fault: str) -> None:
    """A wrong, missing, readable or broken key is exit 6, with a code of its own, before anything is done."""
    key = lab.home.key_file
    if fault == "open to others":
        key.chmod(0o644)
    elif fault == "not a key":
        key.write_bytes(b"{}")
    else:
        key.unlink()
    if fault == "wrong":
        KeyRing.create(key)
    before = lab.recorded()
    codes = {
        "wrong": "key-mismatch",
        "missing": "key-missing",
        "open to others": "key-permissions",
        "not a key": "key-format",
    }
    assert lab.fails(6, *command)["code"] == codes[fault]
    assert lab.recorded() == before


def test_a_full_store_loses_nothing(lab: Lab) -> None:
    """Without room for packs a backup exits 9 and makes no restore point; with room again it completes exactly."""
    image = lab.images / "vm.raw"
    make_image(image, 8 * MIB, list(pieces(Random(32), [(0, MIB)])))
    lab.add_images()
    store = lab.home.store_dir
    with small_disk(store, 4 * MIB):
        first, before = lab.backup_one(), image.read_bytes()
        write_at(image, MIB, Random(33).randbytes(6 * MIB))
        problem = lab.fails(9, "backup", "lab")
        assert problem["code"] == "store-full"
        assert problem["hint"]
        assert len(lab.json("points")) == 1
        assert lab.restored(first["restore_point"]) == before
        lab.ok("verify")
        resize(store, 32 * MIB)
        second = lab.backup_one()
        assert second["disks"][0]["new_chunks"] < 6 * MIB // CHUNK
        assert lab.restored(second["restore_point"]) == image.read_bytes()
        lab.ok("verify")
    assert [event.outcome for event in lab.of_type(ev.RunClosed)] == ["completed", "failed", "completed"]


def test_a_full_home_loses_nothing(tmp_path: Path) -> None:
    """Without room for events or index a backup fails with a reason, and what was acknowledged stays."""
    place = tmp_path / "small"
    with small_disk(place, 12 * MIB):
        lab = Lab(place)
        image = tmp_path / "vm.raw"
        make_image(image, 8 * MIB, list(pieces(Random(34), [(0, MIB)])))
        (lab.images / "vm.raw").symlink_to(image)
        lab.add_images()
        first, before = lab.backup_one(), image.read_bytes()
        free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
        (place / "ballast").write_bytes(bytes(free - 64 * 1024))
        write_at(image, MIB, Random(35).randbytes(2 * MIB))
        answer = lab.run("backup", "lab", "--json")
        assert (answer.code, answer.json()) == (9, [])
        (place / "ballast").unlink()
        assert [row["restore_point"] for row in lab.json("points")] == [first["restore_point"]]
        second = lab.backup_one()
        for record, content in ((first, before), (second, image.read_bytes())):
            target = tmp_path / record["restore_point"]
            lab.ok("restore", record["restore_point"], "--to", target)
            assert target.read_bytes() == content
        lab.ok("verify")


def test_a_newer_home_is_left_alone(lab: Lab, image: Path) -> None:
    """A home of a format to come is exit 2 for every command, and no file of it changes."""
    config = json.loads(lab.home.config_file.read_text())
    lab.home.config_file.write_text(json.dumps({**config, "format": 2}))
    before = _state(lab.home.root)
    commands = (["backup", "lab"], ["machines"], ["verify"], ["doctor"], ["rebuild", "index"], ["source", "list"])
    for command in commands:
        assert lab.fails(2, *command)["code"] == "home-newer"
    assert _state(lab.home.root) == before


def _state(root: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in root.rglob("*")}


def test_old_partial_packs_are_removed(lab: Lab, image: Path) -> None:
    """What a dead process left half written goes with the next backup once it is a day old, and not before."""
    place = lab.home.store_dir / ".partial"
    old, fresh = place / ".old.partial", place / ".fresh.partial"
    for path in (old, fresh):
        path.write_bytes(b"half a pack")
    os.utime(old, (1, 1))
    lab.backup()
    assert (old.exists(), fresh.exists()) == (False, True)
