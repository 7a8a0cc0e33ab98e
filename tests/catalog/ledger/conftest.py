"""What tests of the ledger share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ledger_home import LedgerHome


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LedgerHome]:
    """A home with a ledger."""
    home = LedgerHome(tmp_path)
    yield home
    home.close()
