"""The VMware adapter keeps the source port when an array holds the disk: a real btrfs below our vSphere simulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.source_harness import frozen
from tests.conformance.source_port import OnlineSuite
from tests.support.loop_filesystem import loop_filesystem
from tests.support.qemu_vm import MISSING_TOOLS
from tests.support.vsphere.harness import MACHINE, VsphereHarness
from tests.support.vsphere.on_btrfs import BTRFS_BYTES, vsphere_on_btrfs


@pytest.fixture(scope="module")
def btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A btrfs, mounted once for all."""
    if MISSING_TOOLS:
        pytest.skip(f"needs {', '.join(MISSING_TOOLS)}")
    with loop_filesystem("btrfs", tmp_path_factory.mktemp("btrfs"), BTRFS_BYTES) as mount:
        yield mount


class TestOnArray(OnlineSuite):
    """A machine whose datastore is a subvolume: its disk is read from a clone of the array's snapshot."""

    @pytest.fixture
    def harness(self, btrfs: Path, tmp_path: Path) -> Iterator[VsphereHarness]:
        with vsphere_on_btrfs(btrfs) as (running, array):
            yield VsphereHarness(running, tmp_path / "run", array=array)

    def test_it_is_the_array_that_is_read(self, harness: VsphereHarness) -> None:
        """What the suite proves it proves of the array: the choice and the reader say so, no snapshot is there."""
        source = harness.make_source()
        try:
            with frozen(source, harness) as disk:
                assert disk.choice is not None
                assert disk.choice.kind == "array_snapshot"
                reader = disk.open()
                assert reader.transport == "array_snapshot"
                reader.close()
                assert harness.simulator.snapshots(MACHINE) == []
        finally:
            source.close()
