"""The knobs of the Hyper-V simulator: what goes wrong, and when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Page = Callable[[dict[str, Any]], dict[str, Any]]

FAILED = 32768


@dataclass
class Faults:
    """`before` are actions to take before a script's next calls are looked at, one for each; None lets a call pass.

    `page` changes a page of a change list, `lost` scripts do what they are asked and their answer never arrives (so
    many times), `no_application` are machines whose guests cannot be frozen, `silent` hosts that do not answer.
    """

    before: dict[str, list[Callable[[], None] | None]] = field(default_factory=dict)
    page: Page = field(default=lambda page: page)
    lost: dict[str, int] = field(default_factory=dict)
    no_application: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    names_refused: bool = False

    def then(self, script: str, action: Callable[[], None], *, after: int = 0) -> None:
        """Take `action` before the call of `script` that follows so many others."""
        self.before.setdefault(script, []).extend([*([None] * after), action])

    def run_before(self, script: str) -> None:
        """Take the action that is due."""
        waiting = self.before.get(script)
        action = waiting.pop(0) if waiting else None
        if action is not None:
            action()


def short(length: int) -> Page:
    """Process no more than `length` bytes of what was asked."""

    def cut(page: dict[str, Any]) -> dict[str, Any]:
        processed = min(page["processed"], length)
        start = page["offset"]
        inside = [(at, count) for at, count in page["ranges"] if at < start + processed]
        return page | {"processed": processed, "ranges": inside}

    return cut


def untidy(page: dict[str, Any]) -> dict[str, Any]:
    """Tell the ranges backwards, and each of them twice, the second time in two overlapping halves."""
    ranges: Sequence[tuple[int, int]] = page["ranges"]
    halves = [half for at, count in ranges for half in ((at, count // 2 + 1), (at + count // 2, count - count // 2))]
    return page | {"ranges": [*halves, *ranges][::-1]}
