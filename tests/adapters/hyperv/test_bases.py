"""Base tokens of Hyper-V: trusted only where nothing speaks against it, refused with the cause where something does."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from adapters.hyperv.bases import judge, points_of, token
from adapters.hyperv.facts import DiskFile, ReferencePoint
from adapters.port import Tracked, Untracked

MACHINE = "0f2a"
DISK = DiskFile("C:\\VMs\\web.vhdx", "disk-1", 1 << 30, None, "vhdx", 512)
POINT = ReferencePoint("Microsoft:1", MACHINE, ("disk-1", "disk-2"), ("rct-1", "rct-2"))
PLACE = "4DE6-17/0/1"
BASE = token(MACHINE, DISK, PLACE, POINT)


def cause(text: str | None, disk: DiskFile = DISK, *points: ReferencePoint, machine: str = MACHINE) -> str | None:
    """Why a base is not trusted."""
    tracking, rct = judge(text, machine, disk, PLACE, {point.id: point for point in points or (POINT,)})
    assert isinstance(tracking, Tracked) == (rct is not None)
    return tracking.cause if isinstance(tracking, Untracked) else None


def test_a_base_is_trusted_on_its_own_disk_and_point() -> None:
    """Then the changes are asked from the tracking id of the reference point on."""
    assert judge(BASE, MACHINE, DISK, PLACE, {POINT.id: POINT}) == (Tracked(), "rct-1")
    assert points_of({"a": BASE, "b": None}, MACHINE) == {"Microsoft:1"}
    assert points_of({"a": BASE, "b": "no token"}, "another machine") == frozenset()


def test_no_base_and_no_token() -> None:
    """What is not a token of ours, or of a version to come, costs a full."""
    assert cause(None) == "no-base"
    for text in ("", "{}", "no json", "\ud800", "x" * 5000, json.dumps(json.loads(BASE) | {"version": 2})):
        assert cause(text) == "base-unreadable"


@pytest.mark.parametrize(
    ("disk", "why"),
    [
        (replace(DISK, virtual_disk_id="disk-9"), "disk-replaced"),
        (replace(DISK, size_bytes=2 << 30), "disk-resized"),
        (replace(DISK, format="vhd"), "rct-unsupported"),
        (replace(DISK, path="D:\\moved\\web_1.avhdx"), None),
    ],
)
def test_another_disk_is_found_out(disk: DiskFile, why: str | None) -> None:
    """A new disk, a resized one and a kind without tracking are read in full; a moved file is the same disk."""
    assert cause(BASE, disk) == why


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ((replace(POINT, id="Microsoft:2"),), "reference-point-gone"),
        ((replace(POINT, rct_ids=("rct-1",)),), "rct-incomplete"),
        ((replace(POINT, disk_ids=("disk-8", "disk-2")),), "rct-missing"),
        ((replace(POINT, disk_ids=("disk-1", "disk-1")),), "rct-missing"),
        ((replace(POINT, rct_ids=("", "rct-2")),), "rct-missing"),
        ((replace(POINT, rct_ids=("rct-9", "rct-2")),), "rct-differs"),
    ],
)
def test_a_reference_point_that_says_less_is_found_out(points: tuple[ReferencePoint, ...], why: str) -> None:
    """A point that is gone, lacks identifiers, or says another thing of the disk than the token costs a full."""
    assert cause(BASE, DISK, *points) == why


def test_a_point_may_name_attachments() -> None:
    """A host that names a disk by the identifier of its attachment means the disk in that place, and no other."""
    named = replace(POINT, disk_ids=("Microsoft:0F2A\\4de6-17\\0\\0\\L", "Microsoft:0F2A\\4de6-17\\0\\1\\L"))
    text = token(MACHINE, DISK, PLACE, named)
    assert judge(text, MACHINE, DISK, PLACE, {POINT.id: named}) == (Tracked(), "rct-2")
    assert judge(text, MACHINE, DISK, "4de6-17/0/0", {POINT.id: named}) == (Untracked("rct-differs"), None)
    assert cause(text, DISK, replace(named, disk_ids=(named.disk_ids[1], named.disk_ids[1]))) == "rct-missing"


def test_another_machine_is_found_out() -> None:
    """A machine that was restored elsewhere has another GUID, and no tracking that is ours."""
    assert cause(BASE, machine="beef") == "machine-replaced"


def test_a_point_without_tracking_gives_a_token_that_says_so() -> None:
    """The reference point is still known as ours, and the next backup tells why it reads in full."""
    incomplete = replace(POINT, rct_ids=("rct-1",))
    base = token(MACHINE, DISK, PLACE, incomplete)
    assert points_of({"a": base}, MACHINE) == {POINT.id}
    assert cause(base, DISK, incomplete) == "rct-incomplete"
    assert cause(base, DISK, POINT) == "rct-missing"
