"""A lake in a temporary folder, with a clock of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.lake import Lake
from tests.support.lake import SPECS, Clock


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the lake is."""
    return tmp_path / "index"


@pytest.fixture
def clock() -> Clock:
    """The lake's clock."""
    return Clock()


@pytest.fixture
def lake(root: Path, clock: Clock) -> Iterator[Lake]:
    """An empty lake."""
    lake = Lake.create(root, SPECS, clock=clock)
    yield lake
    lake.close()
