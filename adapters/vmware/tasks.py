"""Waiting for a task of the server, with an end. Imports `adapters.errors` and this package.

pyvmomi's own waiter has no deadline while nothing changes, spins when the session is ended under it, and takes a task
that is gone for done. This one asks the server to wait a bounded time, again and again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from pyVmomi import vim, vmodl

from adapters.errors import AdapterError, SourceDenied, SourceNotFound, SourceUnavailable
from adapters.vmware.faults import fault_error
from adapters.vmware.properties import read_object
from adapters.vmware.session import Session, UnansweredCall

_Collector = vmodl.query.PropertyCollector
_STATE = ("info.state", "info.error", "info.result", "info.progress")
_OVER = ("success", "error")
_MOST_RENEWALS = 5


class TaskFailed(Exception):
    """A task ended in error; `fault` is the server's, `error` what to raise of it."""

    def __init__(self, fault: vmodl.MethodFault, what: str) -> None:
        super().__init__(what)
        self.fault = fault
        self.error = fault_error(fault, what)


class TaskWaiter:
    """Waits for tasks of one session; `stopped` is asked between two waits at the server."""

    def __init__(
        self,
        session: Session,
        *,
        clock: Callable[[], float] = time.monotonic,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._session = session
        self._clock = clock
        self._stopped = stopped

    def wait(self, task: vim.Task, what: str, *, seconds: float) -> Any:
        """Return the task's result.

        Raises TaskFailed when it ended in error, SourceNotFound when it is gone, and, after asking the server to
        cancel it, SourceUnavailable when `seconds` passed or somebody stopped us.
        """
        deadline = self._clock() + seconds
        renewals = 0
        values: dict[str, Any] = {}
        while values.get("info.state") not in _OVER:
            try:
                self._watch(task, what, deadline, values)
            except _Renew:
                renewals += 1
                if renewals > _MOST_RENEWALS:
                    raise SourceDenied(
                        what, code="session-lost", why="the server ended the session again and again"
                    ) from None
                values.update(read_object(self._session, task, _STATE))  # raises if it was the task that is gone
        if values["info.state"] == "error":
            raise TaskFailed(values.get("info.error") or vmodl.fault.SystemError(msg="no reason given"), what)
        return values.get("info.result")

    def cancel(self, task: vim.Task) -> None:
        """Ask the server to cancel; a task that cannot be cancelled goes on."""
        try:
            self._session.effect("The task was not cancelled", task.Cancel)
        except (AdapterError, UnansweredCall):
            return

    def _watch(self, task: vim.Task, what: str, deadline: float, values: dict[str, Any]) -> None:
        """Keep `values` up to date until the task is over. Raises _Renew when the filter must be made again."""
        collector = self._session.read(what, lambda: _watching(self._session, task))
        try:
            version = ""
            while values.get("info.state") not in _OVER:
                remaining = self._remaining(task, what, deadline)
                update = self._updates(collector, version, what, remaining)
                if update is None:
                    continue
                version = update.version
                for seen in _seen(update, what):
                    _apply(seen, values)
                if "info.state" not in values:
                    values.update(read_object(self._session, task, _STATE))
        finally:
            self._forget(collector)

    def _remaining(self, task: vim.Task, what: str, deadline: float) -> float:
        remaining = deadline - self._clock()
        if remaining <= 0:
            self.cancel(task)
            raise SourceUnavailable(what, code="task-timeout", why="the server did not end the task in time")
        if self._stopped():
            self.cancel(task)
            raise SourceUnavailable(what, code="task-stopped", why="we were asked to stop")
        return remaining

    def _updates(self, collector: Any, version: str, what: str, remaining: float) -> Any:
        seconds = min(self._session.timing.wait_seconds, math.ceil(remaining))
        options = _Collector.WaitOptions(maxWaitSeconds=seconds)

        def call() -> Any:
            try:
                return collector.WaitForUpdatesEx(version, options)
            except (
                vmodl.query.InvalidCollectorVersion,
                vim.fault.NotAuthenticated,
                vmodl.fault.RequestCanceled,
                vmodl.fault.ManagedObjectNotFound,  # of the collector, which died with its session, or of the task
            ):
                raise _Renew from None

        return self._session.read(what, call)

    def _forget(self, collector: Any) -> None:
        try:
            self._session.read("A property collector was not given back", collector.Destroy)
        except AdapterError:
            return  # it ends with the session


class _Renew(Exception):
    """The filter is gone, the task may not be."""


def _watching(session: Session, task: vim.Task) -> Any:
    """A collector of our own: two waits at the session's one would end each other."""
    wanted = _Collector.PropertySpec(type=vim.Task, pathSet=list(_STATE), all=False)
    spec = _Collector.FilterSpec(propSet=[wanted], objectSet=[_Collector.ObjectSpec(obj=task, skip=False)])
    collector = session.content.propertyCollector.CreatePropertyCollector()
    collector.CreateFilter(spec, False)
    return collector


def _seen(update: Any, what: str) -> Iterator[Any]:
    """The changed properties of an answer. A truncated answer is right in what it holds; the next has the rest."""
    for filtered in update.filterSet or ():
        gone = any(seen.kind == "leave" for seen in filtered.objectSet or ())
        if gone or filtered.missingSet:
            raise SourceNotFound(what, code="task-missing", why="the server forgot the task, and with it how it ended")
        for seen in filtered.objectSet or ():
            yield from seen.changeSet or ()


def _apply(changed: Any, values: dict[str, Any]) -> None:
    if changed.op in ("remove", "indirectRemove"):
        values.pop(changed.name, None)
    else:
        values[changed.name] = changed.val
