"""The Xen adapter keeps the source port on our simulator of a pool, whose disks real nbdkit serves over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.source_port import OnlineSuite
from tests.support.xapi import XapiSimulator
from tests.support.xapi.data import nbd_hosts
from tests.support.xapi.harness import XenHarness


class TestSimulator(OnlineSuite):
    """A machine whose changed blocks follow from the writes really made."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[XenHarness]:
        with XapiSimulator(tmp_path / "pool") as pool, nbd_hosts(pool, tmp_path):
            yield XenHarness(pool, tmp_path / "run")
