"""The border between what is asked of a host and how it gets there. Imports nothing of ours.

One runner speaks to one host. A script that changes something is never run twice, whatever becomes of its answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Protocol


class ScriptRunner(Protocol):
    """Runs the scripts of `adapters/hyperv/scripts/` on one host. Safe to use from several threads."""

    def run(self, script: str, arguments: Mapping[str, object]) -> Any:
        """Run `script`, such as `machines`, and return its answer, decoded JSON.

        Raises the script's own failure as the AdapterError of its kind and code. SourceUnavailable with the code
        `reply-lost` says of a script with an effect that nobody knows whether it took place.
        """

    def close(self) -> None:
        """Close the shell and all connections; closing twice is harmless."""


class Runners:
    """One runner for each host name, made on demand by `make` and closed together. Safe to use from several threads."""

    def __init__(self, make: Callable[[str], ScriptRunner]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._runners: dict[str, ScriptRunner] = {}

    def of(self, host: str) -> ScriptRunner:
        """The runner of `host`; names are compared without regard to case, as Windows does."""
        with self._lock:
            key = host.casefold()
            if key not in self._runners:
                self._runners[key] = self._make(host)
            return self._runners[key]

    def close(self) -> None:
        """Close every runner, also when closing one of them fails; closing twice is harmless."""
        with self._lock:
            runners = list(self._runners.values())
            self._runners.clear()
        with ExitStack() as stack:
            for runner in runners:
                stack.callback(runner.close)
