"""The seven kinds of failure, shared by `storage`, `catalog` and `ingest`; imports nothing of ours.

    HoldfastError
    |- Invalid       the request is wrong: change it
    |- NotFound      no such thing
    |- Denied        not allowed, or the key does not fit
    |- Conflict      somebody else changed or holds it: look again
    |- Unavailable   a source or store cannot be reached now: retry later
    |- Corrupt       stored bytes fail verification: do not trust them
    `- Limit         too big, too slow, or out of space

The kind is the contract (exit code, HTTP status); the code names the case; the text is for people.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Kind = Literal["invalid", "not_found", "denied", "conflict", "unavailable", "corrupt", "limit"]

EXIT_CODES: dict[str, int] = {
    "invalid": 2,
    "corrupt": 4,
    "not_found": 5,
    "denied": 6,
    "unavailable": 7,
    "conflict": 8,
    "limit": 9,
}
EXIT_GAPS = 1
"""What was asked about is there, and has gaps."""
EXIT_PARTIAL = 3
EXIT_INTERRUPTED = 130


class HoldfastError(Exception):
    """A failure a person can act on: `what` happened, `why`, what to do `hint`, and a stable `code`."""

    kind: ClassVar[Kind]

    def __init__(self, what: str, *, code: str, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.code = code
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        return ": ".join(part for part in (self.what, self.why) if part)


class Invalid(HoldfastError):
    """The request is wrong and will stay wrong until it is changed."""

    kind = "invalid"


class NotFound(HoldfastError):
    """The thing asked for does not exist."""

    kind = "not_found"


class Denied(HoldfastError):
    """The caller, or the key it holds, may not do this."""

    kind = "denied"


class Conflict(HoldfastError):
    """Somebody else holds or changed it; read again and decide again."""

    kind = "conflict"


class Unavailable(HoldfastError):
    """A source or store does not answer now; the same request may succeed later."""

    kind = "unavailable"


class Corrupt(HoldfastError):
    """Stored bytes do not verify; nothing of them was returned."""

    kind = "corrupt"


class Limit(HoldfastError):
    """A bound was reached: size, time, space or quota."""

    kind = "limit"
