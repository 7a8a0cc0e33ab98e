"""Machines: disks, restore points, chains and bases."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from catalog.domain.events import (
    DiskOverwritten,
    MachineSeen,
    RestorePointCommitted,
    RunClosed,
    RunOpened,
    SourceRemoved,
)
from catalog.domain.facts import DiskPoint, DiskSeen
from catalog.domain.machine import MachineState, RestorePoint
from storage.errors import Conflict, Corrupt, NotFound

SOURCE, RUN, DISK, OTHER_DISK = (UUID(int=number) for number in (2, 3, 4, 5))


def _disk(disk_id: UUID = DISK, key: str = "vda") -> DiskSeen:
    return DiskSeen(
        disk_id=disk_id,
        key=key,
        label=key,
        size_bytes=1 << 30,
        identity="i",
        tracking="bitmap",
        granularity_bytes=65_536,
    )


SEEN: dict[str, Any] = {
    "source_id": SOURCE,
    "source": "lab",
    "key": "vm-1",
    "name": "db1",
    "disks": (_disk(), _disk(OTHER_DISK, "vdb")),
}


def _point(seq: int, parent: int | None, *, disk_id: UUID = DISK, token: str | None = None, **other: Any) -> DiskPoint:
    fields: dict[str, Any] = {
        "disk_id": disk_id,
        "label": "vda",
        "identity": "i",
        "seq": seq,
        "parent_seq": parent,
        "run_id": RUN,
        "level": "full" if parent is None else "incremental",
        "cause": "tracked",
        "size_bytes": 1 << 30,
        "chunk_bytes": 262_144,
        "changed_bytes": 0,
        "read_bytes": 0,
        "new_chunks": 0,
        "stored_bytes": 0,
        "chunk_rows": 0,
        "zero_blocks": 0,
        "extent_rows": 0,
        "batches": 0,
        "merkle_root": bytes(32),
        "base_token": token or f"token-{seq}",
    }
    return DiskPoint(**(fields | other))


def _committed(number: int, *disks: DiskPoint, **other: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "restore_point_id": UUID(int=100 + number),
        "run_id": RUN,
        "source": "lab",
        "machine": "db1",
        "origin": "backup",
        "result": "complete",
        "consistency": "crash",
        "disks": disks,
    }
    return fields | other


def _synthetic(number: int, of: int, *disks: DiskPoint) -> dict[str, Any]:
    return _committed(number, *disks, origin="synthetic", of_restore_point=UUID(int=100 + of), run_id=UUID(int=9))


@pytest.fixture
def state(make: Any) -> MachineState:
    """A machine in the middle of a run, with a full and two incrementals of one disk."""
    points = [_committed(1, _point(1, None)), _committed(2, _point(2, 1)), _committed(3, _point(3, 2))]
    found = MachineState.fold(
        [
            make(MachineSeen, **SEEN),
            make(RunOpened, run_id=RUN, label="holdfast-3"),
            *[make(RestorePointCommitted, **point) for point in points],
        ]
    )
    assert found is not None
    return found


def test_no_events_are_no_machine() -> None:
    """An empty stream is no machine."""
    assert MachineState.fold([]) is None


def test_a_machine_is_what_was_seen_last(make: Any) -> None:
    """Name and disks follow the newest sighting; what identifies the machine stays."""
    state = MachineState.begin(make(MachineSeen, **SEEN))
    assert (state.machine_id, state.source, state.key, state.name) == (UUID(int=1), "lab", "vm-1", "db1")
    renamed = state.apply(make(MachineSeen, **(SEEN | {"name": "db2", "disks": (_disk(),)})))
    assert (renamed.name, renamed.disks, renamed.version) == ("db2", (_disk(),), 2)
    assert state.disk(OTHER_DISK) == _disk(OTHER_DISK, "vdb")
    assert renamed.disk(OTHER_DISK) is None
    with pytest.raises(Conflict) as caught:
        renamed.apply(make(MachineSeen, **(SEEN | {"key": "vm-2"})))
    assert caught.value.code == "machine-differs"


def test_restore_points_are_in_order(state: MachineState) -> None:
    """Restore points are listed as committed, and found by their id."""
    assert [point.restore_point_id.int for point in state.restore_points] == [101, 102, 103]
    point = state.restore_point(UUID(int=102))
    assert isinstance(point, RestorePoint)
    assert (point.machine_id, point.machine, point.disks) == (state.machine_id, "db1", (_point(2, 1),))
    with pytest.raises(NotFound) as caught:
        state.restore_point(UUID(int=999))
    assert caught.value.code == "restore-point-unknown"


def test_an_overwritten_disk_has_no_base_token(state: MachineState, make: Any) -> None:
    """Tracking from before an overwrite is used no more, not even when a synthetic full takes the base's place."""
    after = state.apply(make(DiskOverwritten, disk_id=DISK, restore_point_id=UUID(int=101)))
    assert after.base_tokens() == {}
    base = after.base_point(DISK)
    assert base is not None
    assert (base.seq, base.base_token) == (3, None)
    assert [point.base_token for point in after.points[DISK]] == ["token-1", "token-2", "token-3"]
    synthetic = after.apply(make(RestorePointCommitted, **_synthetic(4, 3, _point(4, None, token="token-3"))))
    assert synthetic.base_tokens() == {}
    again = synthetic.apply(make(RestorePointCommitted, **_committed(5, _point(5, None))))
    assert again.base_tokens() == {"vda": "token-5"}


def test_a_chain_leads_from_the_full(state: MachineState, make: Any) -> None:
    """The points that make up a point are its parents from the full on, and nothing of other points."""
    assert [point.seq for point in state.chain(DISK, 3)] == [1, 2, 3]
    assert [point.seq for point in state.chain(DISK, 1)] == [1]
    side = make(RestorePointCommitted, **_committed(4, _point(4, 2)))
    later = state.apply(side)
    assert [point.seq for point in later.chain(DISK, 4)] == [1, 2, 4]
    assert (state.next_seq(DISK), later.next_seq(DISK), later.next_seq(OTHER_DISK)) == (4, 5, 1)
    assert later.points[DISK][-1] == _point(4, 2)
    assert OTHER_DISK not in later.points
    for disk_id, seq in ((DISK, 5), (DISK, 0), (DISK, -1), (OTHER_DISK, 1)):
        with pytest.raises(NotFound) as caught:
            later.chain(disk_id, seq)
        assert caught.value.code == "disk-point-unknown"


def test_the_base_is_the_newest_backup(state: MachineState) -> None:
    """Incrementals build on the newest backed-up point, whose token is in force for the disk's key."""
    assert state.base_point(DISK) == _point(3, 2)
    assert state.base_point(OTHER_DISK) is None
    assert state.base_tokens() == {"vda": "token-3"}


def test_a_disk_without_a_token_has_none_in_force(state: MachineState, make: Any) -> None:
    """A point without a base token keeps its place as base and lists no token."""
    event = make(RestorePointCommitted, **_committed(4, _point(1, None, disk_id=OTHER_DISK, base_token=None)))
    later = state.apply(event)
    assert later.base_point(OTHER_DISK) is not None
    assert later.base_tokens() == {"vda": "token-3"}


def test_a_synthetic_full_of_the_base_takes_its_place(state: MachineState, make: Any) -> None:
    """The next incremental builds on a synthetic full that says the base again, and on no older one."""
    of_newest = state.apply(make(RestorePointCommitted, **_synthetic(4, 3, _point(4, None, token="token-3"))))
    assert of_newest.base_point(DISK) == _point(4, None, token="token-3")
    assert of_newest.base_tokens() == {"vda": "token-3"}
    of_older = of_newest.apply(make(RestorePointCommitted, **_synthetic(5, 1, _point(5, None, token="token-1"))))
    assert of_older.base_point(DISK) == _point(4, None, token="token-3")
    assert of_older.next_seq(DISK) == 6


def test_runs_are_open_until_they_are_closed(state: MachineState, make: Any) -> None:
    """A run that was opened and not closed is listed with its label."""
    assert state.open_runs == {RUN: "holdfast-3"}
    closed = state.apply(make(RunClosed, run_id=RUN, outcome="completed"))
    assert closed.open_runs == {}


REFUSED: dict[str, tuple[type, dict[str, Any], str]] = {
    "same restore point": (RestorePointCommitted, _committed(3, _point(4, 3)), "restore-point-exists"),
    "seq skipped": (RestorePointCommitted, _committed(4, _point(5, 3)), "point-seq"),
    "seq repeated": (RestorePointCommitted, _committed(4, _point(3, 2)), "point-seq"),
    "disk twice": (RestorePointCommitted, _committed(4, _point(4, 3), _point(4, 3)), "point-seq"),
    "own parent": (RestorePointCommitted, _committed(4, _point(4, 4)), "point-parent"),
    "no such parent": (RestorePointCommitted, _committed(4, _point(4, 0)), "point-parent"),
    "full with parent": (RestorePointCommitted, _committed(4, _point(4, 3, level="full")), "point-parent"),
    "incremental alone": (RestorePointCommitted, _committed(4, _point(4, None, level="incremental")), "point-parent"),
    "chunk size": (RestorePointCommitted, _committed(4, _point(4, 3, chunk_bytes=65_536)), "point-chunk-size"),
    "foreign run": (RestorePointCommitted, _committed(4, _point(4, 3), run_id=SOURCE), "run-not-open"),
    "synthetic increment": (RestorePointCommitted, _synthetic(4, 3, _point(4, 3)), "point-synthetic"),
    "synthetic of nothing": (RestorePointCommitted, _synthetic(4, 9, _point(4, None)), "point-synthetic"),
    "run opened twice": (RunOpened, {"run_id": RUN, "label": "x"}, "run-open"),
    "other run closed": (RunClosed, {"run_id": SOURCE, "outcome": "failed"}, "run-not-open"),
    "event of a source": (SourceRemoved, {"name": "lab"}, "event-unexpected"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_happen_to_a_machine(state: MachineState, make: Any, name: str) -> None:
    """Each impossible next event is a conflict with its own code, and the state stays as it was."""
    kind, fields, code = REFUSED[name]
    with pytest.raises(Conflict) as caught:
        state.apply(make(kind, **fields))
    assert caught.value.code == code
    assert state.version == 5


def test_a_recorded_contradiction_is_corrupt(make: Any) -> None:
    """A stream that does not begin with a sighting, or skips a version, is not folded into a guess."""
    opened = make(RunOpened, run_id=RUN, label="x")
    with pytest.raises(Corrupt) as caught:
        MachineState.fold([opened])
    assert caught.value.code == "event-unexpected"
    with pytest.raises(Corrupt) as caught:
        MachineState.fold([make(MachineSeen, **SEEN)])
    assert caught.value.code == "event-version"
