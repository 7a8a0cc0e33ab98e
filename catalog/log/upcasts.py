"""How events of older shapes become events of today, when they are read; nothing stored is ever rewritten.

Pure. An upcast belongs to the topic it reads, is never changed once released, and leads to a newer topic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Fields = dict[str, object]


@dataclass(frozen=True, slots=True)
class Upcast:
    """Fields stored under an older topic become fields of the topic `to`."""

    to: str
    change: Callable[[Fields], Fields]


UPCASTS: Mapping[str, Upcast] = {
    "RestorePointCommitted/1": Upcast("RestorePointCommitted/2", lambda fields: {**fields, "taken_at": None}),
}


def upcast(topic: str, fields: Fields, upcasts: Mapping[str, Upcast] = UPCASTS) -> tuple[str, Fields]:
    """Follow the upcasts from `topic` until none applies."""
    while (step := upcasts.get(topic)) is not None:
        topic, fields = step.to, step.change(fields)
    return topic, fields
