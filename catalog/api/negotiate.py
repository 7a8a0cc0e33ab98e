"""Which form of an answer a client wants: the Accept header with its weights. Imports `catalog.answers`."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.answers import MEDIA_TYPES, AnswerFormat
from storage.errors import Invalid

ALL_FORMATS: tuple[AnswerFormat, ...] = tuple(AnswerFormat)
MAX_RANGES = 32


def chosen_format(accept: str | None, offered: Sequence[AnswerFormat] = ALL_FORMATS) -> AnswerFormat:
    """The offered format that `accept` weighs highest, the first of equals. Raises Invalid(not-acceptable)."""
    if not accept or accept == "*/*":
        return offered[0]
    ranges = [_weighed(part) for part in accept.split(",")[:MAX_RANGES]]
    best = max(offered, key=lambda candidate: _weight(candidate, ranges))
    if _weight(best, ranges) > 0:
        return best
    raise Invalid(
        "no form of this answer is acceptable to you",
        code="not-acceptable",
        hint="accept one of: " + ", ".join(media_type(candidate) for candidate in offered),
    )


def media_type(answer: AnswerFormat) -> str:
    """The media type of a format, without parameters."""
    return MEDIA_TYPES[answer].partition(";")[0]


def _weighed(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip() for piece in part.lower().split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                return name, min(1.0, max(0.0, float(value)))
            except ValueError:
                return name, 0.0
    return name, 1.0


def _weight(candidate: AnswerFormat, ranges: Sequence[tuple[str, float]]) -> float:
    """The weight that the most specific matching range gives."""
    exact = media_type(candidate)
    for wanted in (exact, exact.partition("/")[0] + "/*", "*/*"):
        found = [weight for name, weight in ranges if name == wanted]
        if found:
            return max(found)
    return 0.0
