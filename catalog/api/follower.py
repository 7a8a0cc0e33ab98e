"""Keeps the index and the warm reads up to the log while the API runs: one thread, whose failures are seen.

Imports `catalog`. Records of calls alone are projected every few seconds, anything else at once, and everything at
once when a request waits for it. It goes on after a failure; until it succeeds again `trouble` says what is wrong.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from catalog.api.problems import Fault
from catalog.domain.access import AccessRecorded
from catalog.log import EventLog
from storage.errors import HoldfastError

LAZY_POLLS = 20
PAGE_BYTES = 64 * 1024
JOIN_SECONDS = 30.0

logger = logging.getLogger(__name__)


class Follower:
    """`project` brings the index up to the log, `adopt` the reads up to the index; both return a position."""

    def __init__(
        self,
        log: EventLog,
        project: Callable[[], int],
        adopt: Callable[[], int],
        chores: Callable[[], None],
        *,
        poll_seconds: float,
    ) -> None:
        self._log = log
        self._project = project
        self._adopt = adopt
        self._chores = chores
        self._poll_seconds = poll_seconds
        self._wake = threading.Event()
        self._stopped = False
        self._seen = self._looked = self._polls = 0
        self._hurried = False
        self._troubles: dict[str, HoldfastError] = {}
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    @property
    def trouble(self) -> HoldfastError | None:
        """Why the index or a chore is not up to date; None when all is well."""
        return next(iter(self._troubles.values()), None)

    def start(self) -> None:
        """Catch up once, or raise why that is not possible; then go on in a thread."""
        self._seen = self._project()
        self._adopt()
        self._thread.start()

    def stop(self) -> None:
        """Finish what is under way and stop."""
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_SECONDS)

    def hurry(self) -> None:
        """Project now: somebody waits for it."""
        self._hurried = True
        self._wake.set()

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait(self._poll_seconds)
            self._wake.clear()
            self._attempt("index", self._turn)
            self._attempt("chores", self._chores)

    def _turn(self) -> None:
        self._polls += 1
        hurried, self._hurried = self._hurried, False
        end = self._log.position()
        lazy = not hurried and self._polls < LAZY_POLLS and "index" not in self._troubles
        if end > self._seen and not (lazy and self._only_accesses(end)):
            self._seen, self._polls = self._project(), 0
        self._adopt()

    def _only_accesses(self, end: int) -> bool:
        """Whether all that is new are records of calls."""
        self._looked = max(self._looked, self._seen)
        while self._looked < end:
            page = self._log.poll(self._looked, max_bytes=PAGE_BYTES)
            if not page or not all(isinstance(recorded.event, AccessRecorded) for recorded in page):
                return False
            self._looked = page[-1].position
        return True

    def _attempt(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except HoldfastError as error:
            self._failed(name, error)
        except Exception as error:
            self._failed(name, Fault(f"the follower met a fault ({type(error).__name__})", code="internal"))
            logger.exception("the follower met a fault")
        else:
            if self._troubles.pop(name, None) is not None:
                logger.info("%s: up to date again", name)

    def _failed(self, name: str, error: HoldfastError) -> None:
        if name not in self._troubles:
            logger.error("%s: %s [%s]", name, error, error.code)
        self._troubles[name] = error
