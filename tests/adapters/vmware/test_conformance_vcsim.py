"""The VMware adapter keeps what of the source port vcsim, which is not ours, can show: all but change tracking."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.conformance.source_port import SourcePortSuite
from tests.support.vcsim_harness import VcsimHarness
from tests.support.vcsim_process import Vcsim


class TestVcsim(SourcePortSuite):
    """A machine of the third party's simulator, read through its `/folder`."""

    @pytest.fixture
    def harness(self, vcsim: Vcsim, tmp_path: Path) -> Iterator[VcsimHarness]:
        """A machine of its own for each test."""
        harness = VcsimHarness(vcsim, f"conformance-{uuid4().hex[:8]}", tmp_path / "run")
        yield harness
        harness.close()
