"""Answers that are not read to their end: each is closed, so that no socket outlives its request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from adapters.errors import AdapterError
from adapters.secret import Secret
from adapters.vmware.configuration import read_file
from adapters.vmware.restore.upload import put_file
from adapters.vmware.session import Session, Timing
from adapters.vmware.settings import VmwareSettings
from adapters.vmware.transport.array.rest import RestServer
from adapters.vmware.transport.export import ExportReader
from adapters.vmware.transport.folder import FolderReader
from adapters.vmware.transport.limits import HostConnections
from adapters.vmware.transport.ranges import HttpsServer
from tests.support.long_answers import LongAnswers, long_answers
from tests.support.nfc_lease_simulator import NfcLease
from tests.support.vmware_access import disk_access

PASSWORD = Secret(lambda: "x")


def session_of(server: LongAnswers) -> Session:
    """What the small files need of a session."""
    settings = VmwareSettings("localhost", "user", PASSWORD, port=server.port, ca_file=server.ca_file)
    parts = {"settings": settings, "timing": Timing(), "host": "vc", "context": server.trust()}
    return cast(Session, SimpleNamespace(**parts, cookie=lambda: "c", touch=lambda: None))


def _configuration(server: LongAnswers, _: Path) -> None:
    read_file(session_of(server), "ds", "vm/vm.vmx", "dc")


def _upload(server: LongAnswers, _: Path) -> None:
    put_file(session_of(server), None, "ds", "vm/x.vmdk", "dc", 3, [memoryview(b"abc")])


def _array(server: LongAnswers, _: Path) -> None:
    RestServer("localhost", server.port, "user", PASSWORD, server.trust()).call("GET", "/api/cluster")


def _folder(server: LongAnswers, _: Path) -> None:
    place = HttpsServer("localhost", server.port, server.trust(), lambda: "c")
    FolderReader(place, "ds", "vm/x.vmdk", "dc", 512, HostConnections("localhost", 1), sleep=lambda _: None)


def _export(server: LongAnswers, runtime_dir: Path) -> None:
    lease = NfcLease({"disk": f"https://localhost:{server.port}/nfc/x/disk-0.vmdk"})
    access: dict[str, Any] = {"port": server.port, "ssl_context": server.trust(), "export_lease": lambda: lease}
    reader = ExportReader(disk_access(runtime_dir, **access), timeout_seconds=60)
    try:
        list(reader.extents())
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("ask", "status"),
    [
        (_configuration, 200),
        (_configuration, 403),
        (_upload, 403),
        (_array, 200),
        (_array, 500),
        (_folder, 200),
        (_folder, 403),
        (_export, 403),
    ],
)
def test_an_answer_is_closed(tmp_path: Path, ask: Callable[[LongAnswers, Path], None], status: int) -> None:
    """Whatever its status, an answer that is longer than we want is an error, and its socket is closed with it."""
    with long_answers(tmp_path / "ca", status) as server:
        with pytest.raises(AdapterError):
            ask(server, tmp_path / "run")
        assert server.all_closed()


def test_an_accepted_upload_is_closed(tmp_path: Path) -> None:
    """So is one of an upload that was taken."""
    with long_answers(tmp_path / "ca") as server:
        _upload(server, tmp_path)
        assert server.all_closed()
