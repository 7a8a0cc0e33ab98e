"""A machine's configuration: stored as chunks of its restore point, verified, shown, and written out safely."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

import pytest

from adapters.port import ConfigurationFile
from catalog.configuration import configuration_of, configuration_rows
from catalog.domain import events as ev
from catalog.domain.restoring import ConfigurationRestoreStarted
from ingest.configuration import MAX_FILE_BYTES, MAX_FILES
from storage.packs.format import pack_name
from tests.support.lab import CHUNK, MIB, Lab, flip
from tests.support.memory_source_simulator import Hypervisor

NVRAM = Random(1).randbytes(CHUNK + 100)
FILES = (
    ConfigurationFile("config.json", json.dumps({"numCPUs": 2}).encode()),
    ConfigurationFile("web.nvram", NVRAM + bytes(2 * CHUNK) + b"end"),
    ConfigurationFile("empty.vmsd", b""),
)


@pytest.fixture
def point(lab: Lab, hypervisor: Hypervisor) -> str:
    """A machine with a configuration, backed up once."""
    hypervisor.add("web", Random(2).randbytes(MIB), configuration=FILES)
    lab.ok("source", "add", "dc1", "--kind", "memory")
    return str(lab.backup_one(target="dc1")["restore_point"])


def _written(lab: Lab, point: str, *options: str) -> dict[str, bytes]:
    target = lab.root / f"out-{len(list(lab.root.glob('out-*')))}"
    rows = lab.json("restore", point, "--configuration", "--to", target, *options)
    assert all(Path(row["path"]).parent == target for row in rows)
    return {row["name"]: Path(row["path"]).read_bytes() for row in rows}


def test_a_configuration_comes_back_byte_for_byte(lab: Lab, point: str) -> None:
    """Small, large, half-zero and empty files are listed and come back as they were, for their owner only."""
    expected = {file.name: file.content for file in FILES}
    assert _written(lab, point) == expected
    shown = lab.json("show", point)["configuration"]
    assert shown == [{"file": file.name, "size_bytes": len(file.content)} for file in FILES]
    assert "web.nvram" in lab.ok("show", point).out
    assert {path.stat().st_mode & 0o777 for path in (lab.root / "out-0").iterdir()} == {0o600}
    (told,) = lab.of_type(ConfigurationRestoreStarted)
    assert told.files == tuple(expected)


def test_packs_and_events_are_enough(lab: Lab, point: str) -> None:
    """Without index, chunk index and source the configuration is given back all the same."""
    shutil.rmtree(lab.home.lake_dir)
    shutil.rmtree(lab.home.chunk_index_dir, ignore_errors=True)
    assert _written(lab, point, "--without-index") == {file.name: file.content for file in FILES}


def test_it_is_recorded_before_the_restore_point(lab: Lab, point: str) -> None:
    """Packs, then the configuration that cites them, then the restore point."""
    names = [type(event).__name__ for event in lab.recorded()]
    committed = names.index("RestorePointCommitted")
    assert names.index("DiskSealed") < names.index("ConfigurationRecorded") < committed
    (recorded,) = lab.of_type(ev.ConfigurationRecorded)
    (made,) = lab.of_type(ev.RestorePointCommitted)
    assert recorded.run_id == made.run_id
    assert lab.json("sql", "SELECT count(*) AS n FROM events WHERE topic = 'ConfigurationRecorded/1'")[0]["n"] == 1


def test_it_is_encrypted_and_stored_once(lab: Lab, point: str, hypervisor: Hypervisor) -> None:
    """No byte of it lies in the clear, and what did not change is not stored again."""
    packs = lab.packs()
    assert not any(NVRAM[:64] in path.read_bytes() for path in packs)
    assert not any(b"numCPUs" in path.read_bytes() for path in (*packs, lab.home.event_file))
    lab.backup_one(target="dc1")
    assert lab.packs() == packs
    assert len(lab.of_type(ev.ConfigurationRecorded)) == 2


def test_each_point_has_its_own(lab: Lab, point: str, hypervisor: Hypervisor) -> None:
    """A changed configuration is the later point's; a synthetic full has that of its origin; the first is as it was."""
    machine = hypervisor.machines["key-web"]
    machine.configuration = (ConfigurationFile("config.json", b'{"numCPUs": 4}'),)
    second = lab.backup_one(target="dc1")["restore_point"]
    synthetic = lab.json("synth", "web")["restore_point"]
    for name in (second, synthetic):
        assert _written(lab, name) == {"config.json": b'{"numCPUs": 4}'}
    lab.ok("forget", second, "--reason", "test", "--yes")
    assert lab.fails(5, "restore", second, "--configuration", "--to", lab.root / "x")["code"] == "restore-point-deleted"
    assert _written(lab, synthetic) == {"config.json": b'{"numCPUs": 4}'}
    assert _written(lab, point) == {file.name: file.content for file in FILES}


def test_a_deleted_point_keeps_its_rows(lab: Lab, point: str) -> None:
    """A tombstone withdraws the point; what it was made of can still be read by those who look into the log."""
    run_id = lab.of_type(ev.RestorePointCommitted)[0].run_id
    lab.ok("forget", point, "--reason", "test", "--yes")
    with lab.services() as services:
        kept = configuration_of(services.log, run_id)
    assert kept is not None
    assert [part.name for part in kept.files] == [file.name for file in FILES]


@pytest.mark.parametrize("level", ["stored", "content"])
def test_damage_to_it_is_found_and_never_given_back(lab: Lab, point: str, level: str) -> None:
    """`verify` names it at either level, a restore of it fails without a file, and the disks are still given back."""
    with lab.services() as services:
        kept = configuration_of(services.log, lab.of_type(ev.RestorePointCommitted)[0].run_id)
    assert kept is not None
    rows = configuration_rows(kept)
    pack = lab.home.store_dir / pack_name(rows.packs[0])
    flip(pack, int(rows.offsets[0]) + int(rows.stored[0]) // 2)
    answer = lab.run("verify", point, "--level", level, "--json")
    assert answer.code == 4
    (row,) = answer.json()["restore_points"]
    assert any("configuration" in problem or pack.name in problem for problem in row["problems"])
    assert lab.fails(4, "restore", point, "--configuration", "--to", lab.root / "out")["kind"] == "corrupt"
    assert not (lab.root / "out").exists()


def test_verify_counts_it(lab: Lab, point: str) -> None:
    """Reading a point back reads its configuration too: the chunks of three files with four blocks of data."""
    (row,) = lab.json("verify", point)["restore_points"]
    assert row["chunks"] == MIB // CHUNK + 4


def test_names_cannot_lead_out_of_the_directory(lab: Lab, hypervisor: Hypervisor) -> None:
    """Names with slashes, dots, control characters, of one spelling or very long become files in the directory."""
    names = ["../../evil", "/etc/passwd", "..", ".", "a\x00b\n", "A.vmx", "a.vmx", "é" * 255, "ok.nvram"]
    files = tuple(ConfigurationFile(name, str(number).encode()) for number, name in enumerate(names))
    hypervisor.add("web", b"1" * CHUNK, configuration=files)
    lab.ok("source", "add", "dc1", "--kind", "memory")
    point = lab.backup_one(target="dc1")["restore_point"]
    before = {path for path in lab.root.rglob("*") if lab.home.root not in path.parents}
    written = _written(lab, point)
    assert written == {file.name: file.content for file in files}
    made = {path for path in lab.root.rglob("*") if lab.home.root not in path.parents} - before
    assert {path.parent for path in made} == {lab.root, lab.root / "out-0"}
    assert len(made) == len(names) + 1


def test_nothing_that_is_there_is_overwritten(lab: Lab, point: str) -> None:
    """A file of one of the names, or a link, is a conflict before anything is written; `--force` replaces it."""
    target = lab.root / "out"
    target.mkdir()
    (target / "web.nvram").symlink_to(lab.root / "elsewhere")
    problem = lab.fails(8, "restore", point, "--configuration", "--to", target)
    assert problem["code"] == "target-exists"
    assert [path.name for path in target.iterdir()] == ["web.nvram"]
    lab.ok("restore", point, "--configuration", "--to", target, "--force")
    assert (target / "web.nvram").read_bytes() == FILES[1].content
    assert not (target / "web.nvram").is_symlink()
    assert not (lab.root / "elsewhere").exists()


def test_a_point_without_one_says_so(lab: Lab) -> None:
    """Sources that tell nothing have points without a configuration, which is no event and its own error."""
    (lab.images / "vm.raw").write_bytes(b"1" * CHUNK)
    lab.add_images()
    point = lab.backup_one()["restore_point"]
    assert lab.of_type(ev.ConfigurationRecorded) == []
    assert lab.json("show", point)["configuration"] == []
    problem = lab.fails(5, "restore", point, "--configuration", "--to", lab.root / "out")
    assert problem["code"] == "configuration-missing"


@pytest.mark.parametrize(
    ("files", "exit_code", "code"),
    [
        ([ConfigurationFile(f"{number}", b"1") for number in range(MAX_FILES + 1)], 9, "configuration-size"),
        ([ConfigurationFile("big", bytes(MAX_FILE_BYTES + 1))], 9, "configuration-size"),
        ([ConfigurationFile("a", b"1"), ConfigurationFile("a", b"2")], 2, "configuration-names"),
        ([ConfigurationFile("", b"1")], 2, "configuration-names"),
    ],
    ids=["many", "large", "twice", "nameless"],
)
def test_what_cannot_be_kept_fails_the_backup(
    lab: Lab, hypervisor: Hypervisor, files: list[ConfigurationFile], exit_code: int, code: str
) -> None:
    """Nothing is left out in silence: there is no restore point, and the next run with less makes one."""
    machine = hypervisor.add("web", b"1" * CHUNK, configuration=tuple(files))
    lab.ok("source", "add", "dc1", "--kind", "memory")
    assert lab.fails(exit_code, "backup", "dc1")["code"] == code
    assert lab.of_type(ev.RestorePointCommitted) == []
    assert machine.snapshots == []
    machine.configuration = (ConfigurationFile("a", bytes(MAX_FILE_BYTES)),)
    point = lab.backup_one(target="dc1")["restore_point"]
    assert _written(lab, point) == {"a": bytes(MAX_FILE_BYTES)}
