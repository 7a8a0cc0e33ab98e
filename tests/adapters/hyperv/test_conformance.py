"""The Hyper-V adapter keeps the source port on simulated hosts, whose disks are real VHDX files."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.hyperv.settings import HypervSettings
from adapters.hyperv.source import HypervSource
from adapters.secret import Secret
from tests.conformance.source_port import OnlineSuite
from tests.support.hyperv.files import WorldFiles
from tests.support.hyperv.harness import HypervHarness
from tests.support.hyperv.runner import world_runners
from tests.support.hyperv.world import HypervWorld


class TestSimulatedHost(OnlineSuite):
    """A single host, asked and read without a network."""

    discarded_bytes = 2 << 20  # a block of its files

    @pytest.fixture
    def harness(self, tmp_path: Path) -> HypervHarness:
        world = HypervWorld(tmp_path / "hosts")
        settings = HypervSettings("hv1", "ada", Secret(lambda: "x"))

        def make() -> HypervSource:
            return HypervSource(
                "hv",
                settings,
                tmp_path / "run",
                runners=world_runners(world),
                files=WorldFiles(world),
                sleep=lambda _: None,
            )

        return HypervHarness(world, make)
