"""Sources on simulated Hyper-V hosts, asked and read without a network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.hyperv.settings import HypervSettings
from adapters.hyperv.source import HypervSource
from adapters.secret import Secret
from tests.support.hyperv.files import WorldFiles
from tests.support.hyperv.making import MakingWorldFiles
from tests.support.hyperv.runner import world_runners
from tests.support.hyperv.world import HypervWorld

SourceOf = Callable[..., HypervSource]


@pytest.fixture
def world(tmp_path: Path) -> HypervWorld:
    """A single host."""
    return HypervWorld(tmp_path / "hosts")


@pytest.fixture
def cluster(tmp_path: Path) -> HypervWorld:
    """A cluster of three nodes."""
    return HypervWorld(tmp_path / "cluster", nodes=("hv1", "hv2", "hv3"), cluster=True)


@pytest.fixture
def source_of(tmp_path: Path) -> Iterator[SourceOf]:
    """Make sources that are closed at the end of the test, and never sleep."""
    with ExitStack() as stack:

        def make(
            world: HypervWorld,
            files: WorldFiles | None = None,
            clock: Callable[[], float] = time.monotonic,
            **others: object,
        ) -> HypervSource:
            settings = HypervSettings("hv1", "ada", Secret(lambda: "x"), cluster=world.cluster)
            source = HypervSource(
                "hv",
                replace(settings, **others),
                tmp_path / "run",
                runners=world_runners(world),
                files=files or MakingWorldFiles(world),
                clock=clock,
                sleep=lambda _: None,
            )
            stack.callback(source.close)
            return source

        yield make
