"""Whether this system can have a door at all. Imports this package."""

from __future__ import annotations

import os
import sys


def unsupported() -> str | None:
    """Why there can be none here; None when there may be one, which the workers then find out."""
    if sys.platform != "linux":
        return "it needs Linux"
    from catalog.sql.door import seccomp  # noqa: PLC0415 - not to be loaded elsewhere

    if seccomp.this_machine() is None:
        return f"it has no filter for {os.uname().machine}"
    return None
