"""The Xen adapter keeps the source port, but for change tracking, on a pool of yours where the environment names one.

HOLDFAST_XEN is its master's address (HOLDFAST_XEN_PORT its port), HOLDFAST_XEN_USER and HOLDFAST_XEN_PASSWORD log in,
HOLDFAST_XEN_FINGERPRINT has the SHA-256 of its hosts' certificates, with commas between. The suite makes and removes
machines named `holdfast-conformance-…` there, halted and of 4 MiB each, and changes no other. HOLDFAST_XEN_MACHINE may
name a running machine with small disks (they are held in memory): its change tracking is switched on, and put to the
test. All of this runs on our simulator first, so that it is known to work.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from adapters.frozendisk import FrozenDisk
from adapters.port import Source, Tracked
from adapters.secret import Secret
from adapters.xen.settings import XenSettings
from adapters.xen.source import XenSource
from tests.adapters.xen.conftest import StartPool
from tests.adapters.xen.freezes import frozen, machine_named, rebuilt
from tests.conformance.source_harness import SourceHarness, first_difference, read_by_extents, reading
from tests.conformance.source_port import SourcePortSuite
from tests.support.xapi.data import nbd_hosts, serve_streams
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


def assert_incremental_is_exact(source: XenSource, name: str, meanwhile: Callable[[], object]) -> None:
    """What changed since a base makes of its content what is frozen later; then nothing of ours stays."""
    with frozen(source, name) as first:
        before = {key: _content(disk) for key, disk in first.disks.items()}
        bases = {key: disk.base_token for key, disk in first.disks.items()}
    meanwhile()
    with frozen(source, name, bases) as second:
        for key, disk in second.disks.items():
            assert disk.tracking == Tracked()
            assert first_difference(rebuilt(disk, before[key]), _content(disk)) is None
    source.reconcile(machine_named(source, name), {})


def _content(disk: FrozenDisk) -> bytes:
    with reading(disk) as reader:
        return bytes(read_by_extents(reader, reader.extents(), bytearray(reader.size_bytes)))


def test_a_running_machine_of_our_simulator(start_pool: StartPool, tmp_path: Path) -> None:
    """Read over NBD, written by its guest between the two snapshots."""
    pool = start_pool()
    with nbd_hosts(pool, tmp_path), closing(XenSource("pool", pool.settings(), tmp_path / "run")) as source:
        pool.write("db", 0, 0, b"before" * 5000)
        assert_incremental_is_exact(source, "db", lambda: pool.write("db", 1, 1 << 20, b"meanwhile" * 5000))
        assert pool.records.find("VDI", is_a_snapshot=True) == []


def your_settings() -> XenSettings:
    """Of the pool that the environment names."""
    return XenSettings(
        os.environ["HOLDFAST_XEN"],
        os.environ["HOLDFAST_XEN_USER"],
        Secret(lambda: os.environ["HOLDFAST_XEN_PASSWORD"]),
        port=int(os.environ.get("HOLDFAST_XEN_PORT", "443")),
        fingerprint=os.environ["HOLDFAST_XEN_FINGERPRINT"],
    )


if "HOLDFAST_XEN_MACHINE" in os.environ:

    def test_a_running_machine_of_yours(tmp_path: Path) -> None:
        """What its guest writes between the two snapshots is found."""
        with closing(XenSource("pool", your_settings(), tmp_path / "run")) as source:
            assert_incremental_is_exact(source, os.environ["HOLDFAST_XEN_MACHINE"], lambda: time.sleep(10))


if HOST is not None:

    class TestYourPool(SourcePortSuite):
        """A pool that the environment names."""

        @pytest.fixture
        def harness(self, tmp_path: Path) -> Iterator[UploadHarness]:
            """A machine of its own for each test."""
            yield from machine(your_settings(), tmp_path / "run")

        @pytest.mark.skip(reason="storage grows disks by more than the MiB that the suite asks for")
        def test_a_grown_disk_is_not_missed(self, source: Source, harness: SourceHarness) -> None:
            """Shown on the simulator."""
