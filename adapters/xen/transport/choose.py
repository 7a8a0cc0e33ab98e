"""Which way a VDI's bytes travel: a pure function of recorded facts.

Imports `adapters.errors`, `adapters.port` and this package only. Every kind is chosen or rejected with a reason; a kind
with a blocker is never chosen, and what was asked for by name is taken or refused, never replaced.
"""

from __future__ import annotations

from collections.abc import Collection

from adapters.errors import SourceInvalid, SourceUnavailable
from adapters.port import RejectedTransport, TransportChoice
from adapters.xen.transport.facts import KINDS, VdiFacts

SCORES = {kind: len(KINDS) - place for place, kind in enumerate(KINDS)}
"""How much a kind is liked; the best that nothing blocks is chosen."""


def choose_transport(vdi: VdiFacts, allowed: Collection[str], requested: str | None = None) -> TransportChoice:
    """Choose for one VDI. `requested` names the only kind that will do; None leaves the choice to the scores.

    Raises SourceInvalid for a kind that does not exist, SourceUnavailable (`no-transport`) naming every blocker when
    none is left.
    """
    if unknown := sorted({*allowed, *([requested] if requested else [])} - set(KINDS)):
        raise SourceInvalid(
            f"There is no transport {', '.join(unknown)}",
            code="transport-unknown",
            hint=f"Known transports: {', '.join(KINDS)}.",
        )
    against = {kind: _objections(kind, vdi, allowed, requested) for kind in KINDS}
    able = [kind for kind in KINDS if not against[kind]]
    if not able:
        raise _none_left(vdi, requested, against)
    chosen = max(able, key=SCORES.__getitem__)
    rejected = (
        RejectedTransport(kind, "; ".join(against[kind]) or f"{chosen} is better") for kind in KINDS if kind != chosen
    )
    return TransportChoice(chosen, requested, tuple(rejected))


def blockers(kind: str, vdi: VdiFacts) -> tuple[str, ...]:
    """Say why `kind` cannot carry this VDI's bytes; empty when it can."""
    if kind == "export":
        return ()  # it sends whole disks whatever is to be read of them, but it sends them
    wanted, other = ("nbd", "insecure_nbd") if kind == "nbd" else ("insecure_nbd", "nbd")
    if {"nbd", "insecure_nbd"} <= vdi.purposes:
        return ("networks with the purposes nbd and insecure_nbd contradict each other: hosts refuse both",)
    if wanted not in vdi.purposes:
        found = f", only {other}" if other in vdi.purposes else ""
        return (f"no network of the pool has the purpose {wanted}{found}",)
    if not vdi.nbd_addresses:
        return (f"no host that sees the disk has an address in a network with the purpose {wanted}",)
    return ()


def _objections(kind: str, vdi: VdiFacts, allowed: Collection[str], requested: str | None) -> tuple[str, ...]:
    found = list(blockers(kind, vdi))
    if kind not in allowed:
        found.insert(0, "the source's settings do not allow it")
    if requested is not None and kind != requested:
        found.insert(0, f"{requested} was asked for")
    return tuple(found)


def _none_left(vdi: VdiFacts, requested: str | None, against: dict[str, tuple[str, ...]]) -> SourceUnavailable:
    kinds = (requested,) if requested else KINDS
    return SourceUnavailable(
        f"{requested or 'No transport'} can{'not' if requested else ''} read {vdi.label}",
        code="no-transport",
        why="; ".join(f"{kind}: {', '.join(against[kind])}" for kind in kinds),
        hint="Give a network of the pool the purpose nbd, or allow another transport in the source's settings.",
    )
