"""Fixtures: both ways to seal a pack, and a small pack of three chunks in a store."""

from __future__ import annotations

import pytest

from tests.support.small_pack import SmallPack, make_small_pack


@pytest.fixture(params=[True, False], ids=["encrypted", "plain"])
def encrypts(request: pytest.FixtureRequest) -> bool:
    """Whether the pack is encrypted."""
    return bool(request.param)


@pytest.fixture
def small(encrypts: bool) -> SmallPack:
    """A pack of three chunks."""
    return make_small_pack(encrypts=encrypts)
