"""The Xen adapter keeps the source port, but for change tracking, on a pool of yours where the environment names one.

HOLDFAST_XEN is its master's address (HOLDFAST_XEN_PORT its port), HOLDFAST_XEN_USER and HOLDFAST_XEN_PASSWORD log in,
HOLDFAST_XEN_FINGERPRINT has the SHA-256 of its hosts' certificates, with commas between. The suite makes and removes
machines named `holdfast-conformance-…` there, halted and of 4 MiB each, and changes no other. The suite runs on our
simulator first, so that it is known to work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from adapters.port import Source
from adapters.secret import Secret
from adapters.xen.settings import XenSettings
from tests.adapters.xen.conftest import StartPool
from tests.conformance.source_harness import SourceHarness
from tests.conformance.source_port import SourcePortSuite
from tests.support.xapi.data import serve_streams
from tests.support.xen_upload_harness import UploadHarness

HOST = os.environ.get("HOLDFAST_XEN")


def machine(settings: XenSettings, runtime_dir: Path) -> Iterator[UploadHarness]:
    """A machine for one test."""
    harness = UploadHarness(settings, f"holdfast-conformance-{uuid4().hex[:8]}", runtime_dir)
    yield harness
    harness.close()


class TestOurSimulator(SourcePortSuite):
    """A pool that has no network for NBD: its disks are read from exports."""

    @pytest.fixture
    def harness(self, start_pool: StartPool, tmp_path: Path) -> Iterator[UploadHarness]:
        """A machine of its own for each test."""
        pool = start_pool([])
        serve_streams(pool)
        yield from machine(pool.settings(), tmp_path / "run")


if HOST is not None:

    class TestYourPool(SourcePortSuite):
        """A pool that the environment names."""

        @pytest.fixture
        def harness(self, tmp_path: Path) -> Iterator[UploadHarness]:
            """A machine of its own for each test."""
            settings = XenSettings(
                HOST,
                os.environ["HOLDFAST_XEN_USER"],
                Secret(lambda: os.environ["HOLDFAST_XEN_PASSWORD"]),
                port=int(os.environ.get("HOLDFAST_XEN_PORT", "443")),
                fingerprint=os.environ["HOLDFAST_XEN_FINGERPRINT"],
            )
            yield from machine(settings, tmp_path / "run")

        @pytest.mark.skip(reason="storage grows disks by more than the MiB that the suite asks for")
        def test_a_grown_disk_is_not_missed(self, source: Source, harness: SourceHarness) -> None:
            """Shown on the simulator."""
