"""What a caller may write in a request: names of restore targets, keys of requests. Pure; imports `storage.errors`."""

from __future__ import annotations

from storage.errors import Invalid

MAX_KEY = 200
MAX_TARGET_BYTES = 1000
MAX_PART_BYTES = 200


def check_target(to: str) -> str:
    """Return the name of a restore target: a relative path whose parts are plain names. Raises Invalid."""
    parts = to.split("/")
    problem = next((problem for part in parts if (problem := _part_problem(part))), None)
    if problem is None and len(to.encode()) > MAX_TARGET_BYTES:
        problem = f"it is longer than {MAX_TARGET_BYTES} bytes"
    if problem is not None:
        raise Invalid(
            "a restore cannot be written there",
            code="restore-target",
            why=problem,
            hint="give a relative name below the worker's restore folder, such as: web/2026-03-01",
        )
    return to


def _part_problem(part: str) -> str | None:
    if not part:
        return "it is absolute, or a part of it is empty"
    if not part.isprintable():
        return "it has control characters"
    if part.startswith("."):
        return "a part of it begins with a dot"
    if part != part.strip():
        return "a part of it begins or ends with a blank"
    if len(part.encode()) > MAX_PART_BYTES:
        return f"a part of it is longer than {MAX_PART_BYTES} bytes"
    return None


def check_key(key: str) -> str:
    """Return an idempotency key. Raises Invalid."""
    if not 0 < len(key) <= MAX_KEY or not key.isascii() or not key.isprintable():
        raise Invalid(
            "that cannot be an idempotency key",
            code="idempotency-key",
            hint=f"use 1 to {MAX_KEY} printable ASCII characters, a random UUID say",
        )
    return key
