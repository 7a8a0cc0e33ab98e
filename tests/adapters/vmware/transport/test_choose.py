"""The choice of a transport: total, deterministic, never a blocked one, every kind accounted for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import SourceInvalid, SourceUnavailable
from adapters.vmware.transport.choose import SCORES, blockers, choose_transport
from adapters.vmware.transport.facts import KINDS, DiskFacts, ProxyFacts

LUNS = st.frozensets(st.sampled_from(["naa.1", "naa.2"]))
DISKS = st.builds(
    DiskFacts,
    label=st.just("Hard disk 1"),
    datastore=st.sampled_from(["vmfs", "nfs", "vsan", "vvol", "other"]),
    controller=st.sampled_from(["scsi", "nvme", "sata", "ide"]),
    server_uuid=st.sampled_from(["vc-1", "vc-2"]),
    luns=LUNS,
    flat=st.booleans(),
    encrypted=st.booleans(),
    incremental=st.booleans(),
    raw_lun=st.sampled_from([None, "0200"]),
    array_volume=st.sampled_from([None, "vol1"]),
)
PROXIES = st.builds(
    ProxyFacts,
    virtual=st.booleans(),
    machine_server_uuid=st.sampled_from([None, "vc-1"]),
    free_disk_slots=st.integers(0, 2),
    encrypted=st.booleans(),
    luns=LUNS,
    vddk_missing=st.sampled_from([None, "nbdkit has no vddk plugin"]),
    array=st.sampled_from([None, "filer"]),
    array_luns_only=st.booleans(),
)
ALLOWED = st.lists(st.sampled_from(KINDS), unique=True)
REQUESTED = st.none() | st.sampled_from(KINDS)

DISK = DiskFacts("Hard disk 1", "vmfs", "scsi", "vc-1", luns=frozenset({"naa.1"}), flat=True, array_volume="/vol/ds1")
PHYSICAL = ProxyFacts(virtual=False, luns=frozenset({"naa.1"}), vddk_missing=None, array="filer")
VIRTUAL = ProxyFacts(virtual=True, machine_server_uuid="vc-1", free_disk_slots=3, vddk_missing=None)


@given(DISKS, PROXIES, ALLOWED, REQUESTED)
def test_every_kind_is_chosen_or_rejected(
    disk: DiskFacts, proxy: ProxyFacts, allowed: list[str], requested: str | None
) -> None:
    """Whatever the facts, the best kind that is allowed and not blocked is chosen, or the error names each blocker."""
    able = [kind for kind in allowed if not blockers(kind, disk, proxy) and requested in {None, kind}]
    if not able:
        with pytest.raises(SourceUnavailable) as refused:
            choose_transport(disk, proxy, allowed, requested)
        assert refused.value.code == "no-transport"
        for kind in [requested] if requested else KINDS:
            assert all(blocker in refused.value.why for blocker in blockers(kind, disk, proxy))
        return
    choice = choose_transport(disk, proxy, allowed, requested)
    assert choice == choose_transport(disk, proxy, allowed[::-1], requested)
    assert choice.kind == max(able, key=lambda kind: SCORES[kind])
    assert choice.requested == requested
    assert sorted([choice.kind, *(rejected.kind for rejected in choice.rejected)]) == sorted(KINDS)
    assert all(rejected.why for rejected in choice.rejected)


@pytest.mark.parametrize(
    ("kind", "disk", "proxy", "why"),
    [
        ("array_snapshot", {}, {"array": None}, "no storage array"),
        ("array_snapshot", {"array_volume": None}, {}, "not on a volume of the array filer"),
        (
            "array_snapshot",
            {"array_volume": None},
            {"array_luns_only": True},
            "filer presents LUNs, and a file on a LUN",
        ),
        ("array_snapshot", {"array_volume": None, "raw_lun": "0200ab"}, {}, "filer do not name the LUN 0200ab"),
        ("array_snapshot", {"flat": False}, {}, "neither one flat file nor one LUN"),
        ("san", {}, {"virtual": True}, "is a virtual machine"),
        ("san", {}, {"luns": frozenset()}, "does not see the LUN naa.1"),
        ("san", {"luns": frozenset()}, {}, "LUNs of the datastore are not known"),
        ("san", {"datastore": "nfs"}, {}, "NFS"),
        ("san", {"datastore": "vsan"}, {}, "vSAN"),
        ("san", {"datastore": "vvol"}, {}, "vVol"),
        ("san", {}, {"vddk_missing": "no plugin"}, "no plugin"),
        ("san", {"encrypted": True}, {}, "ciphertext"),
        ("array_snapshot", {"encrypted": True}, {}, "ciphertext"),
        ("nbd", {"encrypted": True}, {}, "clear text"),
        ("hotadd", {}, {}, "is not a virtual machine"),
        ("hotadd", {}, {"virtual": True}, "same vCenter"),
        ("hotadd", {"server_uuid": "vc-2"}, {"virtual": True, "machine_server_uuid": "vc-1"}, "same vCenter"),
        ("hotadd", {"controller": "ide"}, {}, "IDE"),
        ("hotadd", {}, {"virtual": True, "free_disk_slots": 0}, "no free SCSI slot"),
        ("hotadd", {"encrypted": True}, {"encrypted": False}, "encrypted"),
        ("hotadd", {}, {"vddk_missing": "no plugin"}, "no plugin"),
        ("nbdssl", {}, {"vddk_missing": "no plugin"}, "no plugin"),
        ("nbd", {}, {"vddk_missing": "no plugin"}, "no plugin"),
        ("http_folder", {"flat": False}, {}, "not one flat file"),
        ("http_folder", {"datastore": "vsan"}, {}, "vSAN"),
        ("http_folder", {"datastore": "vvol"}, {}, "vVol"),
        ("http_folder", {"encrypted": True}, {}, "ciphertext"),
        ("export", {"incremental": True}, {}, "incremental"),
        ("export", {"encrypted": True}, {}, "cannot be exported"),
    ],
)
def test_each_blocker_is_said(kind: str, disk: dict[str, object], proxy: dict[str, object], why: str) -> None:
    """Each obstacle that the trade knows blocks its transport, in words."""
    assert any(why in blocker for blocker in blockers(kind, replace(DISK, **disk), replace(PHYSICAL, **proxy)))


@pytest.mark.parametrize(
    ("proxy", "kind"),
    [
        (PHYSICAL, "array_snapshot"),
        (replace(PHYSICAL, array=None), "san"),
        (VIRTUAL, "hotadd"),
        (replace(VIRTUAL, free_disk_slots=0), "nbdssl"),
        (replace(VIRTUAL, vddk_missing="no plugin"), "http_folder"),
    ],
)
def test_the_best_way_is_taken(proxy: ProxyFacts, kind: str) -> None:
    """With everything allowed the choice falls on what the proxy can do best."""
    assert choose_transport(DISK, proxy, KINDS, None).kind == kind


def test_clear_text_is_taken_only_when_allowed() -> None:
    """The settings' usual list leaves nbd out, and then it is never taken, not even when it is asked for."""
    with pytest.raises(SourceUnavailable, match="settings do not allow it"):
        choose_transport(DISK, VIRTUAL, [kind for kind in KINDS if kind != "nbd"], "nbd")
    assert choose_transport(DISK, VIRTUAL, KINDS, "nbd").kind == "nbd"


def test_what_was_asked_for_is_not_replaced() -> None:
    """A transport that is asked for and blocked is an error, though others would do."""
    with pytest.raises(SourceUnavailable, match="san cannot read Hard disk 1"):
        choose_transport(DISK, VIRTUAL, KINDS, "san")


def test_an_unknown_transport_is_refused() -> None:
    """A kind that does not exist is an error in the settings."""
    with pytest.raises(SourceInvalid, match="smoke"):
        choose_transport(DISK, VIRTUAL, ["smoke"], None)
