"""How much of something each caller may have at once. Imports `storage.errors`."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from storage.errors import Limit


class Quota:
    """At most `each` at once for a caller and `total` for all of them; safe from many threads."""

    def __init__(self, each: int, total: int, *, code: str, what: str) -> None:
        self._each = each
        self._total = total
        self._code = code
        self._what = what
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    def take(self, name: str) -> Callable[[], None]:
        """Take one for the caller called `name`; return what gives it back, any number of times. Raises Limit."""
        with self._lock:
            if self._taken[name] >= self._each or self._taken.total() >= self._total:
                raise Limit(f"too many {self._what} at once", code=self._code, hint="end one, or try again soon")
            self._taken[name] += 1
        given_back = threading.Lock()

        def give_back() -> None:
            if given_back.acquire(blocking=False):
                with self._lock:
                    self._taken[name] -= 1
                    if not self._taken[name]:
                        del self._taken[name]

        return give_back
