"""Giving machines back to a source: a new machine from a restore point, or one disk of the machine that is there.

Imports `adapters.port` and `catalog`. What is about to happen is recorded before it does; a disk that is about to be
overwritten loses its base in the same transaction, so that no later incremental builds on tracking that missed it.
A source that refuses is asked before: its refusal costs no base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Literal, cast
from uuid import UUID

from adapters.errors import AdapterError
from adapters.port import DiskFact, MachineFact, MachineRestore, RestoredMachine, RestoringSource, Source
from catalog.domain.events import DiskOverwritten, Event, MachineSeen
from catalog.domain.facts import DiskPoint
from catalog.domain.ids import disk_id as disk_id_of
from catalog.domain.machine import RestorePoint
from catalog.domain.restoring import SourceRestoreCompleted, SourceRestoreFailed, SourceRestoreStarted
from catalog.log import EventLog
from ingest.backup import machine_lock
from ingest.configuration import read_configuration
from ingest.deadrestores import living, remove_dead_restores
from ingest.inventory import discover
from ingest.pointdisk import PointDisk
from ingest.pointimage import PointImage
from ingest.progress import Progress
from ingest.resolving import Resolution, resolution
from ingest.restoreflow import chosen_disks
from ingest.signals import Interrupted, go_on, never
from ingest.sources import connected
from ingest.streams import StreamWriter, despite_others
from ingest.wiring import Services
from storage.errors import Conflict, HoldfastError, Invalid, NotFound
from storage.files import storage_error

Target = Literal["new-machine", "in-place"]


@dataclass(frozen=True, slots=True)
class SourceRestoreRequest:
    """What to give back to which source: as a new machine `name`, or with `in_place` over its disk `disk`."""

    point: str
    source: str
    name: str | None = None
    disk: str | None = None
    in_place: bool = False
    without_index: bool = False


@dataclass(frozen=True, slots=True)
class SourceRestoreReport:
    """What was given back; `fallback_cause` says why the index did not resolve it."""

    source: str
    machine: str
    key: str
    disks: tuple[str, ...]
    written_bytes: int
    notes: tuple[str, ...]
    fallback_cause: str | None


def restore_to_source(
    services: Services, request: SourceRestoreRequest, *, progress: Progress, stop: Callable[[], bool] = never
) -> SourceRestoreReport:
    """Give back what was asked for. Raises Interrupted, NotFound, Invalid for a source that takes nothing back."""
    point = services.catalog.find_point(request.point)
    disks = chosen_disks(point, request.disk)
    with connected(services, request.source) as source:
        able = _restoring(source, request.source)
        tidied = tuple(remove_dead_restores(services, request.source, source))
        chosen = resolution(services, point, disks, without_index=request.without_index)
        work = SourceRestore(services, point, disks, chosen, request.source, progress=progress, stop=stop)
        if request.in_place:
            report = work.in_place(able)
        else:
            report = work.new_machine(able, request.name or f"{point.machine}-{point.restore_point_id.hex[:12]}")
    return replace(report, notes=(*tidied, *report.notes))


def _restoring(source: Source, name: str) -> RestoringSource:
    if not hasattr(source, "restore_machine") or not hasattr(source, "restore_disk"):
        raise Invalid(
            f"{name} takes no machines back",
            code="source-takes-nothing-back",
            why=f"sources of kind {source.kind} are only read",
            hint="restore to files with --to, or serve a disk with: holdfast export",
        )
    return cast(RestoringSource, source)


class SourceRestore:
    """One restore of some disks of a point: construct, then call one of its two methods once."""

    def __init__(
        self,
        services: Services,
        point: RestorePoint,
        disks: tuple[DiskPoint, ...],
        chosen: Resolution,
        source: str,
        *,
        progress: Progress,
        stop: Callable[[], bool],
    ) -> None:
        task = services.new_id()
        self._services = services
        self._task_id = task
        self._point = point
        self._disks = disks
        self._chosen = chosen
        self._source = source
        self._progress = progress
        self._stop = stop
        self._label = f"holdfast-restore-{task.hex}"
        self._task = StreamWriter(services.log, task, services.clock)
        self._written = 0
        self._overwriting = False
        self._about = {
            "machine_id": point.machine_id,
            "restore_point_id": point.restore_point_id,
            "source": source,
        }

    def new_machine(self, source: RestoringSource, name: str) -> SourceRestoreReport:
        """Make a new machine of the point, powered off."""
        keys = _disk_keys(self._services.log, self._point.machine_id)
        request = MachineRestore(
            name=name,
            label=self._label,
            configuration=read_configuration(self._services, self._point),
            disks={keys[disk.disk_id]: self._image(disk) for disk in self._disks},
        )
        with living(self._services, self._task_id):
            self._started(name, "new-machine")
            with self._failing():
                made = source.restore_machine(request, self._advance)
            left_out = tuple(
                f"{disk.label} is not in the restore point: {disk.reason}" for disk in self._point.left_out
            )
            return self._completed(RestoredMachine(made.key, made.name, (*made.notes, *left_out)))

    def in_place(self, source: RestoringSource) -> SourceRestoreReport:
        """Overwrite the one disk that was chosen, of the machine that the point is of, while nobody backs it up."""
        (disk,) = self._disks
        fact = self._machine_at(source)
        state = self._services.catalog.machine(self._point.machine_id)
        if state is None:
            raise AssertionError("a machine that was just found is recorded")
        with machine_lock(self._services, state, "worked on"):
            there = self._disk_at(fact, disk)
            source.require_overwritable(fact, there.key)
            self._overwriting = True
            self._started(fact.name, "in-place", overwritten=disk.disk_id)
            with self._failing():
                source.restore_disk(fact, there.key, self._image(disk), self._label, self._advance)
        return self._completed(RestoredMachine(fact.key, fact.name, ()))

    def _machine_at(self, source: Source) -> MachineFact:
        if self._source != self._point.source:
            raise Invalid(
                f"{self._point.machine} is a machine of {self._point.source}, not of {self._source}",
                code="source-differs",
                hint="make a new machine of it: leave --in-place out",
            )
        found = discover(self._services, self._source, source)
        fact = next((fact for fact, state in found if state.machine_id == self._point.machine_id), None)
        if fact is None:
            raise NotFound(
                f"{self._source} has no machine {self._point.machine} any more",
                code="machine-unknown",
                hint="make a new machine of it: leave --in-place out",
            )
        return fact

    def _disk_at(self, fact: MachineFact, disk: DiskPoint) -> DiskFact:
        """The disk as it is now. What is there must be the disk that was backed up, or nothing is overwritten."""
        there = next((one for one in fact.disks if disk_id_of(self._point.machine_id, one.key) == disk.disk_id), None)
        if there is None:
            raise NotFound(f"{fact.name} has no disk {disk.label} any more", code="disk-unknown")
        if (there.identity, there.size_bytes) != (disk.identity, disk.size_bytes):
            raise Conflict(
                f"{disk.label} of {fact.name} is not the disk that was backed up",
                code="disk-differs",
                why=f"it has {there.size_bytes} bytes, the restore point {disk.size_bytes}"
                if there.size_bytes != disk.size_bytes
                else "another disk took its place",
                hint="make a new machine of the point, or restore to a file with --to",
            )
        return there

    def _image(self, disk: DiskPoint) -> PointImage:
        return PointImage(PointDisk(self._chosen.resolver, self._services.store, disk), self._stop)

    def _advance(self, written_bytes: int) -> None:
        go_on(self._stop)
        self._written += written_bytes
        self._progress.advance(written_bytes)

    def _started(self, machine: str, target: Target, *, overwritten: UUID | None = None) -> None:
        stream = StreamWriter(self._services.log, self._point.machine_id, self._services.clock)
        started = self._task.make(
            SourceRestoreStarted,
            **self._about,
            machine=machine,
            label=self._label,
            target=target,
            disks=tuple(disk.disk_id for disk in self._disks),
            without_index=self._chosen.cause is not None,
            fallback_cause=self._chosen.cause,
        )

        def attempt() -> None:
            stream.resync()
            events: list[Event] = [started]
            if overwritten is not None:
                point_id = self._point.restore_point_id
                events.append(stream.make(DiskOverwritten, disk_id=overwritten, restore_point_id=point_id))
            self._services.log.save(*events)

        despite_others(attempt)
        self._progress.disk(machine, sum(disk.size_bytes for disk in self._disks))

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (HoldfastError, AdapterError) as error:
            remains = self._remains(error)
            error.hint = _told(error.hint, *(note for note in remains if note not in error.hint))
            self._failed(error.kind, error.code, str(error), *remains)
            raise
        except OSError as error:
            remains = self._remains(error)
            failure = storage_error(error, f"the restore to {self._source} could not go on")
            failure.hint = _told(failure.hint, *remains)
            self._failed(failure.kind, failure.code, str(failure), *remains)
            raise failure from error
        except (KeyboardInterrupt, Interrupted) as stopped:
            self._failed("interrupted", "signal", "it was asked to stop", *self._remains(stopped))
            raise

    def _failed(self, kind: str, code: str, *why: str) -> None:
        """Record the failure; a log that cannot take that must not hide it."""
        with suppress(HoldfastError):
            self._task.append(SourceRestoreFailed, **self._about, kind=kind, code=code, why=_told(*why))

    def _remains(self, error: BaseException) -> tuple[str, ...]:
        """What is to be known of what was made or overwritten, but not to its end."""
        if notes := tuple(getattr(error, "__notes__", ())):  # the source's own
            return notes
        if not (self._overwriting and self._written):
            return ()
        return (f"{self._disks[0].label} is overwritten in part: restore it again before the machine is started",)

    def _completed(self, made: RestoredMachine) -> SourceRestoreReport:
        self._task.append(
            SourceRestoreCompleted,
            **self._about,
            key=made.key,
            machine=made.name,
            written_bytes=self._written,
            notes=made.notes,
        )
        labels = tuple(disk.label for disk in self._disks)
        return SourceRestoreReport(
            self._source, made.name, made.key, labels, self._written, made.notes, self._chosen.cause
        )


def _told(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _disk_keys(log: EventLog, machine_id: UUID) -> dict[UUID, str]:
    """The source's key of each disk that a machine ever had."""
    seen = (event for event in log.stream(machine_id) if isinstance(event, MachineSeen))
    return {disk.disk_id: disk.key for event in seen for disk in event.disks}
