"""Tasks, and the events by which they and all else are followed."""

from __future__ import annotations

from threading import Thread
from typing import Any

from tests.support.xapi.published import PUBLISHED, XapiFailure
from tests.support.xapi.wire import xml
from tests.support.xapi.world import Call, World, now

_CLASSES = {kind.lower(): kind for kind in PUBLISHED.classes if kind != "event"}


class Tasks:
    """Runs the asynchronous form of calls, each in a thread."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._threads: list[Thread] = []

    def start(self, name: str, call: Call, work: Any) -> str:
        """Start `work`, which is given the call with its task; return the task."""
        task = self._world.records.create(
            "task", name_label=f"Async.{name}", status="pending", created=now(), resident_on=call.host, type="<none/>"
        )
        mine = Call(call.world, call.host, call.session, task)
        thread = Thread(target=self._run, args=(mine, work), name=f"xapi-{name}")
        self._threads.append(thread)
        thread.start()
        return task

    def end(self) -> None:
        """Wait for all of them."""
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), f"{thread.name} goes on"

    def _run(self, call: Call, work: Any) -> None:
        records = self._world.records
        outcome: dict[str, Any]
        try:
            outcome = {"status": "success", "result": _result(work(call))}
        except XapiFailure as failure:
            outcome = {"status": "failure", "error_info": failure.details}
        with records.lock:
            if records.exists("task", call.task):
                if records.get("task", call.task)["status"] == "pending":
                    records.set("task", call.task, **outcome, progress=1.0, finished=now())
                if records.get("task", call.task)["other_config"].get("destroyed"):
                    records.destroy("task", call.task)


def _result(value: Any) -> str:
    return "" if value is None else xml(value)


def _cancel(call: Call, task: str) -> None:
    if call.world.records.get("task", task)["status"] == "pending":
        call.world.records.set("task", task, status="cancelled", finished=now())


def _destroy(call: Call, task: str) -> None:
    """A task that still runs is destroyed at its end."""
    records = call.world.records
    if records.get("task", task)["status"] == "pending":
        records.set("task", task, other_config={"destroyed": "true"})
    else:
        records.destroy("task", task)


def _create(call: Call, label: str, description: str) -> str:
    return call.world.records.create(
        "task", name_label=label, name_description=description, status="pending", created=now(), resident_on=call.host
    )


def _set_status(call: Call, task: str, status: str) -> None:
    call.world.records.set("task", task, status=status, finished=now())


# --- events ---


def _subscribed(classes: list[str]) -> tuple[set[str], dict[str, set[str]]]:
    """The classes somebody wants to hear of, and the single objects."""
    whole: set[str] = set()
    single: dict[str, set[str]] = {}
    for wanted in classes:
        kind, _, ref = wanted.partition("/")
        if kind == "*":
            whole |= set(_CLASSES.values())
        elif kind.lower() in _CLASSES:
            name = _CLASSES[kind.lower()]
            if ref:
                single.setdefault(name, set()).add(ref)
            else:
                whole.add(name)
    return whole, single


def _events_from(call: Call, classes: list[str], token: str, seconds: float) -> dict[str, Any]:
    """What happened since `token` (nothing: since ever); waits when there is nothing yet."""
    records = call.world.records
    if token and not token.isdigit():
        raise XapiFailure("EVENT_FROM_TOKEN_PARSE_FAILURE", token)
    whole, single = _subscribed(classes)
    since = int(token or 0)
    with records.lock:
        found: list[tuple[int, str, str, str]] = []

        def look() -> bool:
            found[:] = sorted(
                event
                for event in records.since(since, whole | set(single))
                if event[1] in whole or event[2] in single.get(event[1], ())
            )
            return bool(found) or not records.exists("session", call.session)

        records.changed.wait_for(look, seconds)
        call.world.assert_session(call.session)
        events = [_event(call.world, *event) for event in found]
        counts = {kind.lower(): len(records.find(kind)) for kind in whole | set(single)}
        return {"events": events, "valid_ref_counts": counts, "token": str(records.generation)}


def _event(world: World, number: int, kind: str, ref: str, operation: str) -> dict[str, Any]:
    event = {"id": number, "timestamp": "0.0", "class": kind.lower(), "operation": operation, "ref": ref}
    return event if operation == "del" else {**event, "snapshot": world.records.shown(kind, ref)}


def _inject(call: Call, kind: str, ref: str) -> str:
    """Say that an object changed; the token that is returned comes before all that happens after."""
    name = _CLASSES.get(kind.lower())
    if name is None:
        raise XapiFailure("VALUE_NOT_SUPPORTED", "class", kind, "no such class")
    return str(call.world.records.touch(name, ref))


HANDLERS = {
    "task.cancel": _cancel,
    "task.destroy": _destroy,
    "task.create": _create,
    "task.set_status": _set_status,
    "event.from": _events_from,
    "event.inject": _inject,
}
