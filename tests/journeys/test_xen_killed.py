"""A restore to a Xen pool that is killed for good: the next backup of the pool removes what it had made."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

import pytest

from catalog.domain.restoring import SourceRestoreFailed
from tests.support.eventually import eventually
from tests.support.lab import MIB, Lab
from tests.support.xapi import XapiSimulator
from tests.support.xapi.building import DiskSpec, MachineSpec
from tests.support.xapi.data import serve_streams
from tests.support.xapi.faults import StaySilent
from tests.support.xapi.metadata import serve_metadata


def test_killed_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it lives it is left alone and is no machine; killed with its disks written, it goes, and all say so."""
    monkeypatch.setenv("XEN_PASSWORD", XapiSimulator.password)
    machine = MachineSpec("web", disks=(DiskSpec(2 * MIB),))
    with (
        tempfile.TemporaryDirectory(prefix="hf-") as folder,
        XapiSimulator(tmp_path / "pool", [machine]) as pool,
    ):
        serve_streams(pool)
        serve_metadata(pool)
        pool.write("web", 0, 0, Random(1).randbytes(MIB))
        lab = Lab(Path(folder) / "lab")
        place = ("--host", pool.host, "--port", str(pool.port), "--ca", pool.ca_file)
        lab.ok("source", "add", "p", "--kind", "xen", "--user", pool.user, "--password", "env:XEN_PASSWORD", *place)
        point = lab.backup_one(target="p/web")["restore_point"]
        pool.faults.on("VIF.create", StaySilent())
        process = lab.start("restore", point, "--to-source", "p", "--as", "half")
        try:
            drives = "the machine's drive, which comes after its disk"
            eventually(lambda: len(pool.records.find("VBD", type="CD")) == 2, drives, seconds=120)
            assert [record["machine"] for record in lab.backup(target="p")] == ["web"]
            assert pool.content("half") == pool.content("web")
        finally:
            process.kill()
            process.communicate()
        answer = lab.ok("backup", "p")
        assert "a restore of half had died; machine half: removed; disk" in answer.err
        assert pool.records.find("VM", name_label="half") == []
        assert len(pool.records.find("VDI", type="user")) == 1
        assert [failed.code for failed in lab.of_type(SourceRestoreFailed)] == ["found-dead"]
        assert lab.json("restore", point, "--to-source", "p", "--as", "half")["machine"] == "half"
