"""Base tokens and change ids: a base that cannot be trusted is a full of that disk, with its cause."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.port import DiskFact, Tracked, Untracked
from adapters.vmware.changeid import ChangeId, judge, parse, parse_change_id, token
from adapters.vmware.disks import Disk

TRACKING = "52 de c0 d9 b0 12 34 56-78 9a bc de f0 12 34 56"
FACT = DiskFact("6000c29-1", "Hard disk 1", 1 << 30, "disk-6000c29-1", "cbt", 65536)
DISK = Disk(
    fact=FACT,
    device_key=2000,
    uuid="6000c29-1",
    chain=("[ds] vm/vm-000001.vmdk", "[ds] vm/vm.vmdk"),
    change_id=f"{TRACKING}/7",
    backing="FlatVer2",
    datastore="datastore-1",
    controller="scsi",
    rdm=None,
    key_id=None,
)


def base() -> str:
    """The token of the disk as it was."""
    made = token(DISK)
    assert made is not None
    return made


def test_a_base_of_the_same_disk_is_trusted() -> None:
    """Later on the same tracking the changes since the base's own change id can be asked for."""
    later = replace(DISK, change_id=f"{TRACKING}/9", chain=("[ds] vm/vm-000002.vmdk", "[ds] vm/vm.vmdk"))
    assert judge(base(), later) == (Tracked(), f"{TRACKING}/7")


@pytest.mark.parametrize(
    ("now", "cause"),
    [
        (replace(DISK, change_id=None), "tracking-inactive"),
        (replace(DISK, change_id="*"), "tracking-inactive"),
        (replace(DISK, change_id="52 00/8"), "tracking-reset"),
        (replace(DISK, change_id=f"{TRACKING}/6"), "tracking-rewound"),
        (DISK, "tracking-rewound"),
        (replace(DISK, fact=replace(FACT, size_bytes=2 << 30)), "disk-resized"),
        (replace(DISK, fact=replace(FACT, size_bytes=1 << 29)), "disk-resized"),
        (replace(DISK, uuid="6000c29-2"), "disk-replaced"),
        (replace(DISK, uuid=None), "disk-replaced"),
        (replace(DISK, chain=("[other] vm/vm.vmdk",)), "disk-moved"),
    ],
)
def test_a_base_that_does_not_hold_has_a_cause(now: Disk, cause: str) -> None:
    """Tracking that is off, set up anew or taken back, another disk, size or place: each is told apart."""
    assert judge(base(), now) == (Untracked(cause), None)


def test_the_device_key_does_not_matter() -> None:
    """The same disk on another controller is still tracked."""
    assert judge(base(), replace(DISK, change_id=f"{TRACKING}/8", device_key=2001, controller="nvme"))[0] == Tracked()


@pytest.mark.parametrize("text", ["", "{}", "null", "[1]", '{"change_id":"52/1"}', "x" * 9000, "\ud800", "holdfast"])
def test_what_is_no_token_is_untracked(text: str) -> None:
    """Another adapter's token, or none at all, is no base."""
    assert judge(text, DISK) == (Untracked("base-unreadable"), None)


def test_no_base_is_untracked() -> None:
    """A first backup has none."""
    assert judge(None, DISK) == (Untracked("no-base"), None)


@pytest.mark.parametrize(
    "change_id", [None, "", "*", "52", "/1", "52/", "52/-1", "52/1/2", "zz/1", "52/٣", "5" * 200 + "/1"]
)
def test_a_disk_without_a_change_id_has_no_token(change_id: str | None) -> None:
    """None, the wildcard, and what is no change id are never stored as a base."""
    assert parse_change_id(change_id) is None
    assert token(replace(DISK, change_id=change_id)) is None


def test_a_change_id_has_two_parts() -> None:
    """Spaces and dashes of the uuid do not count, as servers print it in both ways."""
    assert parse_change_id("52 DE-c0/12") == ChangeId("52dec0", 12)


@given(st.text(max_size=200))
def test_any_text_is_read_without_a_crash(text: str) -> None:
    """Reading a change id or a token of any text gives a value or None."""
    parse_change_id(text)
    parse(text)
    judge(text, DISK)


@given(st.integers(0, 10**18), st.integers(0, 10**18))
def test_only_a_sequence_that_went_on_is_trusted(then: int, now: int) -> None:
    """Sequences compare as numbers."""
    old = token(replace(DISK, change_id=f"{TRACKING}/{then}"))
    tracking, _ = judge(old, replace(DISK, change_id=f"{TRACKING}/{now}"))
    assert (tracking == Tracked()) == (now > then)
