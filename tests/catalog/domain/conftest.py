"""Builders of events in a stream, one version after another."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from catalog.domain.events import Event

Make = Callable[..., Event]


@pytest.fixture
def make() -> Make:
    """Build the next event of one stream; every call counts the version on."""
    version = 0

    def build(kind: type[Event], /, **fields: Any) -> Event:
        nonlocal version
        version += 1
        return kind(
            originator_id=UUID(int=1),
            originator_version=version,
            recorded_at=datetime(2026, 3, 1, tzinfo=UTC),
            **fields,
        )

    return build
