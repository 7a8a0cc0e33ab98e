"""The Xen adapter keeps the source port on our simulator of a pool, whose disks real nbdkit serves over TLS."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.source_port import OnlineSuite
from tests.support.xapi.harness import XenHarness
from tests.support.xapi.pool import pool_with_nbd


class TestSimulator(OnlineSuite):
    """A machine whose changed blocks follow from the writes really made."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[XenHarness]:
        with tempfile.TemporaryDirectory(prefix="hf-") as folder, pool_with_nbd(Path(folder)) as (pool, _):
            yield XenHarness(pool, tmp_path / "run")
