"""What a machine is made of, beside its disks: complete enough to make it again, and without secrets."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any
from xmlrpc.client import loads

import pytest

from adapters.port import ConfigurationFile
from adapters.xen.configuration import without_secrets
from adapters.xen.source import XenSource
from tests.adapters.xen.freezes import frozen
from tests.support.xapi import XapiSimulator
from tests.support.xapi.metadata import PATH, VTPM_STATE, serve_metadata


def files_of(source: XenSource) -> dict[str, bytes]:
    """The configuration of a snapshot, by the names of its files."""
    with frozen(source, "web") as snapshot:
        return {file.name: file.content for file in snapshot.configuration}


def document(source: XenSource) -> dict[str, Any]:
    """Our own file of it."""
    found: dict[str, Any] = json.loads(files_of(source)["config.json"])
    return found


def test_the_records_and_the_pools_own_export(pool: XapiSimulator, source: XenSource) -> None:
    """VM, VBDs, VDIs and VIFs with storage and network by uuid and name; beside them the export of the metadata."""
    serve_metadata(pool)
    files = files_of(source)
    assert files.keys() == {"config.json", "ova.xml"}
    told = json.loads(files["config.json"])
    assert told["machine"] == told["VM"]["uuid"]
    assert told["VM"]["memory_static_max"] == 512 << 20
    disk, drive = told["VBDs"]
    assert disk["VDI"]["virtual_size"] == 4 << 20
    assert disk["SR"]["name_label"] == "local"
    assert drive["type"] == "CD"
    assert told["VIFs"][0]["network"]["name_label"] == "Management"
    (exported,), _ = loads(files["ova.xml"])
    assert exported["objects"][0]["snapshot"]["name_label"] == "web"


def test_no_references_and_nothing_that_changes_by_itself(pool: XapiSimulator, source: XenSource) -> None:
    """The same machine gives the same JSON whatever it does, and nothing in it is good in one database only."""
    before = files_of(source)["config.json"]
    pool.write("web", 0, 0, b"busy")
    pool.records.set("VM", pool.vm("web"), domid=77)
    assert files_of(source)["config.json"] == before
    assert b"OpaqueRef" not in before


def test_secrets_are_left_out_and_named(pool: XapiSimulator, source: XenSource) -> None:
    """Keys that are named like secrets, and what a virtual TPM holds, are in neither file."""
    serve_metadata(pool)
    vm = pool.vm("web")
    pool.records.set("VM", vm, other_config={"admin_password": "c4nary-1", "folder": "/a"})
    pool.records.set("VM", vm, xenstore_data={"vm-data/api-token": "c4nary-2"})
    files = files_of(source)
    said = b"".join(files.values())
    for secret in (b"c4nary-1", b"c4nary-2", VTPM_STATE.encode()):
        assert secret not in said
    told = json.loads(files["config.json"])
    assert told["VM"]["other_config"]["folder"] == "/a"
    assert {"VM.other_config: admin_password", "VM.xenstore_data: vm-data/api-token"} <= set(told["withheld"])
    assert any("content" in name for name in told["withheld"])


def test_the_session_is_in_neither_file(pool: XapiSimulator, source: XenSource) -> None:
    """What we log in with is no part of a machine."""
    serve_metadata(pool)
    files = files_of(source)
    session = source._session.session_id().reveal().encode()
    assert all(session not in content for content in files.values())


@pytest.mark.parametrize("answer", [b"", b"no archive", b"\0" * 10240])
def test_an_export_that_cannot_be_read_is_said(pool: XapiSimulator, source: XenSource, answer: bytes) -> None:
    """The backup goes on without it, and our file says why: it is enough to make the machine again."""
    pool.http[PATH] = lambda request: request.send(200, {"Content-Length": str(len(answer))}, [answer])
    told = document(source)
    assert told["export_missing"].startswith("it cannot be read")


def test_an_export_that_is_refused_is_said(source: XenSource) -> None:
    """A pool without it, or a user without the right to it, costs that file only."""
    files = files_of(source)
    assert files.keys() == {"config.json"}
    assert "404" in json.loads(files["config.json"])["export_missing"]


def test_too_much_is_not_kept(pool: XapiSimulator, source: XenSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that sends without end fills no memory."""
    monkeypatch.setattr("adapters.xen.configuration.MOST_EXPORT_BYTES", 1000)
    serve_metadata(pool)
    assert "too large" in document(source)["export_missing"]


@pytest.mark.parametrize("content", [b"<value>", b"<value><struct/></value><value/>", b"\xff", b"{}", b""])
def test_an_export_of_something_else_is_refused(content: bytes) -> None:
    """A file that is no value of XML-RPC is an error that is told, and no crash."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("ova.xml")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    with pytest.raises(ValueError, match="cannot be read"):
        without_secrets(archive.getvalue(), set())


def test_names_are_unique(pool: XapiSimulator, source: XenSource) -> None:
    """Each file has a name of its own."""
    serve_metadata(pool)
    with frozen(source, "web") as snapshot:
        names = [file.name for file in snapshot.configuration]
        assert all(isinstance(file, ConfigurationFile) for file in snapshot.configuration)
    assert len(set(names)) == len(names)
