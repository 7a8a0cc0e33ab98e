"""Files that are not in a backup as they should be: the first few by name, the others by number.

Imports `ingest.agent.protocol`. Safe from several threads; memory stays bounded however many there are.
"""

from __future__ import annotations

import os
import threading

from ingest.agent.protocol import LeftOut

NAMED = 10
MAX_KNOWN = 100_000
_NAME_CHARACTERS = 80


class Troubles:
    """Each file counts once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._named: dict[bytes, str] = {}
        self._known: set[int] = set()
        self._more = 0

    def add(self, name: bytes, why: str) -> None:
        """Note a file, unless it is noted."""
        with self._lock:
            if hash(name) in self._known:
                return
            if len(self._known) < MAX_KNOWN:
                self._known.add(hash(name))
            if len(self._named) < NAMED:
                self._named[name] = why
            else:
                self._more += 1

    def told(self, label: str, verdict: str, way_out: str) -> LeftOut | None:
        """What there is to say; None when there is nothing."""
        if not self._named:
            return None
        named = ", ".join(f"{_shown(name)} ({why})" for name, why in self._named.items())
        more = f" and {self._more} more" if self._more else ""
        count = len(self._named) + self._more
        return LeftOut(
            label=label[:1000], reason=f"{count} files {verdict}: {named}"[: 1000 - len(more)] + more, way_out=way_out
        )


def _shown(name: bytes) -> str:
    text = "".join(letter if letter.isprintable() else "�" for letter in os.fsdecode(name))
    return text if len(text) <= _NAME_CHARACTERS else f"…{text[1 - _NAME_CHARACTERS :]}"
