"""Every event type there is, and the stable names under which they are stored. Pure."""

from __future__ import annotations

from catalog.domain import access, events, ledger, requests, restoring
from catalog.domain.events import Event

EVENTS: tuple[type[Event], ...] = (
    events.RepositoryInitialised,
    events.PackDamaged,
    events.RepositoryRecovered,
    events.PackSealed,
    events.SourceAdded,
    events.SourceRemoved,
    events.MachineSeen,
    events.RestorePointCommitted,
    events.RestorePointDeleted,
    events.DiskOverwritten,
    events.RunOpened,
    events.RunClosed,
    events.BackupStarted,
    events.SnapshotRequested,
    events.SnapshotCreated,
    events.TransportChosen,
    events.TransportFellBack,
    events.DiskPlanned,
    events.DiskSealed,
    events.ChangeTrackingDistrusted,
    events.SnapshotReleaseRequested,
    events.SnapshotReleased,
    events.SnapshotReleaseFailed,
    events.LeftoverCleaned,
    events.BackupCompleted,
    events.BackupFailed,
    events.BackupInterrupted,
    events.ExtentsRecorded,
    events.ChunksRecorded,
    events.ZerosRecorded,
    events.ConfigurationRecorded,
    events.RestorePointVerified,
    events.RestoreStarted,
    events.RestoreCompleted,
    events.RestoreFailed,
    events.ExportStarted,
    events.ExportStopped,
    restoring.SourceRestoreStarted,
    restoring.SourceRestoreCompleted,
    restoring.SourceRestoreFailed,
    restoring.ConfigurationRestoreStarted,
    requests.BackupRequested,
    requests.SyntheticRequested,
    requests.RestoreRequested,
    requests.VerificationRequested,
    requests.TaskStarted,
    requests.TaskProgressed,
    requests.TaskSucceeded,
    requests.TaskFailed,
    requests.TaskCancelRequested,
    requests.TaskCancelled,
    access.TokenCreated,
    access.TokenRevoked,
    access.AccessRecorded,
    ledger.LedgerPlaceAdded,
    ledger.LedgerPlaceRemoved,
    ledger.CheckpointPublished,
)


def topic_of(event: type[Event]) -> str:
    """The stable name under which an event type is stored, such as `PackSealed/1`."""
    return f"{event.__name__}/{event.SCHEMA}"
