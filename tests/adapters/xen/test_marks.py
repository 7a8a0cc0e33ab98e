"""Our mark: on what we made, and on nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adapters.errors import SourceInvalid
from adapters.xen.marks import DISK_KEY, disk_mark, is_disk_of, is_snapshot_name_of, snapshot_name
from adapters.xen.records import vdi_of
from tests.adapters.xen.records import vdi_record

MACHINE, OTHER = "11111111-0000-0000-0000-000000000001", "22222222-0000-0000-0000-000000000002"


def test_a_snapshot_is_known_by_its_name_alone() -> None:
    """The name is given when the snapshot is made, so there is no moment in which it is nobody's."""
    name = snapshot_name("holdfast-abc", MACHINE)
    assert name.startswith("holdfast-abc-")
    assert is_snapshot_name_of(name, MACHINE)
    assert not is_snapshot_name_of(name, OTHER)


@pytest.mark.parametrize(
    "name", ["", "holdfast-abc", "holdfast-abc-0123456789abcdef", "before the update", "holdfast--"]
)
def test_what_somebody_named_like_ours_is_not_ours(name: str) -> None:
    """A name that begins like ours does not end like ours."""
    assert not is_snapshot_name_of(name, MACHINE)


def test_a_disk_is_known_by_its_machine_and_itself() -> None:
    """Its mark names its machine, so that no other machine's reconcile touches it, and itself: no copy has it."""
    mark = disk_mark("holdfast-abc", MACHINE, "disk-1")
    marked = vdi_of("", vdi_record(uuid="disk-1", is_a_snapshot=True, other_config={DISK_KEY: mark}))
    assert is_disk_of(marked, MACHINE)
    for other in (replace(marked, uuid="disk-2"), replace(marked, snapshot=False), replace(marked, other_config={})):
        assert not is_disk_of(other, MACHINE)
    assert not is_disk_of(marked, OTHER)


@pytest.mark.parametrize("label", ["", "-a", "a b", "a" * 65, "a\n"])
def test_labels(label: str) -> None:
    """What cannot be a name is refused before anything is asked of the pool."""
    with pytest.raises(SourceInvalid):
        snapshot_name(label, MACHINE)
