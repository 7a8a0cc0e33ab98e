"""What stands between a statement and everything else, each by a name. Imports nothing."""

from __future__ import annotations

from enum import StrEnum

UNSEALED = "sql-unsealed"
"""The code of the error of a door that can't be sealed here."""


class Layer(StrEnum):
    """A layer that can hold or be missing."""

    LANDLOCK = "landlock"
    """The kernel opens the planned files for reading and no other."""
    SECCOMP = "seccomp"
    """The kernel answers no call that writes, connects, starts or watches anything."""
    NO_OPEN = "no-open"
    """In Landlock's place where the kernel has none: no file can be opened, the planned ones come open."""
    NETWORK = "network"
    """The process is alone on a network without devices."""
    USER = "user"
    """The process runs as a user that owns nothing."""
    LIMITS = "limits"
    """Memory, processor time, file size and number of processes."""
    SETTINGS = "settings"
    """DuckDB's own: no external access, no extensions, nothing can be set."""


def holds(found: set[Layer]) -> bool:
    """Whether these are enough to answer anybody: files and calls must both be bound."""
    return Layer.SECCOMP in found and bool(found & {Layer.LANDLOCK, Layer.NO_OPEN})


def missing(found: set[Layer]) -> list[Layer]:
    """The layers that a full door has and this one has not."""
    return [layer for layer in Layer if layer not in found and layer is not Layer.NO_OPEN]
