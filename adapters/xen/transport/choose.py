"""Which way a VDI's bytes travel: a pure function of recorded facts.

Imports the shared modules of `adapters` and this package. What blocks each kind stands here, the choice in `choosing`.
"""

from __future__ import annotations

from collections.abc import Collection

from adapters.choosing import choose
from adapters.port import TransportChoice
from adapters.xen.transport.facts import KINDS, VdiFacts


def choose_transport(vdi: VdiFacts, allowed: Collection[str]) -> TransportChoice:
    """Choose for one VDI among the kinds that are `allowed`. Raises what `choose` does."""
    return choose(
        {kind: blockers(kind, vdi) for kind in KINDS},
        allowed,
        label=vdi.label,
        way_out="Give a network of the pool the purpose nbd, or allow another transport in the source's settings.",
    )


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
