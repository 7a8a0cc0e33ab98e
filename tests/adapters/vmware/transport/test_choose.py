"""What is in the way of each transport, and which one is taken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adapters.errors import SourceUnavailable
from adapters.vmware.settings import TRANSPORTS
from adapters.vmware.transport.choose import blockers, choose_transport
from adapters.vmware.transport.facts import KINDS, DiskFacts, ProxyFacts

DISK = DiskFacts("Hard disk 1", "vmfs", "scsi", "vc-1", luns=frozenset({"naa.1"}), flat=True, array_volume="/vol/ds1")
PHYSICAL = ProxyFacts(virtual=False, luns=frozenset({"naa.1"}), vddk_missing=None, array="filer")
VIRTUAL = ProxyFacts(virtual=True, machine_server_uuid="vc-1", free_disk_slots=3, vddk_missing=None)


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
    assert choose_transport(DISK, proxy, KINDS).kind == kind


def test_clear_text_is_taken_only_when_allowed() -> None:
    """Where VDDK is all there is, nbd does not stand in for nbdssl unless it is named, and then the record says so."""
    disk, proxy = replace(DISK, flat=False, incremental=True, encrypted=False), replace(VIRTUAL, free_disk_slots=0)
    assert choose_transport(disk, proxy, TRANSPORTS).kind == "nbdssl"
    assert choose_transport(disk, proxy, ["nbd"]).requested == "nbd"


def test_what_was_asked_for_is_not_replaced() -> None:
    """The only transport that is allowed, if blocked, is an error, though others would do."""
    with pytest.raises(SourceUnavailable, match="this machine is a virtual machine"):
        choose_transport(DISK, VIRTUAL, ["san"])
