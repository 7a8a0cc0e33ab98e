"""Letting a process of ours die between two calls to a pool."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from adapters.xen.source import XenSource


class Killed(BaseException):
    """Our process ends here: nothing that would follow is done."""


def dying(source: XenSource, monkeypatch: pytest.MonkeyPatch, method: str, *, after: bool, number: int = 1) -> None:
    """Let the process die at the `number`-th call of a method, before it or `after` it was heard; then all fails."""
    session, seen, heard = source._session, [0], [False]
    call, task = session.call, session.task

    def hooked(inner: Callable[..., object]) -> Callable[..., object]:
        def ask(name: str, *arguments: object, **others: object) -> object:
            if heard[0]:  # a task is several calls
                return inner(name, *arguments, **others)
            seen[0] += name == method
            if seen[0] < number:
                return inner(name, *arguments, **others)
            if after and name == method and seen[0] == number:
                heard[0] = True
                inner(name, *arguments, **others)
                heard[0] = False
            raise Killed

        return ask

    monkeypatch.setattr(session, "call", hooked(call))
    monkeypatch.setattr(session, "task", hooked(task))
