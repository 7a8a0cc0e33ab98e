"""How the simulated world fails: as a script on a host would. Imports nothing of ours."""

from __future__ import annotations


class WorldFailure(Exception):
    """What `Stop-Script kind code message` says on a host."""

    def __init__(self, kind: str, code: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code
        self.message = message


def missing(what: str, identifier: str) -> WorldFailure:
    """Something that is not at the host that was asked."""
    return WorldFailure("not_found", f"{what}-missing", f"there is no {what} {identifier}")
