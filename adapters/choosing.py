"""Which way a disk's bytes travel, whatever the ways are. Pure; imports `adapters.errors` and `adapters.port`.

Every kind is chosen or rejected with a reason. A kind with a blocker is never chosen, and nothing but what the settings
allow: where they allow one kind only, that one was asked for, and is taken or refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from adapters.errors import SourceInvalid, SourceUnavailable
from adapters.port import RejectedTransport, TransportChoice


def choose(
    blockers: Mapping[str, Sequence[str]], allowed: Collection[str], *, label: str, way_out: str
) -> TransportChoice:
    """Choose for the disk `label` by what is in each kind's way: `blockers` has all kinds, the best first.

    Raises SourceInvalid for a kind that does not exist, SourceUnavailable (`no-transport`) naming every blocker, and
    the `way_out`, when none is left.
    """
    if unknown := sorted(set(allowed) - blockers.keys()):
        raise SourceInvalid(
            f"There is no transport {', '.join(unknown)}",
            code="transport-unknown",
            hint=f"Known transports: {', '.join(blockers)}.",
        )
    against = {kind: _against(found, kind in allowed) for kind, found in blockers.items()}
    chosen = next((kind for kind, found in against.items() if not found), None)
    if chosen is None:
        raise SourceUnavailable(
            f"No transport can read {label}",
            code="no-transport",
            why="; ".join(f"{kind}: {', '.join(found)}" for kind, found in against.items()),
            hint=way_out,
        )
    rejected = (
        RejectedTransport(kind, "; ".join(found) or f"{chosen} is better")
        for kind, found in against.items()
        if kind != chosen
    )
    (requested,) = allowed if len(allowed) == 1 else (None,)
    return TransportChoice(chosen, requested, tuple(rejected))


def _against(blockers: Sequence[str], allowed: bool) -> tuple[str, ...]:
    return tuple(blockers) if allowed else ("the source's settings do not allow it", *blockers)
