"""What an object may be called; imports `storage.errors` only.

The rule is narrow enough for every backend: a local path, an S3 key, a blob name. It can not leave its root.
"""

from __future__ import annotations

import re

from storage.errors import Invalid

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*", re.ASCII)
_PREFIX = re.compile(r"[a-z0-9][a-z0-9._/-]*|", re.ASCII)
MAX_NAME_BYTES = 512


def check_name(name: str) -> str:
    """Return the name of an object, or raise Invalid `object-name`."""
    if len(name) > MAX_NAME_BYTES or not _NAME.fullmatch(name):
        raise Invalid(f"{name[:80]!r} can not name an object", code="object-name")
    return name


def check_prefix(prefix: str) -> str:
    """Return the start of names, which may end anywhere, or raise Invalid `object-name`."""
    parts = prefix.split("/")
    if len(prefix) > MAX_NAME_BYTES or not _PREFIX.fullmatch(prefix) or "" in parts[:-1] or _hidden(parts):
        raise Invalid(f"{prefix[:80]!r} can not start an object's name", code="object-name")
    return prefix


def _hidden(parts: list[str]) -> bool:
    return any(part.startswith((".", "-", "_")) for part in parts)
