"""The VMware adapter keeps the source port on servers that are not ours.

vcsim is a third party's simulator. A vCenter or ESXi host of yours is used where the environment names one:
HOLDFAST_VSPHERE is its host (HOLDFAST_VSPHERE_PORT its port), HOLDFAST_VSPHERE_USER and HOLDFAST_VSPHERE_PASSWORD log
in, HOLDFAST_VSPHERE_FINGERPRINT is the SHA-256 of its certificate. The suite makes and removes machines named
`holdfast-conformance-…` there, of 2 MiB each, and changes no other. Change tracking sees what a guest writes only: it
is put to the test where HOLDFAST_VSPHERE_GUEST is a command as `tests/support/guest_harness.py` says, for the disk
HOLDFAST_VSPHERE_DISK (such as "Hard disk 2", which is overwritten) of the running machine HOLDFAST_VSPHERE_MACHINE.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from adapters.port import Source
from adapters.secret import Secret
from adapters.vmware.settings import VmwareSettings
from adapters.vmware.source import VmwareSource
from tests.adapters.vmware.test_conformance import another_tracking
from tests.conformance.source_port import SourcePortSuite
from tests.conformance.source_tracking import TrackingGuarantees
from tests.support.guest_harness import CommandGuest, GuestHarness
from tests.support.upload_harness import UploadHarness
from tests.support.vcsim_process import Vcsim


def machine(settings: VmwareSettings, runtime_dir: Path) -> Iterator[UploadHarness]:
    """A machine for one test."""
    harness = UploadHarness(settings, f"holdfast-conformance-{uuid4().hex[:8]}", runtime_dir)
    yield harness
    harness.close()


class TestVcsim(SourcePortSuite):
    """The third party's simulator, read through its `/folder`."""

    @pytest.fixture
    def harness(self, vcsim: Vcsim, tmp_path: Path) -> Iterator[UploadHarness]:
        """A machine of its own for each test."""
        yield from machine(vcsim.settings(), tmp_path / "run")


def your_settings() -> VmwareSettings:
    """The server that the environment names."""
    return VmwareSettings(
        os.environ["HOLDFAST_VSPHERE"],
        os.environ["HOLDFAST_VSPHERE_USER"],
        Secret(lambda: os.environ["HOLDFAST_VSPHERE_PASSWORD"]),
        port=int(os.environ.get("HOLDFAST_VSPHERE_PORT", "443")),
        fingerprint=os.environ["HOLDFAST_VSPHERE_FINGERPRINT"],
    )


if "HOLDFAST_VSPHERE" in os.environ:

    class TestYourServer(SourcePortSuite):
        """A vCenter or an ESXi host that the environment names."""

        @pytest.fixture
        def harness(self, tmp_path: Path) -> Iterator[UploadHarness]:
            """A machine of its own for each test."""
            yield from machine(your_settings(), tmp_path / "run")


if "HOLDFAST_VSPHERE_GUEST" in os.environ:

    class TestYourGuest(TrackingGuarantees):
        """A running machine that the environment names."""

        @pytest.fixture
        def harness(self, tmp_path: Path) -> GuestHarness:
            """The machine as it is."""
            return GuestHarness(
                lambda: VmwareSource("vc", your_settings(), tmp_path / "run"),
                os.environ["HOLDFAST_VSPHERE_MACHINE"],
                os.environ["HOLDFAST_VSPHERE_DISK"],
                CommandGuest(shlex.split(os.environ["HOLDFAST_VSPHERE_GUEST"])),
                another_tracking,
            )

        @pytest.fixture
        def source(self, harness: GuestHarness) -> Iterator[Source]:
            """A source of it."""
            source = harness.make_source()
            yield source
            source.close()
