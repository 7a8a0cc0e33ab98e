"""What an adapter may raise; imports nothing of ours, so the seven kinds stand here a second time.

    AdapterError
    |- SourceInvalid      the settings are wrong, or the peer broke its own protocol
    |- SourceNotFound     no such machine, disk or file at the source
    |- SourceDenied       credentials, certificate or rights refused
    |- SourceConflict     the source changed under us, or somebody else works on it
    |- SourceUnavailable  no connection, or it was lost
    |- SourceCorrupt      the source's bytes contradict themselves
    `- SourceLimit        the source ran out of something, or answered more than we accept

Messages never contain a credential.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class AdapterError(Exception):
    """A failure at a source: `what` happened, `why`, what to do `hint`, and a stable `code`."""

    kind: ClassVar[str]

    def __init__(self, what: str, *, code: str, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.code = code
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        return ": ".join(part for part in (self.what, self.why) if part)


class SourceInvalid(AdapterError):
    """The settings are wrong, or the peer broke its own protocol."""

    kind = "invalid"


class SourceNotFound(AdapterError):
    """The source has no such machine, disk or file."""

    kind = "not_found"


class SourceDenied(AdapterError):
    """Credentials, certificate or rights were refused."""

    kind = "denied"


class SourceConflict(AdapterError):
    """The source changed under us, or somebody else works on it."""

    kind = "conflict"


class SourceUnavailable(AdapterError):
    """The source cannot be reached, or the connection was lost."""

    kind = "unavailable"


class SourceCorrupt(AdapterError):
    """The source's bytes contradict themselves."""

    kind = "corrupt"


class SourceLimit(AdapterError):
    """The source ran out of something, or answered more than we accept."""

    kind = "limit"


KINDS: Mapping[str, type[AdapterError]] = {
    kind.kind: kind
    for kind in (
        SourceInvalid,
        SourceNotFound,
        SourceDenied,
        SourceConflict,
        SourceUnavailable,
        SourceCorrupt,
        SourceLimit,
    )
}
"""Each error by its kind, for those who are told a failure in words."""


def tell_remains(error: BaseException, what: str) -> None:
    """Add to a failure, whoever's it is, what remains at the source: as a note, and as the hint of an error of ours."""
    error.add_note(what)
    if isinstance(error, AdapterError):
        error.hint = what
