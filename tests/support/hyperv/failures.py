"""How the simulated world says that something is not at the host that was asked."""

from __future__ import annotations

from tests.support.winrm import ScriptFailure


def missing(what: str, identifier: str) -> ScriptFailure:
    """A machine, checkpoint, reference point, disk, file or job that is not there."""
    return ScriptFailure(f"{what}-missing", f"there is no {what} {identifier}", kind="not_found")
