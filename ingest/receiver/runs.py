"""All runs of this process: who may open one, which one a request means, and how many there are.

Imports this package, `catalog.access` and `catalog.api.quota`. One run for a machine at a time; a run belongs to the
token that opened it, and to nobody else does it exist.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from uuid import UUID
from weakref import WeakValueDictionary

from adapters.errors import SourceUnavailable
from catalog.access.caller import Caller
from catalog.api.quota import Quota
from catalog.home import Home
from ingest.agent.protocol import SOURCE, VERSION, OpenRun, PointMade
from ingest.receiver.exchange import superseded
from ingest.receiver.limits import Limits
from ingest.receiver.run import AgentRun, Ticket, machine_of
from storage.errors import Conflict, Invalid, NotFound, Unavailable
from storage.keys import KeyRing


class Runs:
    """Safe from many threads. `keys` gives each machine its key; `new_id` is not to be guessed."""

    def __init__(
        self, home: Home, repository_id: UUID, keys: KeyRing, limits: Limits, new_id: Callable[[], UUID]
    ) -> None:
        self._home = home
        self._repository_id = repository_id
        self._keys = keys
        self._limits = limits
        self._new_id = new_id
        self._quota = Quota(limits.runs_each, limits.runs, code="agent-runs", what="runs of agents")
        self._lock = threading.Lock()
        # One open at a time for a machine: it may wait for the run of a dead process to end, and others must not.
        self._opening: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self._runs: dict[UUID, AgentRun] = {}
        self._stopping = False

    def open(self, caller: Caller, request: OpenRun) -> AgentRun:
        """Open a run, or find the one that this very request opened before.

        Raises NotFound for a machine that the caller's token does not admit, whether there is one or not; Conflict
        while another agent sends for it; Limit.
        """
        if request.protocol != VERSION:
            raise Invalid(
                f"protocol {request.protocol} is not spoken here", code="agent-protocol", why=f"this is {VERSION}"
            )
        if not caller.scope.admits(SOURCE, request.machine):
            raise NotFound(
                f"there is no machine {SOURCE}/{request.machine} for this token",
                code="machine-unknown",
                hint="the token must name it: holdfast token create --role agent --machines",
            )
        if len({disk.key for disk in request.disks}) != len(request.disks):
            raise Invalid("two disks have one key", code="agent-disks")
        with self._lock:
            opening = self._opening.setdefault(request.machine, threading.Lock())
        with opening:
            with self._lock:
                self._forget_old()
                known, rivals = self._known(caller, request), self._rivals(request)
            if known is not None:
                return known
            self._make_room(caller, request, rivals)
            with self._lock:
                return self._opened(caller, request)

    def find(self, caller: Caller, run_id: UUID) -> AgentRun:
        """A run of this caller. Raises NotFound for anybody else's, and for one that an earlier process had."""
        run = self._runs.get(run_id)
        if run is None or run.ticket.caller.name != caller.name:
            raise NotFound("there is no such run", code="agent-run-unknown", hint="open another one")
        return run

    def stop(self) -> None:
        """End all of them and wait."""
        with self._lock:
            self._stopping = True
            runs = [run for run in self._runs.values() if run.open]
        why = SourceUnavailable("The receiver stops", code="agent-receiver-stopping", hint="Run the agent again.")
        for run in runs:
            run.exchange.end(why)
        for run in runs:
            run.end(why)

    def _known(self, caller: Caller, request: OpenRun) -> AgentRun | None:
        for run in self._runs.values():
            ticket = run.ticket
            same = (ticket.caller.name, ticket.request.machine, ticket.request.request_id) == (
                caller.name,
                request.machine,
                request.request_id,
            )
            if same and (run.open or isinstance(run.outcome, PointMade)):
                return run
        return None

    def _opened(self, caller: Caller, request: OpenRun) -> AgentRun:
        if self._stopping:
            raise Unavailable("the receiver stops", code="agent-receiver-stopping")
        give_back = self._quota.take(caller.name)
        run_id = self._new_id()
        key = self._keys.agent_key(machine_of(self._repository_id, request.machine).bytes)
        run = AgentRun(self._home, Ticket(caller, request, run_id, self._new_id().hex, key), self._limits, give_back)
        self._runs[run_id] = run
        run.start()
        return run

    def _rivals(self, request: OpenRun) -> list[AgentRun]:
        return [run for run in self._runs.values() if run.open and run.ticket.request.machine == request.machine]

    def _make_room(self, caller: Caller, request: OpenRun, rivals: list[AgentRun]) -> None:
        """End the run of a process that died, if the request names it; refuse while another one lives."""
        for run in rivals:
            mine = run.ticket.caller.name == caller.name and run.ticket.request.request_id in request.replaces
            if not mine or not run.end(superseded()):
                raise Conflict(
                    f"another agent sends for {SOURCE}/{request.machine} already",
                    code="agent-busy",
                    hint=f"wait until it is done; one that died is given up after {self._limits.idle:.0f} s",
                )

    def _forget_old(self) -> None:
        ended = [(run.finished_at, run_id) for run_id, run in self._runs.items() if run.finished_at is not None]
        ended.sort()
        horizon = time.monotonic() - self._limits.kept
        surplus = len(ended) - self._limits.kept_runs
        for place, (finished_at, run_id) in enumerate(ended):
            if finished_at < horizon or place < surplus:
                del self._runs[run_id]
