"""A Samba with one folder, shared as an administrative drive is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.hyperv.smb.files import SmbFiles
from tests.support.samba_server import Samba, samba_server


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """What is on drive C."""
    folder = tmp_path / "drive"
    folder.mkdir()
    return folder


@pytest.fixture
def samba(drive: Path) -> Iterator[Samba]:
    """A server of it."""
    with samba_server({"C$": drive}) as server:
        yield server


@pytest.fixture
def files(samba: Samba) -> Iterator[SmbFiles]:
    """Files there."""
    opened = SmbFiles(samba.settings(smb_handles=3))
    yield opened
    opened.close()
