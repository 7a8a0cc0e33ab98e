"""The Hyper-V adapter keeps the source port on simulated hosts, whose disks are real VHDX files.

A machine of yours is backed up, too, where the environment names one: see `test_real_backup.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.hyperv.source import HypervSource
from tests.adapters.hyperv.conftest import SourceOf
from tests.conformance.source_port import OnlineSuite
from tests.support.hyperv.harness import HypervHarness
from tests.support.hyperv.network import Served, served
from tests.support.hyperv.world import HypervWorld

BLOCK_BYTES = 2 << 20


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HypervWorld, Served]]:
    """A cluster of two nodes behind real sockets."""
    world = HypervWorld(tmp_path_factory.mktemp("hosts"), nodes=("hv1", "hv2"), cluster=True)
    with served(world) as where:
        yield world, where


class TestSimulatedHost(OnlineSuite):
    """A single host, asked and read without a network."""

    discarded_bytes = BLOCK_BYTES

    @pytest.fixture
    def harness(self, world: HypervWorld, source_of: SourceOf) -> HypervHarness:
        return HypervHarness(world, lambda: source_of(world))


class TestSimulatedCluster(OnlineSuite):
    """Three nodes, the disks on a volume that another node has."""

    discarded_bytes = BLOCK_BYTES

    @pytest.fixture
    def harness(self, cluster: HypervWorld, source_of: SourceOf) -> HypervHarness:
        return HypervHarness(cluster, lambda: source_of(cluster))


class TestOverTheNetwork(OnlineSuite):
    """WinRM with NTLM over TLS, and files over SMB from a real Samba."""

    discarded_bytes = BLOCK_BYTES

    @pytest.fixture
    def harness(self, network: tuple[HypervWorld, Served], tmp_path: Path) -> HypervHarness:
        world, where = network
        for machine in list(world.machines):
            del world.machines[machine]
        settings = where.settings(cluster=True)
        return HypervHarness(world, lambda: HypervSource("hv", settings, tmp_path / "run"))
