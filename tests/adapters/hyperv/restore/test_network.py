"""A restore over real sockets: scripts by WinRM with NTLM over TLS, files by SMB to a real Samba."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from adapters.hyperv.restore.machine import MachineMaker
from adapters.hyperv.source import HypervSource
from adapters.port import MachineRestore, SnapshotRequest
from tests.support.hyperv.images import Image, holey
from tests.support.hyperv.network import served
from tests.support.hyperv.world import MIB, HypervWorld


def test_a_machine_and_then_its_disk_come_back_over_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the host then has is what was given, by qemu's reading; no stray file is left, nor a restore that died."""
    world = HypervWorld(tmp_path / "hosts", nodes=("hv1", "hv2"), cluster=True)
    original = world.add_machine("web", 4 * MIB, 2 * MIB, node="hv2")
    contents = [holey(4 * MIB, 1), holey(2 * MIB, 2)]
    with served(world) as where:
        source = HypervSource("hv", where.settings(cluster=True), tmp_path / "run")
        try:
            (machine,) = source.inventory()
            snapshot = source.snapshot(machine, SnapshotRequest("b1", {disk.key: None for disk in machine.disks}))
            configuration = tuple(snapshot.configuration)
            snapshot.release(committed=False)
            images = {disk.key: Image(content) for disk, content in zip(machine.disks, contents, strict=True)}
            made = source.restore_machine(MachineRestore("again", "r-1", configuration, images), lambda _: None)
            place = world.place(made.key)
            assert [world.content(made.key, place) for place in world.machines[made.key].disks] == contents
            restored = next(found for found in source.inventory() if found.key == made.key)
            key = next(disk.key for disk in restored.disks if disk.key == place)
            source.restore_disk(restored, key, Image(holey(4 * MIB, 3)), "r-2", lambda _: None)
            with monkeypatch.context() as killed:
                killed.setattr(MachineMaker, "_undo", lambda *_: None)
                killed.setattr(MachineMaker, "_checked", lambda *_: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    source.restore_machine(MachineRestore("dead", "r-3", configuration, images), lambda _: None)
            before = len(list(world.storage.root.rglob("*r-3")))
            told = [found.action for found in source.remove_unfinished("r-3", 2)]
            kept = [found.action for found in source.remove_unfinished("r-1", 2)]
        finally:
            source.close()
    assert (before, told, kept) == (1, ["removed", "removed"], ["kept: it is whole"])
    assert list(world.storage.root.rglob("*r-3")) == []
    file = world.storage.local(world.disk(made.key, place).live)
    raw = tmp_path / "out.raw"
    subprocess.run(["qemu-img", "convert", "-f", "vhdx", "-O", "raw", str(file), str(raw)], check=True)
    assert raw.read_bytes() == holey(4 * MIB, 3)
    assert len(list(file.parent.glob("*.vhdx"))) == 2
    assert world.machines[original].name == "web"
