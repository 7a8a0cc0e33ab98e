"""What was given back to a source, and which configurations were written to files: in the streams of their tasks.

Pure; the rule of `events` holds here too. Files and NBD exports of disks are in `events`.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from catalog.domain.events import Event


class SourceRestoreStarted(Event, frozen=True, kw_only=True):
    """Disks of a restore point are about to be written at a source, and all that is made there carries `label`.

    To a new machine `machine`, or over a disk of the machine `machine` that is there. Should no later event follow,
    what was made may still be there.
    """

    machine_id: UUID
    restore_point_id: UUID
    source: str
    machine: str
    label: str
    target: Literal["new-machine", "in-place"]
    disks: tuple[UUID, ...]
    without_index: bool
    fallback_cause: str | None = None


class SourceRestoreCompleted(Event, frozen=True, kw_only=True):
    """The disks are written, every chunk in them verified; `key` and `machine` are what the source calls it."""

    machine_id: UUID
    restore_point_id: UUID
    source: str
    key: str
    machine: str
    written_bytes: int
    notes: tuple[str, ...]


class SourceRestoreFailed(Event, frozen=True, kw_only=True):
    """The restore ended early; `why` names what is left of it at the source, if anything."""

    machine_id: UUID
    restore_point_id: UUID
    source: str
    kind: str
    code: str
    why: str


class ConfigurationRestoreStarted(Event, frozen=True, kw_only=True):
    """The configuration of a restore point is about to be written to files, by the names that it had at its source."""

    machine_id: UUID
    restore_point_id: UUID
    files: tuple[str, ...]
