"""One login at a pool's master, renewed, and moved with the master. Imports `adapters.errors`, `.secret`, this package.

- A read is repeated on a new connection, after a new login, or at the new master. A call with an effect never is: a
  reply that does not come is `reply-lost`, and whether the call was heard is found out by looking at the pool.
- Each connection is one thread's for the length of a call; the login is shared. `epoch` tells that it was renewed.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from adapters.errors import SourceInvalid, SourceUnavailable
from adapters.secret import Secret
from adapters.xen.failures import failure_error
from adapters.xen.lines import Lines, Refused, Unanswered, Unreachable
from adapters.xen.logins import WARM_SECONDS, Login, Logins, Timing
from adapters.xen.settings import XenSettings
from adapters.xen.tasks import TASK_SECONDS, TaskWaiter, never
from adapters.xen.trust import trust_context
from adapters.xen.values import typed

__all__ = ["Session", "Timing", "is_read"]

_IDLE_SECONDS = 60.0
_MOST_RENEWALS = 3
_ENDED = ("SESSION_INVALID", "HOST_IS_SLAVE")
_EMERGENCY = (
    "HOST_STILL_BOOTING HOST_IN_EMERGENCY_MODE HOST_HAS_NO_MANAGEMENT_IP HOST_ITS_OWN_SLAVE HOST_UNKNOWN_TO_MASTER"
    " HOST_MASTER_CANNOT_TALK_BACK"
)
_WAITED_FOR = (*_ENDED, *_EMERGENCY.split())
"""What a host answers that is not, or not yet, or no longer the master: another one may be, or it may be soon."""


def is_read(method: str) -> bool:
    """Whether a call changes nothing, and so may be sent again."""
    verb = method.partition(".")[2]
    return verb.startswith("get_") or verb in ("from", "list_changed_blocks")


class Session:
    """Connects at its first use. Safe to use from several threads; errors and what they chain show no secret."""

    def __init__(
        self,
        settings: XenSettings,
        timing: Timing | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings = settings
        self.timing = timing or Timing()
        self.ssl_context: ssl.SSLContext = trust_context(settings)
        self._lines = Lines(
            self.ssl_context, settings.port, self.timing.call_seconds, self.timing.connect_seconds, clock
        )
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._logins = Logins(settings, self.timing, self._lines, self._closed.is_set, clock=clock, sleep=sleep)
        self._current: Login | None = None
        self._tasks = TaskWaiter(
            self.call,
            event_seconds=self.timing.event_seconds,
            clock=clock,
            sleep=sleep,
            shown=self._lines.redaction.shown,
        )

    @property
    def master(self) -> str:
        """The address of the host that answers for the pool."""
        return self._in_force().master

    @property
    def epoch(self) -> int:
        """The number of the login in force, from 1 on: what holds a session id is taken again when it grew."""
        return self._in_force().epoch

    def session_id(self) -> Secret:
        """The reference of the session in force, which is as good as the password while it lasts."""
        return self._in_force().session

    def shown(self, text: str) -> str:
        """Return what a host said without the ids of this pool's sessions: fit for errors."""
        return self._lines.redaction.shown(text)

    def call(self, method: str, *args: object) -> Any:
        """Call such as `("VM.get_record", ref)`: records as dicts, 64-bit numbers as ints, dates as strings.

        Raises the AdapterError of XenAPI's failure, with its name as the code (`vdi-in-use`); SourceUnavailable
        `reply-lost` when nobody knows whether a call with an effect was heard.
        """
        return typed(method, self._read(method, args) if is_read(method) else self._effect(method, args))

    def task(
        self, method: str, *args: object, seconds: float = TASK_SECONDS, stopped: Callable[[], bool] = never
    ) -> Any:
        """Call `Async.` + `method`, wait until the task is over and return what it made; raises what `call` does.

        And SourceUnavailable: `task-lost`, `task-cancelled`, and, after asking to cancel it, `task-timeout` and
        `task-stopped`. As after `reply-lost`, what was asked for may be there or may still come.
        """
        task = self.call(f"Async.{method}", *args)
        if not isinstance(task, str):
            raise SourceInvalid(f"{method} failed", code="answer-unreadable", why="the pool answered with no task")
        return typed(method, self._tasks.result(task, f"{method} failed", seconds=seconds, stopped=stopped))

    def close(self) -> None:
        """Log out and hang up; closing twice is harmless."""
        self._closed.set()
        with self._lock:
            login, self._current = self._current, None
        if login is not None:
            with suppress(Refused, Unreachable, Unanswered):  # the session ends by itself
                self._lines.ask(login.master, "session.logout", (login.session.reveal(),), WARM_SECONDS)
        self._lines.close()

    def _read(self, method: str, args: tuple[object, ...]) -> Any:
        what, renewals, reconnected = f"{method} failed", 0, False
        while True:
            login = self._in_force()
            try:
                return self._lines.ask(login.master, method, (login.session.reveal(), *args), _IDLE_SECONDS)
            except Refused as refused:
                error = failure_error(refused.details, what)
                again = refused.details[0] in _WAITED_FOR
            except Unreachable as failure:
                error, again = failure.error, isinstance(failure.error, SourceUnavailable)
            except Unanswered as failure:
                error, again = failure.error, failure.error.code == "server-unreachable"
                if again and not reconnected:
                    reconnected = True
                    self._lines.hang_up()  # the host may have closed what was idle
                    continue
            renewals += 1
            if not again or renewals > _MOST_RENEWALS:
                raise error
            self._renew(login)

    def _effect(self, method: str, args: tuple[object, ...]) -> Any:
        """Send a call once, on a session and a connection that were alive a moment before."""
        what = f"{method} failed"
        self._read("pool.get_all", ())
        login = self._in_force()
        try:
            return self._lines.ask(login.master, method, (login.session.reveal(), *args), WARM_SECONDS)
        except Unreachable as failure:
            raise failure.error from None
        except Unanswered as failure:
            why = str(failure.error)
        except Refused as refused:
            if refused.details[0] not in _ENDED:
                raise failure_error(refused.details, what) from None
            why = f"the session ended on the way ({refused.details[0]})"
        raise SourceUnavailable(
            what,
            code="reply-lost",
            why=f"nobody knows whether the pool heard it: {why}",
            hint="It is not sent again; whether it had an effect is found out by looking at the pool.",
        )

    def _in_force(self) -> Login:
        with self._lock:
            if self._closed.is_set():
                raise SourceInvalid(f"The session at {self.settings.host} is closed", code="session-closed")
            if self._current is None:
                self._current = self._logins.search()
            return self._current

    def _renew(self, seen: Login) -> None:
        """Log in again, wherever the master is, unless another thread did since `seen`."""
        with self._lock:
            if self._current is seen:
                self._current = None
                self._lines.hang_up()
