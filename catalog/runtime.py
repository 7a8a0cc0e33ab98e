"""The open catalog: log, index and what resolves from them, built for one home.

May import `catalog` and `storage`. The log is the truth; the index is opened on first use, so that work which
does not need it goes on without it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from uuid import UUID

from catalog.domain.machine import MachineState, RestorePoint
from catalog.domain.source import SourceState
from catalog.home import Home, RepositoryConfig
from catalog.log import EventLog
from catalog.projections import rebuild
from catalog.projections.projector import Projector
from catalog.projections.tables import TABLES
from catalog.queries.directory import LogDirectory
from catalog.queries.names import pick_machine, pick_point
from catalog.resolve.from_events import EventRows
from catalog.resolve.from_lake import LakeRows
from catalog.resolve.resolver import Resolver
from storage.errors import HoldfastError, Invalid, NotFound
from storage.lake import Lake

Clock = Callable[[], datetime]
logger = logging.getLogger(__name__)


def utc_now() -> datetime:
    """The clock of the product: aware UTC."""
    return datetime.now(UTC)


def create_lake(home: Home, clock: Clock = utc_now) -> None:
    """Lay out an empty index."""
    Lake.create(home.lake_dir, TABLES, clock=clock).close()


class Catalog:
    """Everything that questions need."""

    def __init__(self, home: Home, config: RepositoryConfig, log: EventLog, clock: Clock) -> None:
        self.home = home
        self.config = config
        self.log = log
        self.clock = clock
        self._lake: Lake | None = None
        self._directory = LogDirectory(log)

    @classmethod
    @contextmanager
    def opened(cls, home: Home, *, clock: Clock = utc_now) -> Iterator[Catalog]:
        """Open a home for the length of a block. Raises NotFound, Invalid (newer), Corrupt."""
        config = home.read_config()
        with closing(EventLog.open(home.event_file)) as log:
            catalog = cls(home, config, log, clock)
            try:
                yield catalog
            finally:
                catalog.close_index()

    @property
    def lake(self) -> Lake:
        """The index as it is, which may be behind the log."""
        if self._lake is None:
            self._lake = Lake.open(self.home.lake_dir, TABLES, clock=self.clock)
        return self._lake

    def close_index(self) -> None:
        """Close the index; the next use opens it again."""
        if self._lake is not None:
            self._lake.close()
            self._lake = None

    def catch_up(self, *, renew: bool = True) -> int:
        """Bring the index up to the log; return its position.

        One that another version of Holdfast left in another shape is made anew, and the log of this process says so;
        without `renew` it is Invalid (lake-schema).
        """
        try:
            lake = self.lake
        except Invalid as error:
            if error.code != "lake-schema" or not renew:
                raise
            logger.warning("the index was kept by another version (%s): making it anew from the events", error.what)
            return self.rebuild_index()
        return Projector(self.log, lake).catch_up()

    def rebuild_index(self) -> int:
        """Drop the index, whatever state it is in, and make it anew from the log."""
        self.close_index()
        self._lake = rebuild(self.log, self.home.lake_dir, clock=self.clock)
        return self._lake.position()

    def index_trouble(self, *, renew: bool = True) -> str | None:
        """Say why the index cannot be used now; None when it has all that the log held when it was asked."""
        wanted = self.log.position()
        try:
            position = self.catch_up(renew=renew)
        except HoldfastError as error:
            return str(error)
        behind = wanted - position
        return f"the index is {behind} events behind the log" if behind > 0 else None

    def index_problems(self) -> list[str]:
        """Read every file of the index; return what is wrong with them."""
        return [f"{problem.path.name}: {problem.why} ({problem.code})" for problem in self.lake.verify()]

    def index_resolver(self) -> Resolver:
        """Block maps from the index."""
        return Resolver(LakeRows(self.lake), self.home.checkpoint_dir)

    def log_resolver(self, machine_id: UUID) -> Resolver:
        """Block maps of one machine's disks from the log alone."""
        return Resolver(EventRows(self.log, machine_id), self.home.checkpoint_dir)

    def machine(self, machine_id: UUID) -> MachineState | None:
        """One machine as its events have it."""
        return MachineState.fold(self.log.stream(machine_id))

    def machines(self) -> list[MachineState]:
        """All machines, from the log."""
        return self._directory.machines()

    def machine_named(self, text: str) -> MachineState:
        """The machine called NAME, SOURCE/NAME or by its identifier. Raises NotFound; Invalid if several are."""
        machine_id = pick_machine(text, self._directory.seen()).machine_id
        state = self.machine(machine_id)
        if state is None:
            raise NotFound(f"there is no machine {machine_id}", code="machine-unknown")
        return state

    def points(self) -> list[RestorePoint]:
        """All restore points, the oldest first."""
        found = [point for state in self.machines() for point in state.restore_points]
        return sorted(found, key=lambda point: (point.recorded_at, point.restore_point_id))

    def find_point(self, text: str) -> RestorePoint:
        """The restore point that `text` names: the start of its identifier, `latest`, or `latest:MACHINE`.

        Answered from the log, so that it works without the index. Raises NotFound, which tells who deleted the
        point if somebody did, and Invalid.
        """
        head, _, machine = text.partition(":")
        if head == "latest":
            return self._latest(machine)
        try:
            found = pick_point(text, self._directory.points())
        except NotFound:
            found = pick_point(text, self._directory.deleted_points())
        return self._directory.point(found)

    def _latest(self, machine: str) -> RestorePoint:
        if machine:
            found = [point.restore_point_id for point in self.machine_named(machine).restore_points]
        else:
            found = self._directory.points()
        if not found:
            raise NotFound("there is no restore point yet", code="restore-point-unknown", hint="holdfast backup")
        return self._directory.point(found[-1])

    def sources(self) -> list[SourceState]:
        """All sources, removed ones included, in the order in which they were added."""
        found = [self.source(source_id) for source_id in self._directory.sources()]
        return [state for state in found if state is not None]

    def source(self, source_id: UUID) -> SourceState | None:
        """One source as its events have it."""
        return SourceState.fold(self.log.stream(source_id))
