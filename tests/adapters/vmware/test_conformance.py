"""The VMware adapter keeps the source port on our vSphere simulator, whose disks a real QEMU writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.port import Source
from tests.conformance.source_port import OnlineSuite
from tests.conformance.source_tracking import TrackingGuarantees
from tests.support.guest_harness import GuestHarness
from tests.support.vsphere.harness import MACHINE, VsphereHarness
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


class TestGuest(TrackingGuarantees):
    """What a server of somebody's own is put to, on a machine that is there already and through its guest."""

    @pytest.fixture
    def harness(self, vsphere: VsphereSimulator, tmp_path: Path) -> GuestHarness:
        behind = VsphereHarness(vsphere, tmp_path / "run")
        return GuestHarness(behind.make_source, MACHINE, "Hard disk 1", SimulatedGuest(behind), another_tracking)

    @pytest.fixture
    def source(self, harness: GuestHarness) -> Iterator[Source]:
        source = harness.make_source()
        yield source
        source.close()


class SimulatedGuest:
    """The simulator's own way to write."""

    def __init__(self, behind: VsphereHarness) -> None:
        self.write = behind.write
        self.read = behind.content


def another_tracking(token: str) -> str:
    """The token with a change id of a tracking that never was."""
    return json.dumps(json.loads(token) | {"change_id": "00 11 22 33 44 55 66 77-88 99 aa bb cc dd ee ff/1"})
