"""Giving disks back: exact bytes, in every format, with the index or without, or no file at all."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest

from catalog.domain import events as ev
from ingest.restore import safe_name, target_paths
from tests.support.lab import CHUNK, MIB, Lab, allocated_bytes, flip, make_image, pieces, write_at
from tests.support.small_disk import small_disk

SIZE = 6 * MIB
needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")


@pytest.fixture
def image(lab: Lab) -> Path:
    """An image with a full and an incremental in the repository; it holds what the newest point holds."""
    random, path = Random(11), lab.images / "vm.raw"
    make_image(path, SIZE, list(pieces(random, [(0, MIB), (4 * MIB + 99, 300_000)])))
    lab.add_images()
    lab.backup()
    write_at(path, 2 * MIB + 1, random.randbytes(CHUNK))
    lab.backup()
    return path


@needs_qemu_img
@pytest.mark.parametrize("image_format", ["qcow2", "vmdk", "vhdx"])
def test_other_formats_hold_the_same_disk(lab: Lab, image: Path, image_format: str) -> None:
    """qcow2, VMDK and VHDX images compare equal to the source, and take no room for what is not there."""
    target = lab.restore("latest", "--format", image_format)
    command = ["qemu-img", "compare", "-f", "raw", "-F", image_format, str(image), str(target)]
    compared = subprocess.run(command, capture_output=True, text=True, check=False)
    assert compared.returncode == 0, compared.stdout
    checked = subprocess.run(["qemu-img", "info", "--output=json", str(target)], capture_output=True, check=True)
    assert json.loads(checked.stdout)["format"] == image_format
    if image_format != "vhdx":  # which grows in blocks of many MiB
        assert allocated_bytes(target) < allocated_bytes(image) + MIB


def test_a_restore_needs_no_index(lab: Lab, image: Path) -> None:
    """With the whole index directory gone, `--without-index` gives the same bytes back."""
    shutil.rmtree(lab.home.lake_dir)
    assert lab.restored("latest", "--without-index") == image.read_bytes()
    assert lab.of_type(ev.RestoreStarted)[-1].without_index


@pytest.mark.parametrize("fault", ["gone", "flipped chunk table", "cut chunk table", "missing chunk table", "catalog"])
def test_a_damaged_index_is_passed_by(lab: Lab, image: Path, fault: str) -> None:
    """Whatever is wrong with the index, the event log resolves instead; the event and the command say why."""
    chunks = lab.tables("chunks")[0]
    if fault == "gone":
        shutil.rmtree(lab.home.lake_dir)
    elif fault == "flipped chunk table":
        flip(chunks, chunks.stat().st_size // 3)
    elif fault == "cut chunk table":
        chunks.write_bytes(chunks.read_bytes()[:-100])
    elif fault == "missing chunk table":
        chunks.unlink()
    else:
        (lab.home.lake_dir / "lake.sqlite").write_bytes(b"nonsense" * 1000)
    target = lab.root / "restored"
    answer = lab.ok("restore", "latest", "--to", target)
    assert target.read_bytes() == image.read_bytes()
    (started,) = lab.of_type(ev.RestoreStarted)
    assert started.without_index
    assert started.fallback_cause
    assert started.fallback_cause in answer.err.replace("\n", "")


def test_a_good_index_is_used(lab: Lab, image: Path) -> None:
    """With a sound index the event says that it resolved, and what came of the restore is recorded."""
    assert lab.restored("latest") == image.read_bytes()
    (started,) = lab.of_type(ev.RestoreStarted)
    (completed,) = lab.of_type(ev.RestoreCompleted)
    assert (started.without_index, started.fallback_cause) == (False, None)
    assert completed.size_bytes == SIZE


def test_an_existing_file_is_not_touched(lab: Lab, image: Path) -> None:
    """A target that exists is a conflict, unless `--force` says otherwise."""
    target = lab.root / "precious"
    target.write_bytes(b"precious")
    assert lab.fails(8, "restore", "latest", "--to", target)["code"] == "target-exists"
    assert target.read_bytes() == b"precious"
    lab.ok("restore", "latest", "--to", target, "--force")
    assert target.read_bytes() == image.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (["beefbeef"], 5, "restore-point-unknown"),
        (["latest:nobody"], 5, "machine-unknown"),
        (["latest", "--disk", "none"], 5, "disk-unknown"),
        (["no hex"], 2, "point-text"),
        (["latest", "--format", "qcow2", "--salvage"], 2, "salvage-format"),
        (["latest", "--format", "floppy"], 2, "usage"),
    ],
)
def test_what_is_not_there_is_said(lab: Lab, image: Path, arguments: list[str], exit_code: int, code: str) -> None:
    """A wrong point, disk, machine or option has its own exit code and a hint or a reason, and makes no file."""
    target = lab.root / "out"
    problem = lab.fails(exit_code, "restore", *arguments, "--to", target)
    assert problem["code"] == code
    assert problem["hint"] or problem["detail"]
    assert not target.exists()


def test_an_ambiguous_prefix_is_refused(lab: Lab, image: Path) -> None:
    """A prefix that fits several restore points names them and restores none."""
    found = lab.json("points")[0]["restore_point"][:4]
    _add_twin(lab, found)
    problem = lab.fails(2, "restore", found, "--to", lab.root / "out")
    assert problem["code"] == "point-ambiguous"
    assert found in problem["hint"]


def _add_twin(lab: Lab, prefix: str) -> None:
    """Take a backup whose identifiers start as another's."""
    from dataclasses import replace
    from uuid import UUID, uuid4

    from ingest.backup import BackupRequest, backup
    from ingest.progress import Silent

    with lab.services() as services:
        twins = replace(services, new_id=lambda: UUID(hex=prefix + uuid4().hex[4:]))
        assert not backup(twins, BackupRequest("lab", None), progress=Silent(), stop=lambda: False).failures


def test_a_full_target_leaves_no_file(lab: Lab, image: Path) -> None:
    """When the target's disk is too small the exit code is 9, no half image stays, and a larger place works."""
    place = lab.root / "small"
    with small_disk(place, MIB):
        problem = lab.fails(9, "restore", "latest", "--to", place / "vm.raw")
        assert problem["code"] == "target-full"
        assert list(place.iterdir()) == []
    assert [event.code for event in lab.of_type(ev.RestoreFailed)] == ["target-full"]
    assert lab.restored("latest") == image.read_bytes()


def test_a_target_that_cannot_be_written_is_an_error(lab: Lab, image: Path) -> None:
    """A target below a file, not below a directory, is refused with a reason and no traceback."""
    (lab.root / "file").write_text("")
    problem = lab.fails(7, "restore", "latest", "--to", lab.root / "file" / "vm.raw")
    assert problem["code"] == "target-unwritable"


def test_a_restore_that_is_interrupted_is_recorded(lab: Lab, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during a restore leaves no file and an event that says so."""
    from storage.chunks.store import ChunkStore

    def interrupt(*_arguments: object, **_options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(ChunkStore, "scatter", interrupt)
    target = lab.root / "out" / "vm.raw"
    assert lab.run("restore", "latest", "--to", target).code == 130
    assert list(target.parent.iterdir()) == []
    assert [event.code for event in lab.of_type(ev.RestoreFailed)] == ["signal"]


def test_a_source_cannot_choose_a_path(lab: Lab) -> None:
    """A disk's label becomes a plain file name below the target, and two that become the same stay apart."""
    assert safe_name("../../etc/passwd") == "_.._etc_passwd"
    assert safe_name("...") == "disk"
    for name in ("a b.raw", "a_b.raw"):
        (lab.images / "m").mkdir(exist_ok=True)
        make_image(lab.images / "m" / name, MIB, [(0, name.encode())])
    lab.add_images()
    lab.backup()
    with lab.services() as services:
        disks = services.catalog.points()[-1].disks
    paths = [path for _, path in target_paths(disks, lab.root, "raw")]
    assert len(set(paths)) == 2
    assert {path.parent for path in paths} == {lab.root}
