"""A shop for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.lab import Lab
from tests.support.shop import Shop


@pytest.fixture
def shop(lab: Lab) -> Iterator[Shop]:
    """A shop, open."""
    made = Shop(lab)
    with closing(made.log):
        yield made
