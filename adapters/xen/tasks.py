"""Waiting for a pool's task, with an end. Imports `adapters.errors` and this package's `failures`.

A task is followed by events and looked at itself whenever they were silent or lost: a task of which no event will ever
tell, because its host restarted, is found out. Whatever comes of it, a task is destroyed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from xml.parsers.expat import ExpatError
from xmlrpc.client import Error as XmlRpcError
from xmlrpc.client import loads

from adapters.errors import AdapterError, SourceInvalid, SourceUnavailable
from adapters.xen.failures import failure_error

TASK_SECONDS = 3600.0
_OVER = ("success", "failure", "cancelled")
_PAUSE_SECONDS = 1.0
_MOST_LOSSES = 20


def never() -> bool:
    """Nobody stops us."""
    return False


class TaskWaiter:
    """Waits for tasks by `call`, a session's; `event_seconds` is how long one wait at the host lasts, `shown` takes
    secrets out of what the pool says.
    """

    def __init__(
        self,
        call: Callable[..., Any],
        *,
        event_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        shown: Callable[[str], str] = str,
    ) -> None:
        self._call = call
        self._shown = shown
        self._event_seconds = event_seconds
        self._clock = clock
        self._sleep = sleep

    def result(self, task: str, what: str, *, seconds: float, stopped: Callable[[], bool] = never) -> Any:
        """Return what the task `task` (a reference) made, unwrapped, and destroy it.

        Raises the AdapterError of a failed task, and SourceUnavailable: `task-lost` when the task is gone, and, after
        asking to cancel it, `task-timeout` when `seconds` passed and `task-stopped` when `stopped` says so.
        """
        try:
            return self._outcome(self._finished(task, what, self._clock() + seconds, stopped), what)
        finally:
            with suppress(AdapterError):  # a task that stays is forgotten by the pool in the end
                self._call("task.destroy", task)

    def _finished(self, task: str, what: str, deadline: float, stopped: Callable[[], bool]) -> dict[str, Any]:
        token, losses, record = "", 0, self._record(task, what)
        while record.get("status") not in _OVER:
            remaining = deadline - self._clock()
            if remaining <= 0:
                raise self._given_up(task, what, "task-timeout", "the pool did not end the task in time")
            if stopped():
                raise self._given_up(task, what, "task-stopped", "we were asked to stop")
            asked, wait = self._clock(), float(min(self._event_seconds, remaining))  # XenAPI wants a fraction
            try:
                batch = self._call("event.from", [f"task/{task}"], token, wait)
                token, seen = batch["token"], [event["snapshot"] for event in batch["events"] if "snapshot" in event]
            except AdapterError as error:
                losses += 1
                if error.code != "events-lost" or losses > _MOST_LOSSES:
                    raise
                token, seen = "", []
            except (KeyError, TypeError):
                raise _unreadable(what) from None
            if not seen and self._clock() - asked < wait / 2:
                self._sleep(min(_PAUSE_SECONDS, remaining))  # a host that answers at once must not make us spin
            record = seen[-1] if seen else self._record(task, what)
        return record

    def _record(self, task: str, what: str) -> dict[str, Any]:
        try:
            record = self._call("task.get_record", task)
        except AdapterError as error:
            lost = error if error.code != "handle-invalid" else None
        else:
            if isinstance(record, dict):
                return record
            raise _unreadable(what)
        raise lost or SourceUnavailable(
            what,
            code="task-lost",
            why="the pool forgot the task, as it does when the host that ran it restarts",
            hint="Nobody knows what came of it: what it was to make is looked for before it is asked for again.",
        )

    def _given_up(self, task: str, what: str, code: str, why: str) -> SourceUnavailable:
        with suppress(AdapterError):  # a task that cannot be cancelled goes on
            self._call("task.cancel", task)
        return SourceUnavailable(what, code=code, why=why)

    def _outcome(self, record: dict[str, Any], what: str) -> Any:
        if record["status"] == "cancelled":
            raise SourceUnavailable(what, code="task-cancelled", why="somebody cancelled the task at the pool")
        if record["status"] == "failure":
            raise failure_error([self._shown(str(part)) for part in record.get("error_info") or ()], what)
        return unwrapped(record.get("result") or "", what)


def unwrapped(result: str, what: str) -> Any:
    """Return the value in a task's result, which is XML-RPC's `<value>…</value>`, or nothing. Raises SourceInvalid."""
    if not result.startswith("<value"):
        return result
    try:
        ((value,), _) = loads(f"<params><param>{result}</param></params>")
    except (XmlRpcError, ExpatError, ValueError, TypeError, IndexError, KeyError, AttributeError):
        raise _unreadable(what) from None
    return value


def _unreadable(what: str) -> SourceInvalid:
    return SourceInvalid(what, code="answer-unreadable", why="the task at the pool is not what XenAPI declares")
