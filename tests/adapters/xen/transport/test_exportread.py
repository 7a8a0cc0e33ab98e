"""Exported VDIs: the whole disk or an error, whatever the status said, and the changes between two of them."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import (
    AdapterError,
    SourceCorrupt,
    SourceDenied,
    SourceInvalid,
    SourceLimit,
    SourceNotFound,
    SourceUnavailable,
)
from adapters.port import Extent
from adapters.spool import Spool
from adapters.xen.transport.exportread import MOST_VHD_BYTES, ExportRead, export_format, exported_changes
from tests.adapters.xen.transport.pools import MIB, SIZE, PoolLab, pool_lab
from tests.support.xapi.faults import CutStream, FailTask, StaySilent

GET = "GET /export_raw_vdi"
Open = Callable[..., ExportRead]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PoolLab]:
    """A pool of one host."""
    with pool_lab(tmp_path) as made:
        yield made


@pytest.fixture
def open_export(lab: PoolLab) -> Iterator[Open]:
    """Open readers of a snapshot, and close them at the end; no task and no spool is left."""
    readers: list[ExportRead] = []

    def opened(
        format: Any = None, spool: Spool | None = None, timeout_seconds: float = 10, **changes: Any
    ) -> ExportRead:
        access = lab.access(lab.snapshot())
        reader = ExportRead(replace(access, **changes), format=format, timeout_seconds=timeout_seconds, spool=spool)
        readers.append(reader)
        return reader

    yield opened
    for reader in readers:
        reader.close()
    assert not lab.pool.records.find("task")
    assert not [path for path in lab.runtime_dir.glob("*") if path.name.startswith("spool")]


def read(reader: ExportRead, offset: int = 0, length: int = SIZE) -> bytes:
    """Read a range into bytes."""
    buffer = bytearray(length)
    reader.pread_into(offset, memoryview(buffer))
    return bytes(buffer)


def refused(reader: ExportRead, lab: PoolLab) -> AdapterError:
    """Return what listing raises; reading the end raises the same."""
    with pytest.raises(AdapterError) as listing:
        list(reader.extents())
    with pytest.raises(type(listing.value)):
        read(reader, SIZE - 512, 512)
    shown = f"{listing.value!r} {listing.value} {listing.value.hint} {listing.value.__cause__}"
    assert not any(session in shown for session in lab.session_ids())
    return listing.value


@pytest.mark.parametrize("form", ["raw", "vhd"])
def test_the_disk_is_read(lab: PoolLab, open_export: Open, form: str) -> None:
    """Extents and bytes are the snapshot's, in whatever order they are read, and not the running disk's."""
    content = lab.pool.content("web")
    reader = open_export(form)
    lab.pool.write("web", 0, 0, bytes(MIB))
    extents = list(reader.extents())
    assert [extent.start for extent in extents] == [0, *(extent.end for extent in extents[:-1])]
    assert extents[-1].end == SIZE
    assert all(not any(content[extent.start : extent.end]) for extent in extents if extent.zero)
    if form == "vhd":
        assert Extent(4 * MIB, 2 * MIB, zero=True) in extents
    for offset, length in [(7 * MIB + 5, 1000), (0, SIZE), (SIZE, 0)]:
        assert read(reader, offset, length) == content[offset : offset + length]
    with pytest.raises(SourceInvalid, match="outside the disk"):
        read(reader, SIZE, 1)
    assert (reader.size_bytes, reader.transport) == (SIZE, "export")
    reader.close()
    reader.close()
    with pytest.raises(SourceUnavailable, match="closed"):
        read(reader, 0, 1)


@pytest.mark.parametrize("form", ["raw", "vhd"])
@pytest.mark.parametrize("after", [0, 100, 1500, 5 * MIB])
def test_a_stream_that_is_cut_after_200_is_an_error(lab: PoolLab, open_export: Open, form: str, after: int) -> None:
    """A status of 200 is no disk: a stream that ends early fails every reader, with the reason that the pool gives."""
    lab.pool.faults.on(GET, CutStream(after))
    error = refused(open_export(form), lab)
    assert error.code == "vdi-io-error"
    assert "Device I/O errors" in error.why


@pytest.mark.parametrize("form", ["raw", "vhd"])
def test_a_task_that_fails_after_a_whole_stream_is_an_error(lab: PoolLab, open_export: Open, form: str) -> None:
    """Whole streams of failed tasks are not trusted: the pool knows what it read wrong."""
    lab.pool.faults.on(GET, FailTask("VDI_IO_ERROR", ("the device read wrong",)))
    error = refused(open_export(form), lab)
    assert (type(error), error.code) == (SourceCorrupt, "vdi-io-error")


def test_a_stream_of_another_disk_is_refused(lab: PoolLab, open_export: Open) -> None:
    """More or fewer bytes than the disk has are an error."""
    for form in ("raw", "vhd"):
        for wrong in (-512, 512):
            error = refused_of_size(open_export(form, size_bytes=SIZE + wrong))
            assert isinstance(error, SourceCorrupt)
            assert error.code in {"export-malformed", "export-cut"}


def refused_of_size(reader: ExportRead) -> AdapterError:
    """Return what listing raises."""
    with pytest.raises(AdapterError) as listing:
        list(reader.extents())
    return listing.value


def test_a_silent_host_is_an_error(lab: PoolLab, open_export: Open) -> None:
    """A host that sends nothing more does not hold a backup for ever."""
    lab.pool.faults.on(GET, StaySilent())
    error = refused(open_export("raw", timeout_seconds=0.5), lab)
    assert (type(error), error.code) == (SourceUnavailable, "transfer-silent")


def test_a_dead_session_is_an_error_that_says_so(lab: PoolLab) -> None:
    """A host that does not know the session refuses; the next call logs in again, and the next export is whole."""
    access = lab.access(lab.snapshot())
    stale = lab.session.session_id()

    class Stale:
        ssl_context, call, shown = lab.session.ssl_context, lab.session.call, lab.session.shown

        def session_id(self) -> Any:
            return stale

    lab.pool.expire_sessions()
    reader = ExportRead(replace(access, pool=Stale()), timeout_seconds=60)
    error = refused(reader, lab)
    assert (type(error), error.code) == (SourceDenied, "transfer-refused")
    assert stale.reveal() not in f"{error} {error!r}"
    reader.close()
    again = ExportRead(access)
    assert read(again) == lab.pool.content("web")
    again.close()


def test_a_host_that_does_not_see_the_disk_sends_us_on(tmp_path: Path) -> None:
    """A redirection within the pool is followed, its certificate verified; the session's id is in no URL."""
    with pool_lab(tmp_path, hosts=2) as lab:
        access = replace(lab.access(lab.snapshot()), host=lab.pool.addresses[1])
        reader = ExportRead(access, format="raw", timeout_seconds=60)
        assert read(reader) == lab.pool.content("web")
        reader.close()
        elsewhere = ExportRead(replace(access, hosts=frozenset({lab.pool.addresses[1]})), timeout_seconds=60)
        error = refused(elsewhere, lab)
        assert (type(error), error.code) == (SourceDenied, "redirected-elsewhere")
        elsewhere.close()


def test_an_untrusted_host_is_refused(lab: PoolLab, open_export: Open) -> None:
    """A certificate that the settings do not trust gets no session's id."""

    class Doubting:
        call, shown, session_id = lab.session.call, lab.session.shown, lab.session.session_id
        ssl_context = ssl.create_default_context()

    error = refused(open_export(pool=Doubting()), lab)
    assert (type(error), error.code) == (SourceDenied, "certificate-untrusted")


def test_a_disk_too_large_for_a_vhd_travels_otherwise(lab: PoolLab) -> None:
    """Above xapi's limit for VHDs a VHD is refused before the pool is asked; qcow2 only of storage that has it."""
    sizes = (512, MOST_VHD_BYTES, MOST_VHD_BYTES + 512)
    assert [export_format(size, ()) for size in sizes] == ["vhd", "vhd", "raw"]
    assert [export_format(size, {"vhd", "qcow2"}) for size in sizes] == ["vhd", "vhd", "qcow2"]
    access = replace(lab.access(lab.snapshot()), size_bytes=MOST_VHD_BYTES + 512)
    with pytest.raises(SourceInvalid) as error:
        ExportRead(access, format="vhd")
    assert error.value.code == "vhd-too-large"


def test_a_disk_in_use_is_told_in_the_pools_words(lab: PoolLab) -> None:
    """A disk that a machine writes is no snapshot: 200 and a hang-up, and the reason in the task."""
    reader = ExportRead(lab.access(lab.pool.vdi("web")), timeout_seconds=60)
    assert refused(reader, lab).code == "vdi-in-use"
    reader.close()


def test_a_disk_that_is_gone_is_told(lab: PoolLab) -> None:
    """An export of a VDI that was destroyed is an error of its own."""
    vdi = lab.snapshot()
    access = lab.access(vdi)
    lab.session.call("VDI.destroy", vdi)
    reader = ExportRead(access, timeout_seconds=60)
    with pytest.raises(AdapterError) as error:
        list(reader.extents())
    assert isinstance(error.value, SourceNotFound | SourceInvalid | SourceUnavailable)
    reader.close()


def test_a_full_disk_is_told(lab: PoolLab, open_export: Open) -> None:
    """The spool ends the export before the file system is full."""
    reader = open_export("raw", spool=Spool(lab.runtime_dir, SIZE, free_bytes=lambda _: 1000))
    error = refused(reader, lab)
    assert (type(error), error.code) == (SourceLimit, "spool-full")


def test_closing_in_the_middle_ends_all(lab: PoolLab, open_export: Open) -> None:
    """A reader that is closed while the host is silent does not wait for it."""
    lab.pool.faults.on(GET, StaySilent())
    reader = open_export("raw", None)
    reader.close()


def test_changes_come_from_a_relative_vhd(lab: PoolLab) -> None:
    """What differs from an older snapshot is told in whole blocks: never too little, and nothing far from it."""
    older = lab.snapshot()
    lab.pool.write("web", 0, 5 * MIB, b"new")
    lab.pool.write("web", 0, 0, bytes(MIB))
    lab.pool.write("web", 0, SIZE - 1, b"!")
    newer = lab.snapshot()
    changes = exported_changes(lab.access(newer), lab.access(older).uuid, timeout_seconds=60)
    assert changes == (
        Extent(0, 2 * MIB, zero=False),
        Extent(4 * MIB, 2 * MIB, zero=False),
        Extent(10 * MIB, MIB, zero=False),
    )
    assert exported_changes(lab.access(newer), lab.access(newer).uuid, timeout_seconds=60) == ()
    for fault in (CutStream(4 * MIB), FailTask("VDI_IO_ERROR")):
        lab.pool.faults.on(GET, fault)
        with pytest.raises(AdapterError) as error:
            exported_changes(lab.access(newer), lab.access(older).uuid, timeout_seconds=60)
        assert error.value.code == "vdi-io-error"
    assert not lab.pool.records.find("task")
