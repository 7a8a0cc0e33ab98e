"""The VMware adapter keeps the source port, but for change tracking, on servers that are not ours.

vcsim is a third party's simulator. A vCenter or ESXi host of yours is used where the environment names one:
HOLDFAST_VSPHERE is its host (HOLDFAST_VSPHERE_PORT its port), HOLDFAST_VSPHERE_USER and HOLDFAST_VSPHERE_PASSWORD log
in, HOLDFAST_VSPHERE_FINGERPRINT is the SHA-256 of its certificate. The suite makes and removes machines named
`holdfast-conformance-…` there, of 2 MiB each, and changes no other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from adapters.secret import Secret
from adapters.vmware.settings import VmwareSettings
from tests.conformance.source_port import SourcePortSuite
from tests.support.upload_harness import UploadHarness
from tests.support.vcsim_process import Vcsim

HOST = os.environ.get("HOLDFAST_VSPHERE")


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


if HOST is not None:

    class TestYourServer(SourcePortSuite):
        """A vCenter or an ESXi host that the environment names."""

        @pytest.fixture
        def harness(self, tmp_path: Path) -> Iterator[UploadHarness]:
            """A machine of its own for each test."""
            settings = VmwareSettings(
                HOST,
                os.environ["HOLDFAST_VSPHERE_USER"],
                Secret(lambda: os.environ["HOLDFAST_VSPHERE_PASSWORD"]),
                port=int(os.environ.get("HOLDFAST_VSPHERE_PORT", "443")),
                fingerprint=os.environ["HOLDFAST_VSPHERE_FINGERPRINT"],
            )
            yield from machine(settings, tmp_path / "run")
