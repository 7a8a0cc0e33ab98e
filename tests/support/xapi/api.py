"""From the name of a method to what it does: by its own handler, or by the fields that it gets and sets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

from tests.support.xapi import disks, machines, tasks
from tests.support.xapi.faults import (
    CutReply,
    ExpireSessions,
    Fail,
    FailTask,
    ForgetTask,
    Garbage,
    HoldTask,
    LoseReply,
    Meanwhile,
    StallTask,
    StaySilent,
)
from tests.support.xapi.published import PUBLISHED, Method, XapiFailure
from tests.support.xapi.world import Call, World

_BEFORE = (Fail, ExpireSessions, Meanwhile, StaySilent)
_OF_TASKS = (StallTask, HoldTask, ForgetTask, FailTask)
_HOLD_SECONDS = 60
_WHOLE = re.compile(r"\w+\.get_(record|all|all_records|by_uuid|by_name_label|nbd_info)")
_OF_FIELDS = re.compile(r"(\w+)\.(get|set|add_to|remove_from|add|remove)_(\w+)")


class HungUp(Exception):
    """The connection is to be closed without an answer."""


class Spoiled(Exception):
    """Not `value`, but what `how` says, is to be answered."""

    def __init__(self, how: Garbage | CutReply, value: Any) -> None:
        super().__init__()
        self.how = how
        self.value = value


class Api:
    """Answers calls at any host of the pool; `closing` ends those that keep silent."""

    def __init__(self, world: World, closing: Event) -> None:
        self.world = world
        self.tasks = tasks.Tasks(world)
        self._closing = closing
        self._handlers: dict[str, Callable[..., Any]] = {
            **disks.HANDLERS,
            **machines.HANDLERS,
            **tasks.HANDLERS,
            "session.logout": lambda call: world.records.destroy("session", call.session),
            "SR.scan": lambda call, sr: world.records.touch("SR", sr) and None,
            "SR.update": lambda call, sr: world.records.touch("SR", sr) and None,
            "host.get_servertime": lambda call, host: str(world.records.generation),
        }

    def answer(self, host: str, name: str, parameters: list[Any]) -> Any:
        """Do one call at a host. Raises the XapiFailure it is answered with, HungUp or Spoiled."""
        asynchronous, name = name.startswith("Async."), name.removeprefix("Async.")
        faults, world = self.world.faults, self.world
        while action := faults.take(name, *_BEFORE):
            self._hinder(action)
        lost = faults.take(name, LoseReply)
        spoiled = faults.take(name, Garbage, CutReply)
        if lost is not None and lost.before:
            raise HungUp
        value = self._called(host, name, parameters, asynchronous)
        world.calls[name] += 1
        if lost is not None or self._closing.is_set():
            raise HungUp
        if spoiled is not None:
            raise Spoiled(spoiled, value)
        return value

    def _hinder(self, action: Fail | ExpireSessions | Meanwhile | StaySilent) -> None:
        if isinstance(action, Fail):
            raise action.failure()
        if isinstance(action, ExpireSessions):
            self.world.expire_sessions()
        elif isinstance(action, Meanwhile):
            action.happens()
        else:
            self._closing.wait()
            raise HungUp

    def _called(self, host: str, name: str, parameters: list[Any], asynchronous: bool) -> Any:
        world = self.world
        if name == "system.listMethods":
            return sorted(method for method in PUBLISHED.methods if self._work_of(method) is not None)
        method = PUBLISHED.methods.get(name)
        if method is None:
            raise XapiFailure("MESSAGE_METHOD_UNKNOWN", name)
        if method.open:
            if host != world.master:
                raise XapiFailure("HOST_IS_SLAVE", world.address_of(world.master))
            user, password, *others = method.arguments(parameters)
            return world.log_in(user, password, host, str(others[-1]) if others else "")
        session = parameters[0] if parameters else None
        world.assert_session(session)
        assert isinstance(session, str)
        arguments = method.arguments(parameters[1:])
        work = self._work_of(name)
        if work is None:
            raise XapiFailure("NOT_IMPLEMENTED", name)
        call = Call(world, host, session)
        if asynchronous and (method.derived or _WHOLE.fullmatch(name)):
            raise XapiFailure("Fault", f"No async mode for this operation (rpc: Async.{name})")
        if asynchronous:
            return self._started(method, call, work, arguments)
        if name == "event.from":
            return work(call, *arguments)  # waits, and so takes the lock itself
        with world.records.lock:
            return work(call, *arguments)

    def _started(self, method: Method, call: Call, work: Callable[..., Any], arguments: list[Any]) -> str:
        action, records = self.world.faults.take(method.name, *_OF_TASKS), self.world.records

        def run(mine: Call) -> Any:
            with self._operating(method.name, mine.task, arguments):
                if isinstance(action, HoldTask):
                    action.until.wait(_HOLD_SECONDS)
                return effect(mine)

        def effect(mine: Call) -> Any:
            with records.lock:
                if isinstance(action, FailTask):
                    raise XapiFailure(action.name, *action.parameters)
                if isinstance(action, StallTask):
                    records.changed.wait_for(lambda: self._closing.is_set() or not self._pending(mine.task))
                    return None
                value = work(mine, *arguments)
                if isinstance(action, ForgetTask):
                    records.destroy("task", mine.task)
                return value

        return self.tasks.start(method.name, call, run)

    @contextmanager
    def _operating(self, name: str, task: str, arguments: list[Any]) -> Iterator[None]:
        """Let a machine tell what is done with it for as long as it is."""
        kind, _, verb = name.partition(".")
        records, subject = self.world.records, str(arguments[0]) if arguments else ""

        def tell(change: Callable[[Any], Any]) -> None:
            with records.lock:
                if kind == "VM" and records.exists("VM", subject):
                    self._change("VM", subject, "current_operations", change)

        tell(lambda old: {**old, task: verb})
        try:
            yield
        finally:
            tell(lambda old: _without(old, task))

    def _pending(self, task: str) -> bool:
        return self.world.records.exists("task", task) and self.world.records.get("task", task)["status"] == "pending"

    def _work_of(self, name: str) -> Callable[..., Any] | None:
        """What does a call, or None for one that only real pools know."""
        return self._handlers.get(name) or self._on_records(name)

    def _on_records(self, name: str) -> Callable[..., Any] | None:
        records = self.world.records
        found = _OF_FIELDS.fullmatch(name)
        if found is None:
            return None
        kind, verb, field = found.groups()
        if verb == "get":
            whole: dict[str, Callable[..., Any]] = {
                "record": lambda call, ref: records.shown(kind, ref),
                "all": lambda call: records.find(kind),
                "all_records": lambda call: {ref: records.shown(kind, ref) for ref in records.find(kind)},
                "by_uuid": lambda call, wanted: records.by_uuid(kind, wanted),
                "by_name_label": lambda call, label: records.find(kind, name_label=label),
            }
            if field in whole:
                return whole[field]
        if field not in PUBLISHED.classes[kind]:
            return None
        return {
            "get": lambda call, ref: records.shown(kind, ref)[field],
            "set": lambda call, ref, value: records.set(kind, ref, **{field: value}),
            "add_to": lambda call, ref, key, value: self._add_entry(kind, ref, field, key, value),
            "remove_from": lambda call, ref, key: self._change(kind, ref, field, lambda old: _without(old, key)),
            "add": lambda call, ref, value: self._change(kind, ref, field, lambda old: [*_except(old, value), value]),
            "remove": lambda call, ref, value: self._change(kind, ref, field, lambda old: _except(old, value)),
        }[verb]

    def _change(self, kind: str, ref: str, field: str, change: Callable[[Any], Any]) -> None:
        self.world.records.set(kind, ref, **{field: change(self.world.records.get(kind, ref)[field])})

    def _add_entry(self, kind: str, ref: str, field: str, key: str, value: str) -> None:
        old = self.world.records.get(kind, ref)[field]
        if key in old:
            raise XapiFailure("MAP_DUPLICATE_KEY", kind, field, ref, key)
        self.world.records.set(kind, ref, **{field: {**old, key: value}})


def _without(entries: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in entries.items() if name != key}


def _except(entries: list[Any], value: Any) -> list[Any]:
    return [entry for entry in entries if entry != value]
