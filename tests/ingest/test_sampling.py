"""Change tracking that lies is caught: by reading blocks that it calls unchanged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import pytest

from adapters.port import Extent, Source
from catalog.domain import events as ev
from catalog.domain.facts import DiskPoint
from catalog.home import Home
from ingest import kinds
from ingest.backup import BackupOutcome, BackupRequest, backup
from ingest.progress import Silent
from tests.support.lab import CHUNK, MIB, Lab, make_image, write_at
from tests.support.lying_tracking_simulator import LyingTracking

SIZE = 8 * MIB
Told = list[Extent]


@pytest.fixture
def told() -> Told:
    """What the source admits; the test fills it."""
    return []


@pytest.fixture
def image(lab: Lab, told: Told, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backed-up image whose source pretends to have bitmaps."""
    honest = kinds.KINDS["image"]

    def lying(home: Home, name: str, settings: Mapping[str, str]) -> Source:
        return LyingTracking(honest.build(home, name, settings), lambda: list(told))

    monkeypatch.setitem(kinds.KINDS, "image", kinds.Kind(honest.settings, lying))
    path = lab.images / "vm.raw"
    make_image(path, SIZE, [(0, Random(61).randbytes(SIZE))])
    lab.add_images()
    assert not _backup(lab, 1).failures
    return path


def _backup(lab: Lab, seed: int) -> BackupOutcome:
    with lab.services(Random(seed)) as services:
        return backup(services, BackupRequest("lab", None), progress=Silent(), stop=lambda: False)


def _disk(outcome: BackupOutcome) -> DiskPoint:
    assert not outcome.failures, outcome.failures
    return outcome.reports[0].disks[0]


def test_an_honest_source_is_trusted(lab: Lab, image: Path, told: Told) -> None:
    """When all that changed is told, the sample agrees and the incremental reads nothing else."""
    write_at(image, MIB, b"told")
    told.append(Extent(MIB, 512, False))
    point = _disk(_backup(lab, 2))
    assert (point.level, point.cause, point.read_bytes) == ("incremental", "tracked", CHUNK)
    assert lab.of_type(ev.ChangeTrackingDistrusted) == []
    assert lab.restored("latest") == image.read_bytes()


@pytest.mark.parametrize("change", [lambda data: bytes(len(data)), lambda data: bytes(255 - b for b in data)])
def test_a_lie_is_found_and_the_disk_read_in_full(
    lab: Lab, image: Path, told: Told, change: Callable[[bytes], bytes]
) -> None:
    """A written, or zeroed, block that is kept silent about makes an event, a warning and a full in the same run."""
    content = bytearray(image.read_bytes())
    half = slice(SIZE // 2, SIZE)
    content[half] = change(bytes(content[half]))
    write_at(image, 0, bytes(content))
    told.append(Extent(0, 512, False))
    outcome = _backup(lab, 3)
    point = _disk(outcome)
    assert (point.level, point.cause) == ("full", "tracking-distrusted")
    (event,) = lab.of_type(ev.ChangeTrackingDistrusted)
    assert event.first_mismatch >= SIZE // 2 // CHUNK
    assert 0 < event.mismatched_blocks <= event.sampled_blocks
    assert any("change tracking missed" in warning for warning in outcome.reports[0].warnings)
    assert lab.restored("latest") == image.read_bytes()


def test_one_silent_block_is_found_in_the_end(lab: Lab, image: Path, told: Told) -> None:
    """A single block of 128 that is left out is met by the random sample within a few runs."""
    write_at(image, 77 * CHUNK, b"silent")
    for seed in range(20):
        if _disk(_backup(lab, seed)).cause == "tracking-distrusted":
            break
    else:
        raise AssertionError("not found in 20 runs")
    assert lab.restored("latest") == image.read_bytes()
