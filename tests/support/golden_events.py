"""One example of each event, and the files that hold how it was first stored.

    python -m tests.support.golden_events

writes the files of events that have none yet. A file is never written again: an event of another shape is
a new schema number, and gets a file of its own beside the old one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from catalog.domain import access, ledger, requests, restoring
from catalog.domain import events as ev
from catalog.domain.events import Event
from catalog.domain.facts import ConfigurationPart, DiskLeftOut, DiskPoint, DiskSeen, TransportPassedOver
from catalog.domain.topics import topic_of
from catalog.log.mapper import MsgpackMapper
from tests.support.golden_batches import golden_batch

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "events"

AT = datetime(2026, 3, 29, 1, 59, 59, 123456, tzinfo=UTC)
RUN = UUID("0b5c6f0a-51cc-4d9c-b8b1-6d2f3e0a0001")
MACHINE = UUID("0b5c6f0a-51cc-4d9c-b8b1-6d2f3e0a0002")
DISK = UUID("0b5c6f0a-51cc-4d9c-b8b1-6d2f3e0a0003")
SOURCE = UUID("0b5c6f0a-51cc-4d9c-b8b1-6d2f3e0a0004")
POINT = UUID("0b5c6f0a-51cc-4d9c-b8b1-6d2f3e0a0005")
TASK = UUID("0b5c6f0a-51cc-4d9c-b8b1-6d2f3e0a0006")
LABEL = "holdfast-0b5c6f0a51cc4d9cb8b16d2f3e0a0001"

DISK_SEEN = DiskSeen(
    disk_id=DISK,
    key="drive-virtio-disk0",
    label="vda",
    size_bytes=1 << 40,
    identity="naa.600a098000",
    tracking="bitmap",
    granularity_bytes=65_536,
)
DISK_EXCLUDED = DiskSeen(
    disk_id=RUN,
    key="drive-virtio-disk1",
    label="vdb",
    size_bytes=0,
    identity="",
    tracking="compare",
    granularity_bytes=0,
    excluded_reason="physical mapping",
    way_out="use an agent in the guest",
)
DISK_POINT = DiskPoint(
    disk_id=DISK,
    label="vda",
    identity="naa.600a098000",
    seq=7,
    parent_seq=6,
    run_id=RUN,
    level="incremental",
    cause="tracked",
    size_bytes=1 << 40,
    chunk_bytes=262_144,
    changed_bytes=123_456_789,
    read_bytes=123_731_968,
    new_chunks=400,
    stored_bytes=51_234_567,
    chunk_rows=470,
    zero_blocks=2,
    extent_rows=311,
    batches=3,
    merkle_root=bytes(range(32)),
    base_token="holdfast-base-7",
)
ASKED: dict[str, Any] = {"requested_by": "ada", "idempotency_key": "monday-1"}
IN_TASK: dict[str, Any] = {"machine_id": MACHINE, "restore_point_id": POINT, "disk_id": DISK}

GIVEN_BACK: dict[str, Any] = {"machine_id": MACHINE, "restore_point_id": POINT, "source": "lab"}


def _at(stream: UUID, version: int) -> dict[str, Any]:
    return {"originator_id": stream, "originator_version": version, "recorded_at": AT}


def _batch(name: str, rows: int, first: int, last: int) -> dict[str, Any]:
    return {
        **_at(TASK, 1),
        "run_id": RUN,
        "disk_id": DISK,
        "seq": 7,
        "schema_id": 1,
        "rows": rows,
        "first": first,
        "last": last,
        "batch": golden_batch(name).read_bytes(),
    }


EXAMPLES: tuple[Event, ...] = (
    ev.RepositoryInitialised(
        **_at(SOURCE, 1),
        format=1,
        chunk_bytes=262_144,
        pack_bytes=64 << 20,
        compression_level=1,
        encrypted=True,
        key_id="4f1c2a",
    ),
    ev.PackDamaged(**_at(SOURCE, 2), pack_id=bytes(range(16)), problem="footer does not verify"),
    ev.RepositoryRecovered(**_at(SOURCE, 3), position=4711, head=bytes(range(32)), lost=("events/1-2.seg: damaged",)),
    ev.PackSealed(
        **_at(POINT, 1),
        pack_id=bytes(range(16)),
        size_bytes=67_108_000,
        chunks=301,
        body_hash=bytes(range(32, 64)),
        run_id=RUN,
        adopted=False,
    ),
    ev.SourceAdded(**_at(SOURCE, 1), name="lab", kind="qemu", settings={"socket": "/run/vm/qmp.sock", "é": ""}),
    ev.SourceRemoved(**_at(SOURCE, 2), name="lab"),
    ev.MachineSeen(
        **_at(MACHINE, 1),
        source_id=SOURCE,
        source="lab",
        key="i-01",
        name="db é 1",
        disks=(DISK_SEEN, DISK_EXCLUDED),
    ),
    ev.RestorePointCommitted(
        **_at(MACHINE, 9),
        restore_point_id=POINT,
        run_id=RUN,
        source="lab",
        machine="db é 1",
        origin="backup",
        result="partial",
        consistency="filesystem",
        disks=(DISK_POINT,),
        left_out=(DiskLeftOut(disk_id=RUN, label="vdb", reason="physical mapping", way_out="use an agent"),),
        of_restore_point=None,
        taken_at=AT,
    ),
    ev.RestorePointDeleted(
        **_at(MACHINE, 11),
        restore_point_id=POINT,
        actor="ada",
        rule="manual",
        reason="holds a key that leaked",
        kept_for=(SOURCE,),
    ),
    ev.DiskOverwritten(**_at(MACHINE, 12), disk_id=DISK, restore_point_id=POINT),
    ev.RunOpened(**_at(MACHINE, 8), run_id=RUN, label=LABEL),
    ev.RunClosed(**_at(MACHINE, 10), run_id=RUN, outcome="completed"),
    ev.BackupStarted(
        **_at(RUN, 1), machine_id=MACHINE, source="lab", machine="db é 1", label=LABEL, full_requested=False
    ),
    ev.SnapshotRequested(**_at(RUN, 2), machine_id=MACHINE, label=LABEL, disks=(DISK,), consistency="filesystem"),
    ev.SnapshotCreated(
        **_at(RUN, 3), machine_id=MACHINE, label=LABEL, consistency="crash", fallback_cause="guest-agent-silent"
    ),
    ev.TransportChosen(
        **_at(RUN, 4),
        disk_id=DISK,
        kind="nbdssl",
        requested=None,
        rejected=(TransportPassedOver(kind="san", why="no LUN of datastore é is visible here"),),
    ),
    ev.TransportFellBack(**_at(RUN, 5), disk_id=DISK, chosen="san", actual="nbdssl"),
    ev.DiskPlanned(
        **_at(RUN, 4),
        disk_id=DISK,
        seq=7,
        parent_seq=6,
        level="incremental",
        cause="tracked",
        method="tracked",
        transport="nbd",
    ),
    ev.DiskSealed(**_at(RUN, 5), disk=DISK_POINT),
    ev.ChangeTrackingDistrusted(
        **_at(RUN, 4), machine_id=MACHINE, disk_id=DISK, sampled_blocks=64, mismatched_blocks=2, first_mismatch=99
    ),
    ev.SnapshotReleaseRequested(**_at(RUN, 6), machine_id=MACHINE, label=LABEL, committed=True),
    ev.SnapshotReleased(**_at(RUN, 7), machine_id=MACHINE, label=LABEL),
    ev.SnapshotReleaseFailed(
        **_at(RUN, 7), machine_id=MACHINE, label=LABEL, code="connection-lost", why="the monitor closed"
    ),
    ev.LeftoverCleaned(**_at(RUN, 2), machine_id=MACHINE, what="bitmap holdfast-6", action="removed"),
    ev.BackupCompleted(**_at(RUN, 8), machine_id=MACHINE, restore_point_id=POINT),
    ev.BackupFailed(**_at(RUN, 8), machine_id=MACHINE, kind="unavailable", code="connection-lost", why="no answer"),
    ev.BackupInterrupted(**_at(RUN, 8), machine_id=MACHINE, cause="signal"),
    ev.ExtentsRecorded(**_batch("extents", 3, 0, (1 << 41) - 1)),
    ev.ChunksRecorded(**_batch("chunks", 4, 5, 4_294_967_295)),
    ev.ZerosRecorded(**_batch("zeros", 2, 1, 4_294_967_295)),
    ev.ConfigurationRecorded(
        **_at(TASK, 1),
        machine_id=MACHINE,
        run_id=RUN,
        chunk_bytes=262_144,
        files=(
            ConfigurationPart(name="config.json", size_bytes=300_000, digest=bytes(range(32)), first_block=0),
            ConfigurationPart(name="db é 1.nvram", size_bytes=8684, digest=bytes(range(32, 64)), first_block=2),
        ),
        schema_id=1,
        batch=golden_batch("chunks").read_bytes(),
    ),
    ev.RestorePointVerified(
        **_at(POINT, 1),
        machine_id=MACHINE,
        level="content",
        result="damaged",
        chunks=470,
        checked_bytes=51_234_567,
        problems=("pack 0001: missing",),
    ),
    ev.RestoreStarted(**_at(TASK, 1), **IN_TASK, format="qcow2", without_index=True, fallback_cause="index-missing"),
    ev.RestoreCompleted(**_at(TASK, 2), **IN_TASK, size_bytes=1 << 40, data_bytes=123_456_789),
    ev.RestoreFailed(**_at(TASK, 2), **IN_TASK, kind="limit", code="disk-full", why="no space left"),
    ev.ExportStarted(**_at(TASK, 1), **IN_TASK, address="127.0.0.1:10809"),
    ev.ExportStopped(**_at(TASK, 2), **IN_TASK, read_bytes=4096),
    restoring.SourceRestoreStarted(
        **_at(TASK, 1),
        **GIVEN_BACK,
        machine="db é 1 again",
        label="holdfast-restore-0b5c6f0a51cc4d9cb8b16d2f3e0a0006",
        target="new-machine",
        disks=(DISK,),
        without_index=True,
        fallback_cause="index-missing",
    ),
    restoring.SourceRestoreCompleted(
        **_at(TASK, 2),
        **GIVEN_BACK,
        key="i-02",
        machine="db é 1 again",
        written_bytes=123_456_789,
        notes=("the network lab-2 is not there",),
    ),
    restoring.SourceRestoreFailed(
        **_at(TASK, 2), **GIVEN_BACK, kind="conflict", code="machine-running", why="it is powered on"
    ),
    restoring.ConfigurationRestoreStarted(
        **_at(TASK, 1), machine_id=MACHINE, restore_point_id=POINT, files=("config.json", "db é 1.nvram")
    ),
    requests.BackupRequested(**_at(TASK, 1), **ASKED, source="lab", machine_id=MACHINE, full=True),
    requests.SyntheticRequested(**_at(TASK, 1), **ASKED, machine_id=MACHINE, restore_point_id=POINT),
    requests.RestoreRequested(**_at(TASK, 1), **ASKED, **IN_TASK, format="qcow2", to="db/monday.qcow2"),
    requests.VerificationRequested(
        **_at(TASK, 1), **ASKED, machine_id=MACHINE, restore_point_id=POINT, level="content"
    ),
    requests.TaskStarted(**_at(TASK, 2), worker="backup1:4711", attempt=1),
    requests.TaskProgressed(**_at(TASK, 3), what="db é 1: vda", done_bytes=1 << 30, total_bytes=1 << 40),
    requests.TaskSucceeded(**_at(TASK, 4), restore_points=(POINT,), partial=True, detail="vdb was left out"),
    requests.TaskFailed(**_at(TASK, 4), kind="unavailable", code="connection-lost", why="no answer"),
    requests.TaskCancelRequested(**_at(TASK, 3), requested_by="ada"),
    requests.TaskCancelled(**_at(TASK, 4)),
    access.TokenCreated(
        **_at(TASK, 1),
        name="grafana",
        role="auditor",
        machines=("lab/db*",),
        digest=bytes(range(32)),
        created_by="ada",
        expires_at=AT,
    ),
    access.TokenRevoked(**_at(TASK, 2), revoked_by="ada"),
    access.AccessRecorded(
        **_at(TASK, 1),
        caller="grafana",
        caller_kind="token",
        role="auditor",
        operation="query_sql",
        target="/v1/sql",
        detail="SELECT 1",
        address="192.0.2.7",
        status=200,
    ),
    ledger.LedgerPlaceAdded(**_at(SOURCE, 1), name="vault", kind="directory", settings={"path": "/mnt/worm"}),
    ledger.LedgerPlaceRemoved(**_at(SOURCE, 2), name="vault"),
    ledger.CheckpointPublished(
        **_at(SOURCE, 3), size=4711, root=bytes(range(32)), key_id="4f1c2a00", places=("vault",), failed=("mirror",)
    ),
)
OF_OLD_TOPICS: dict[str, Event] = {
    "RestorePointCommitted/1": next(
        msgspec.structs.replace(event, taken_at=None)
        for event in EXAMPLES
        if isinstance(event, ev.RestorePointCommitted)
    ),
}
"""What the files of older shapes decode to."""


def golden_file(topic: str) -> Path:
    """Where the stored state of an event of this topic is kept."""
    return FOLDER / f"{topic.replace('/', '-')}.state"


def write_missing() -> list[Path]:
    """Write the golden files that do not exist; return them."""
    mapper, written = MsgpackMapper(), []
    for event in EXAMPLES:
        path = golden_file(topic_of(type(event)))
        if not path.exists():
            path.write_bytes(mapper.to_stored_event(event).state)
            written.append(path)
    return written


if __name__ == "__main__":
    write_missing()
