"""Random histories that the tests only read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from catalog.queries import blocks, happenings, provenance, references
from tests.support.read_world import World, world

SEEDS = range(5)

SMALL = (
    (happenings, "FIRST_WINDOW", 3),
    (happenings, "LAST_WINDOW", 16),
    (happenings, "NEAR", 2),
    (blocks, "WINDOW_BLOCKS", 5),
    (blocks, "BATCH_ROWS", 2),
    (provenance, "WINDOW_BLOCKS", 7),
    (references, "CELLS", 9),
)


@pytest.fixture(scope="module", params=SEEDS)
def some(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A random history, which the tests only read; every other one with windows so small that all are crossed."""
    with pytest.MonkeyPatch.context() as patch, world(tmp_path_factory.mktemp("world"), request.param) as made:
        if request.param % 2:
            for module, name, value in SMALL:
                patch.setattr(module, name, value)
        yield made
