"""One login at a pool's master, renewed, and moved with the master. Imports `adapters.errors`, `.secret`, this package.

- The password leaves its Secret in `_log_in` alone, once for each login, behind a verified certificate.
- A read is repeated on a new connection, after a new login, or at the new master. A call with an effect never is: a
  reply that does not come is `reply-lost`, and whether the call was heard is found out by looking at the pool.
- Each connection is one thread's for the length of a call; the login is shared. `epoch` tells that it was renewed.
"""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from adapters.errors import AdapterError, SourceDenied, SourceInvalid, SourceUnavailable
from adapters.secret import Secret
from adapters.xen.failures import failure_error
from adapters.xen.lines import Lines, Refused, Unanswered, Unreachable
from adapters.xen.settings import XenSettings
from adapters.xen.tasks import TASK_SECONDS, TaskWaiter, never
from adapters.xen.trust import trust_context
from adapters.xen.values import typed

_API_VERSION = "2.21"
_ORIGINATOR = "holdfast"
_IDLE_SECONDS = 60.0
_WARM_SECONDS = 5.0
"""A connection used this moment is none that the host closed meanwhile: a call with an effect wants such a one."""

_MOST_RENEWALS = 3
_MOST_MEMBERS = 128
_ENDED = ("SESSION_INVALID", "HOST_IS_SLAVE")
_EMERGENCY = (
    "HOST_STILL_BOOTING HOST_IN_EMERGENCY_MODE HOST_HAS_NO_MANAGEMENT_IP HOST_ITS_OWN_SLAVE HOST_UNKNOWN_TO_MASTER"
    " HOST_MASTER_CANNOT_TALK_BACK"
)
_WAITED_FOR = (*_ENDED, *_EMERGENCY.split())
"""What a host answers that is not, or not yet, or no longer the master: another one may be, or it may be soon."""

_ADDRESS = re.compile(r"[0-9A-Za-z.:-]{1,255}")


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a host may be silent, also in connecting, one wait for events lasts, a lost master is looked for.

    A master that answered before is looked for again and again: a pool takes its time to name another one, and so does
    a restart.
    """

    call_seconds: float = 120
    connect_seconds: float = 20
    event_seconds: float = 30
    search_seconds: float = 300
    search_pause_seconds: float = 3


@dataclass(frozen=True, slots=True)
class _Login:
    master: str
    session: Secret
    epoch: int


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
        self._clock = clock
        self._sleep = sleep
        self._lines = Lines(
            self.ssl_context, settings.port, self.timing.call_seconds, self.timing.connect_seconds, clock
        )
        self._lock = threading.RLock()
        self._members = list(dict.fromkeys((settings.host, *settings.members)))
        self._current: _Login | None = None
        self._logins = 0
        self._closed = threading.Event()
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
                self._lines.ask(login.master, "session.logout", (login.session.reveal(),), _WARM_SECONDS)
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
            return self._lines.ask(login.master, method, (login.session.reveal(), *args), _WARM_SECONDS)
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

    def _in_force(self) -> _Login:
        with self._lock:
            if self._closed.is_set():
                raise SourceInvalid(f"The session at {self.settings.host} is closed", code="session-closed")
            if self._current is None:
                self._current = self._search()
            return self._current

    def _renew(self, seen: _Login) -> None:
        """Log in again, wherever the master is, unless another thread did since `seen`."""
        with self._lock:
            if self._current is seen:
                self._current = None
                self._lines.hang_up()

    def _search(self) -> _Login:
        """Find the master and log in. Looks around again and again only for one that was there before."""
        deadline = self._clock() + (self.timing.search_seconds if self._logins else 0)
        while True:
            failures: list[AdapterError] = []
            login = self._look_around(failures)
            if login is not None:
                self._learn_members(login)
                return login
            denied = next((error for error in failures if isinstance(error, SourceDenied)), None)
            if denied is not None or self._clock() >= deadline or self._closed.is_set():
                raise denied or failures[0]
            self._sleep(self.timing.search_pause_seconds)

    def _look_around(self, failures: list[AdapterError]) -> _Login | None:
        """Ask the known hosts in turn, and at once the one that a member calls its master."""
        waiting, asked = list(self._members), set[str]()
        while waiting and len(asked) < _MOST_MEMBERS and not self._closed.is_set():
            host = waiting.pop(0)
            if host in asked:
                continue
            asked.add(host)
            try:
                return self._log_in(host)
            except Refused as refused:
                name, *parameters = refused.details
                if name == "HOST_IS_SLAVE" and parameters and _ADDRESS.fullmatch(parameters[0]):
                    waiting.insert(0, parameters[0])
                    continue
                failures.append(failure_error(refused.details, f"{host} did not let {self.settings.user} in"))
                if isinstance(failures[-1], SourceDenied):
                    return None  # more tries with the same password would only lock the user out
            except (Unreachable, Unanswered) as failure:
                failures.append(failure.error)
        if not failures:
            failures.append(
                SourceUnavailable(
                    "The pool has no master", code="no-master", why="each host says that another one is it"
                )
            )
        return None

    def _log_in(self, host: str) -> _Login:
        password = self.settings.password.reveal()
        hidden = self._lines.redaction.hiding(password)
        params = (self.settings.user, password, _API_VERSION, _ORIGINATOR)
        with hidden:
            reference = self._lines.ask(host, "session.login_with_password", params, _WARM_SECONDS)
        if not isinstance(reference, str) or not reference:
            raise Unanswered(
                SourceInvalid(f"{host} did not answer as XenAPI does", code="answer-unreadable", why="no session")
            )
        self._lines.redaction.learn(reference)
        self._logins += 1
        return _Login(host, Secret(lambda: reference), self._logins)

    def _learn_members(self, login: _Login) -> None:
        """Put the master first, and after it whom the pool may name as the next one."""
        addresses = [login.master, *self._members]
        with suppress(Refused, Unreachable, Unanswered, AttributeError):  # then the settings' hosts are all we know
            records = self._lines.ask(
                login.master, "host.get_all_records", (login.session.reveal(),), _WARM_SECONDS
            ).values()
            addresses += [str(record.get("address")) for record in records]
        self._members = [host for host in dict.fromkeys(addresses) if _ADDRESS.fullmatch(host)][:_MOST_MEMBERS]
