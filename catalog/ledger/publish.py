"""Publishing: the newest checkpoint goes to every place, unless a place knows a history that is not ours.

Imports `catalog.domain`, `catalog.log` and its neighbours. Nothing is written anywhere before all places that
answer were compared with the log; a place that fails is recorded and tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from catalog.ledger.checkpoint import Checkpoint
from catalog.ledger.places import Place
from storage.errors import Corrupt, HoldfastError, Unavailable

T = TypeVar("T")
Computed = Callable[[int], tuple[bytes, bytes] | None]
"""Root and chain head of the log at a size; None when the log is shorter."""

Read = Callable[[str], Checkpoint]
"""A note as a checkpoint; Corrupt when it is none of ours."""


@dataclass(frozen=True, slots=True)
class Published:
    """Which places took a checkpoint, and why others did not."""

    places: tuple[str, ...]
    failed: Mapping[str, str]


def compare_newest(name: str, place: Place, kept: int, read: Read, computed: Computed) -> None:
    """Compare the newest checkpoint of a place with the log; `kept` is the last size the place is known to hold.

    Corrupt when the log is not a continuation of it, Unavailable when what was kept there is gone.
    """
    newest = max(place.sizes(kept), default=None)
    if newest is None and kept:
        raise Unavailable(
            f"the checkpoint over {kept} events is gone from {name}",
            code="ledger-place-lost",
            hint="find out who removed it; remove the place and add it again to go on",
        )
    if newest is not None:
        compare(name, read(place.read(newest)), computed)


def compare(name: str, checkpoint: Checkpoint, computed: Computed) -> None:
    """Raise Corrupt unless the log begins with what the checkpoint from `name` was signed over."""
    found = computed(checkpoint.size)
    if found == (checkpoint.root, checkpoint.head):
        return
    if found is None:
        code, why = "ledger-rolled-back", f"it was signed over {checkpoint.size} events and the log is shorter"
    else:
        code, why = "ledger-fork", f"the first {checkpoint.size} events are not those that it was signed over"
    raise Corrupt(
        f"the event log contradicts the checkpoint kept by {name}",
        code=code,
        why=why,
        hint="nothing was published. The log was altered or is an older copy: holdfast ledger check says where",
    )


def publish_to(
    places: Mapping[str, Callable[[], Place]],
    kept: Mapping[str, int],
    checkpoint: Checkpoint,
    read: Read,
    computed: Computed,
) -> Published:
    """Compare every place, then write the checkpoint to those that answer. Raises Corrupt, with nothing written."""
    failed: dict[str, str] = {}

    def tried(name: str, action: Callable[[], T]) -> T | None:
        try:
            return action()
        except Corrupt:
            raise
        except HoldfastError as error:
            failed[name] = str(error)
            return None

    opened = {name: place for name, make in places.items() if (place := tried(name, make)) is not None}
    for name, place in opened.items():
        tried(name, partial(compare_newest, name, place, kept.get(name, 0), read, computed))
    for name, place in opened.items():
        if name not in failed:
            tried(name, partial(place.put, checkpoint))
    return Published(tuple(name for name in places if name not in failed), failed)
