"""The tour ends well wherever it is taken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ingest.demo import machine
from tests.support.lab import holdfast


@pytest.mark.slow
@pytest.mark.parametrize("with_qemu", [True, False])
def test_the_tour_ends_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_qemu: bool) -> None:
    """Every byte comes back, from a running QEMU and, where there is none, from an image file."""
    if shutil.which("mkfs.ext4", path=machine.TOOL_PATH) is None:
        pytest.skip("needs mkfs.ext4")
    if with_qemu and not (shutil.which("qemu-system-x86_64") and shutil.which("qemu-img")):
        pytest.skip("needs qemu-system-x86_64 and qemu-img")
    find = shutil.which
    hidden = () if with_qemu else ("qemu-system-x86_64",)
    monkeypatch.setattr(
        machine.shutil, "which", lambda name, **options: None if name in hidden else find(name, **options)
    )
    answer = holdfast("demo", "--dir", tmp_path / "tour", "--json")
    assert answer.code == 0, answer.err
    steps = answer.json()
    assert ("QEMU" in steps[0]["it is"]) == with_qemu
    levels = [step["level"] for step in steps if step["step"].startswith("holdfast backup")]
    method = "tracked" if with_qemu else "compared"
    assert levels == ["full (first-backup)", *[f"incremental ({method})"] * 3]
    assert [step["equal bytes"] for step in steps if "equal bytes" in step] == [machine.DISK_BYTES] * 2
