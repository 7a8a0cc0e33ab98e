"""What the choice of a transport is made from: facts of a VDI and of its pool's networks. Imports this package only.

Facts are gathered elsewhere and may be recorded; what is not known is said as its absence, and blocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

KINDS = ("nbd", "insecure_nbd", "export")
"""Every transport, the best first. `insecure_nbd` is clear text and is allowed by name only."""


@dataclass(frozen=True, slots=True)
class VdiFacts:
    """One frozen VDI. `purposes` are those of all networks of the pool; `nbd_addresses` says how many addresses
    `VDI.get_nbd_info` tells.
    """

    label: str
    size_bytes: int
    purposes: frozenset[str]
    nbd_addresses: int


def purposes_of(networks: Iterable[dict[str, object]]) -> frozenset[str]:
    """The purposes in the records of networks."""
    found: set[str] = set()
    for record in networks:
        purpose = record.get("purpose")
        found |= {str(one) for one in purpose} if isinstance(purpose, list) else set()
    return frozenset(found)
