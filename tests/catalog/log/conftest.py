"""An empty event log for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.log import EventLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log of a test is."""
    return tmp_path / "events.sqlite"


@pytest.fixture
def log(path: Path) -> Iterator[EventLog]:
    """An empty log, closed afterwards."""
    with EventLog.create(path) as created:
        yield created
