"""kill -9 at any moment: what was acknowledged stays, nothing is invented, and the next command works."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from hashlib import blake2b
from pathlib import Path
from random import Random

import pytest

from catalog.domain import events as ev
from catalog.domain.run import RunState
from tests.ingest.conftest import StartVm
from tests.support.lab import MIB, Lab, make_image, pieces, write_at
from tests.support.qemu_vm import VmDisk

ROUNDS = 50
SIZE = 24 * MIB


class Campaign:
    """Rounds of change, backup and kill on one image; knows every content the image ever had at a backup."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self.lab = lab
        self.random = Random(seed)
        self.image = lab.images / "vm.raw"
        make_image(self.image, SIZE, list(pieces(self.random, [(0, 12 * MIB)])))
        lab.add_images()
        self.known: set[str] = set()
        self.acknowledged: list[str] = []
        self.typical_s = 0.0

    def change(self) -> None:
        """Write a few ranges, now and then much, and remember what the image holds now."""
        for _ in range(self.random.randrange(1, 6)):
            length = self.random.choice([10, 100_000, 2 * MIB])
            data = bytes(length) if self.random.random() < 0.2 else self.random.randbytes(length)
            write_at(self.image, self.random.randrange(SIZE - length), data)
        self.known.add(digest(self.image))

    def round(self, *options: str) -> None:
        """Back up in a process that is killed at a random moment, or comes to its end before."""
        process = self.lab.start("backup", "lab", "--json", *options)
        started = time.monotonic()
        limit_s = self.random.uniform(0, self.typical_s * 1.2) if self.typical_s else None
        try:
            out, err = process.communicate(timeout=limit_s)
            self.typical_s = time.monotonic() - started
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), err
        if out.strip().endswith(b"]"):
            self.acknowledged += [record["restore_point"] for record in json.loads(out)]


def digest(path: Path) -> str:
    """Name a content."""
    return blake2b(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_fifty_kills(tmp_path: Path) -> None:
    """After each of 50 kills the next command works; at the end log, index and every restore point are sound."""
    seed = int(os.environ.get("HOLDFAST_SEED", "20240607"))
    sys.stdout.write(f"seed {seed}\n")
    lab = Lab(tmp_path, pack_bytes=2 * MIB)
    campaign = Campaign(lab, seed)
    for number in range(ROUNDS):
        campaign.change()
        campaign.round(*(["--full"] if number % 7 == 3 else []))
        listed = [row["restore_point"] for row in lab.json("points")]
        assert set(campaign.acknowledged) <= set(listed), number
    campaign.change()
    campaign.acknowledged.append(lab.backup_one()["restore_point"])
    _assert_sound(lab, campaign)
    dead = [event for event in lab.of_type(ev.RunClosed) if event.outcome == "interrupted"]
    sys.stdout.write(f"{len(campaign.acknowledged)} acknowledged, {len(dead)} runs died\n")
    assert len(dead) >= 5, "the kills came too late to hit anything"
    assert len(campaign.acknowledged) >= 2, "the kills came too early to let anything through"


def _assert_sound(lab: Lab, campaign: Campaign) -> None:
    """Every listed point is a content that the image had; runs fold; verify is clean; a rebuild is the same index."""
    points = [row["restore_point"] for row in lab.json("points")]
    assert set(campaign.acknowledged) <= set(points)
    for number, point in enumerate(points):
        target = lab.restore(point, *(["--without-index"] if number % 2 else []))
        assert digest(target) in campaign.known, point
        target.unlink()
    assert digest(campaign.image) == digest(lab.restore(points[-1]))
    lab.ok("verify", "--level", "stored")  # the chain of the log too
    with lab.services() as services:
        for run_id in {event.run_id for event in lab.of_type(ev.RunOpened)}:
            run = RunState.fold(services.log.stream(run_id))
            assert run is not None
            assert not run.open
    before = rows(lab)
    lab.ok("rebuild", "index")
    assert rows(lab) == before


def rows(lab: Lab) -> dict[str, list[object]]:
    """Every row of the small tables, and a digest of the large ones."""
    asked = {
        "points": "SELECT * FROM restore_points ORDER BY position",
        "events": "SELECT * FROM events ORDER BY position",
        "disk_points": "SELECT * FROM disk_points ORDER BY disk_id, seq",
        "chunks": "SELECT count(*), bit_xor(hash(disk_id, seq, block, digest, pack_id, pack_offset)) FROM chunks",
        "extents": "SELECT count(*), bit_xor(hash(disk_id, seq, kind, start_bytes, length_bytes)) FROM extents",
    }
    return {name: lab.json("sql", query) for name, query in asked.items()}


def test_kills_with_dirty_bitmaps(short_lab: Lab, start_vm: StartVm) -> None:
    """After kills of a backup of a running QEMU the bitmaps are put in order and the next incremental is exact."""
    random, lab = Random(41), short_lab
    vm = start_vm(VmDisk("disk0", size_bytes=16 * MIB))
    vm.write("disk0", 0, random.randbytes(8 * MIB))
    lab.ok("source", "add", "vm", "--kind", "qemu", "--qmp", vm.qmp_path)
    process = lab.start("backup", "vm")
    started = time.monotonic()
    _, err = process.communicate()
    assert process.returncode == 0, err
    whole_s = time.monotonic() - started
    for number in range(5):
        vm.write("disk0", random.randrange(15 * MIB) // 512 * 512, random.randbytes(MIB))
        process = lab.start("backup", "vm", *(["--full"] if number % 2 else []))
        try:
            process.communicate(timeout=whole_s * random.uniform(0.1, 1.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        record = lab.backup_one(target="vm")
        assert lab.restored(record["restore_point"]) == vm.content("disk0")
        assert record["disks"][0]["level"] == "incremental", record
        assert record["disks"][0]["read_bytes"] < 8 * MIB
