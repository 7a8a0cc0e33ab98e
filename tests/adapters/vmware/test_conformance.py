"""The VMware adapter keeps the source port against the vSphere simulator, whose disks a real QEMU writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.source_port import OnlineSuite
from tests.support.vsphere.harness import VsphereHarness
from tests.support.vsphere.simulator import VsphereSimulator


class TestSimulator(OnlineSuite):
    """A machine with one disk; transports are those that need nothing but the server."""

    @pytest.fixture
    def harness(self, vsphere: VsphereSimulator, tmp_path: Path) -> Iterator[VsphereHarness]:
        yield VsphereHarness(vsphere, tmp_path / "run")
