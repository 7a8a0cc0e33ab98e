"""Finding a pool's master and logging in there. Imports `adapters.errors`, `adapters.secret` and this package.

The password leaves its Secret in `_log_in` alone, once for each login, behind a verified certificate: of the host that
the settings name, and of each that a member names as its master.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from adapters.errors import AdapterError, SourceDenied, SourceInvalid, SourceUnavailable
from adapters.secret import Secret
from adapters.xen.failures import failure_error
from adapters.xen.lines import Lines, Refused, Unanswered, Unreachable
from adapters.xen.settings import XenSettings

WARM_SECONDS = 5.0
"""A connection used this moment is none that the host closed meanwhile: a call with an effect wants such a one."""

_API_VERSION = "2.21"
_ORIGINATOR = "holdfast"
_MOST_MEMBERS = 128
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
class Login:
    """A session at the master; `epoch` counts them."""

    master: str
    session: Secret
    epoch: int


class Logins:
    """Logs in, for one thread at a time; `closed` is asked between two hosts."""

    def __init__(
        self,
        settings: XenSettings,
        timing: Timing,
        lines: Lines,
        closed: Callable[[], bool],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._settings = settings
        self._timing = timing
        self._lines = lines
        self._closed = closed
        self._clock = clock
        self._sleep = sleep
        self._members = list(dict.fromkeys(host.strip("[]") for host in (settings.host, *settings.members)))
        self._number = 0

    def search(self) -> Login:
        """Find the master and log in; looks around again and again only for one that was there before.

        Raises the AdapterError that says most: a refusal, or what the first host failed with.
        """
        deadline = self._clock() + (self._timing.search_seconds if self._number else 0)
        while True:
            failures: list[AdapterError] = []
            login = self._look_around(failures)
            if login is not None:
                self._learn_members(login)
                return login
            denied = next((error for error in failures if isinstance(error, SourceDenied)), None)
            if denied is not None or self._clock() >= deadline or self._closed():
                raise denied or failures[0]
            self._sleep(self._timing.search_pause_seconds)

    def _look_around(self, failures: list[AdapterError]) -> Login | None:
        """Ask the known hosts in turn, and at once the one that a member calls its master."""
        waiting, asked = list(self._members), set[str]()
        while waiting and len(asked) < _MOST_MEMBERS and not self._closed():
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
                failures.append(failure_error(refused.details, f"{host} did not let {self._settings.user} in"))
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

    def _log_in(self, host: str) -> Login:
        password = self._settings.password.reveal()
        hidden = self._lines.redaction.hiding(password)
        params = (self._settings.user, password, _API_VERSION, _ORIGINATOR)
        with hidden:
            reference = self._lines.ask(host, "session.login_with_password", params, WARM_SECONDS)
        if not isinstance(reference, str) or not reference:
            raise Unanswered(
                SourceInvalid(f"{host} did not answer as XenAPI does", code="answer-unreadable", why="no session")
            )
        self._lines.redaction.learn(reference)
        self._number += 1
        return Login(host, Secret(lambda: reference), self._number)

    def _learn_members(self, login: Login) -> None:
        """Put the master first, and after it whom the pool may name as the next one."""
        addresses = [login.master, *self._members]
        with suppress(Refused, Unreachable, Unanswered, AttributeError):  # then the settings' hosts are all we know
            records = self._lines.ask(
                login.master, "host.get_all_records", (login.session.reveal(),), WARM_SECONDS
            ).values()
            addresses += [str(record.get("address")) for record in records]
        self._members = [host for host in dict.fromkeys(addresses) if _ADDRESS.fullmatch(host)][:_MOST_MEMBERS]
