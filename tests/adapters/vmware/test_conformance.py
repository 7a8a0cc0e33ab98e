"""The VMware adapter keeps the source port on our vSphere simulator, whose disks a real QEMU writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.source_port import OnlineSuite
from tests.support.vsphere.harness import VsphereHarness
from tests.support.vsphere.simulator import VsphereSimulator


class TestSimulator(OnlineSuite):
    """A machine whose changed areas are those of a dirty bitmap; the ways to its bytes need nothing but the server."""

    @pytest.fixture
    def harness(self, vsphere: VsphereSimulator, tmp_path: Path) -> VsphereHarness:
        return VsphereHarness(vsphere, tmp_path / "run")

    def test_a_replaced_disk_of_the_same_uuid_is_not_missed(self, vsphere: VsphereSimulator, tmp_path: Path) -> None:
        """A disk that was restored from outside, and says that it is the old one, is found out by its tracking."""
        harness = VsphereHarness(vsphere, tmp_path / "run", same_uuid=True)
        source = harness.make_source()
        try:
            self.test_a_replaced_disk_is_not_missed(source, harness)
        finally:
            source.close()
