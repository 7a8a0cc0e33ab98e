"""From a pool's word on its storage to the form that a disk is exported in."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from adapters.xen.source import XenSource
from tests.adapters.xen.freezes import machine_named, request
from tests.conformance.source_harness import read, reading
from tests.support.nbd_peers import need
from tests.support.xapi import XapiSimulator
from tests.support.xapi.building import DiskSpec, MachineSpec, SrSpec
from tests.support.xapi.data import EXPORT, serve_streams

MIB = 1 << 20


@pytest.mark.parametrize(
    ("formats", "size_bytes", "asked"),
    [
        (("raw", "vhd", "qcow2"), MIB, "vhd"),
        (("raw", "vhd", "qcow2"), 2 * MIB, "qcow2"),
        (("raw", "vhd"), 2 * MIB, "raw"),
        ((), 2 * MIB, "raw"),
    ],
)
def test_a_disk_is_exported_as_its_storage_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, formats: tuple[str, ...], size_bytes: int, asked: str
) -> None:
    """A VHD as far as one reaches, beyond it a qcow2 of storage whose manager names it, else every byte."""
    need("qemu-img", "qemu-nbd")
    monkeypatch.setattr("adapters.xen.transport.exportread.MOST_VHD_BYTES", MIB)
    machines, srs = [MachineSpec("vm", disks=(DiskSpec(size_bytes),))], (SrSpec("local", image_formats=formats),)
    with XapiSimulator(tmp_path / "pool", machines, srs=srs) as pool:
        serve_streams(pool)
        pool.write("vm", 0, 70_000, Random(1).randbytes(100_000))
        inner, seen = pool.http[EXPORT], list[str]()
        pool.http[EXPORT] = lambda request: (seen.append(request.query["format"]), inner(request))[1]
        source = XenSource("pool", pool.settings(), tmp_path / "run")
        try:
            machine = machine_named(source, "vm")
            snapshot = source.snapshot(machine, request(machine))
            with reading(snapshot.disks["0"]) as reader:
                assert read(reader, 0, size_bytes) == pool.content("vm")
            snapshot.release(committed=False)
        finally:
            source.close()
        assert seen == [asked]
