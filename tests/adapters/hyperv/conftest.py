"""Simulated Hyper-V hosts for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.hyperv.world import HypervWorld


@pytest.fixture
def world(tmp_path: Path) -> HypervWorld:
    """One host without machines."""
    return HypervWorld(tmp_path / "host")


@pytest.fixture
def cluster(tmp_path: Path) -> HypervWorld:
    """Three nodes with one cluster shared volume, without machines."""
    return HypervWorld(tmp_path / "cluster", nodes=("hv1", "hv2", "hv3"), cluster=True)
