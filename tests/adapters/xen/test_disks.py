"""Which disks a snapshot can hold and what tracks them, by what the pool says of itself now."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.xen.disks import Disk, disks_of
from adapters.xen.records import repository_of, vbd_of, vdi_of
from tests.adapters.xen.records import sm_record, sr_record, vbd_record, vdi_record

ABLE = ("VDI_SNAPSHOT", "VDI_CONFIG_CBT")


def disk(vdi: dict[str, Any] | None = None, *, features: tuple[str, ...] = ABLE, **vbd: Any) -> Disk | None:
    """The one disk of a machine."""
    repository = repository_of("OpaqueRef:sr", sr_record(), {"OpaqueRef:sm": sm_record(*features)})
    vdis = {} if vdi is None else {"OpaqueRef:vdi": vdi_of("OpaqueRef:vdi", vdi)}
    found = disks_of([vbd_of("OpaqueRef:vbd", vbd_record(**vbd))], vdis, {repository.ref: repository})
    return found[0] if found else None


def test_an_ordinary_disk() -> None:
    """It is known by its place, and changes its identity with the virtual disk there."""
    found = disk(vdi_record())
    assert found is not None
    assert (found.fact.key, found.fact.identity) == ("0", vdi_record()["uuid"])
    assert found.fact.size_bytes == 1 << 20
    assert found.fact.exclusion is None
    assert found.can_track


@pytest.mark.parametrize("vbd", [{"type": "CD"}, {"type": "Floppy"}, {"empty": True}, {"VDI": "OpaqueRef:NULL"}])
def test_drives_and_empty_places_are_no_disks(vbd: dict[str, Any]) -> None:
    """A CD in a drive is not the machine's data."""
    assert disk(vdi_record(), **vbd) is None


@pytest.mark.parametrize(
    ("vdi", "why"),
    [
        ({"sharable": True}, "sharable"),
        ({"on_boot": "reset"}, "reset"),
        ({"sm_config": {"type": "raw"}}, "raw"),
        ({"missing": True}, "does not find"),
    ],
)
def test_disks_that_no_snapshot_holds_say_why(vdi: dict[str, Any], why: str) -> None:
    """Shared, reset, raw and lost disks are listed with a reason and a way out, never left out silently."""
    found = disk(vdi_record(**vdi))
    assert found is not None
    assert found.fact.exclusion is not None
    assert why in found.fact.exclusion.reason
    assert found.fact.exclusion.way_out


def test_a_disk_that_the_pool_does_not_show() -> None:
    """It is listed, and said to be invisible."""
    found = disk(None)
    assert found is not None
    assert found.fact.exclusion is not None


def test_a_repository_without_snapshots_excludes_its_disks() -> None:
    """What counts is the storage manager's word now."""
    found = disk(vdi_record(), features=("VDI_CONFIG_CBT",))
    assert found is not None
    assert found.fact.exclusion is not None
    assert "local (ext)" in found.fact.exclusion.reason


def test_a_repository_without_tracking_can_still_be_backed_up() -> None:
    """Its disks are read in full; a type that is known to track elsewhere is not believed to here."""
    found = disk(vdi_record(), features=("VDI_SNAPSHOT",))
    assert found is not None
    assert found.fact.exclusion is None
    assert not found.can_track


def test_features_of_old_pools() -> None:
    """Where `features` is empty, `capabilities` names them, with versions or without."""
    manager = sm_record() | {"capabilities": ["VDI_SNAPSHOT/2", "VDI_CONFIG_CBT"]}
    assert {"VDI_SNAPSHOT", "VDI_CONFIG_CBT"} <= repository_of("r", sr_record(), {"m": manager}).features


def test_disks_come_in_the_order_of_their_places() -> None:
    """2 is before 10."""
    vbds = [vbd_of(f"b{place}", vbd_record(userdevice=place, VDI=f"v{place}")) for place in ("10", "2", "0")]
    assert [found.fact.key for found in disks_of(vbds, {}, {})] == ["0", "2", "10"]
