"""Who is logged in: sessions by their cookies, and the SessionManager.

A session owns its property collectors and views; they end with it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pyVmomi import vim, vmodl
from pyVmomi.VmomiSupport import ManagedObject

from tests.support.vsphere.managed import Call, Managed, World, prop, soap

OPEN_CALLS = frozenset({"RetrieveServiceContent", "Login", "RetrieveProperties", "RetrievePropertiesEx"})
"""What may be called without being logged in; properties are then missing, and NotAuthenticated is why."""


@dataclass(eq=False)
class Session:
    """One client's session; before the login it is only a place for what the client does meanwhile."""

    cookie: str = field(default_factory=lambda: secrets.token_hex(20))
    key: str = field(default_factory=lambda: secrets.token_hex(16))
    user: str | None = None
    ended: bool = False
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    owned: list[Managed] = field(default_factory=list)
    calls: int = 0
    _collector: Managed | None = None

    def collector_of(self, make: Callable[[], Managed]) -> Managed:
        """The session's default property collector."""
        self._collector = self._collector or make()
        return self._collector

    @property
    def live(self) -> bool:
        """Whether somebody is logged in."""
        return self.user is not None and not self.ended

    def check(self) -> None:
        """Raise NotAuthenticated unless the session is logged in."""
        if not self.live:
            raise not_authenticated(vim.Folder("group-d1"), "System.View")

    def view(self) -> vim.UserSession:
        """The session as the API tells it."""
        user = self.user or ""
        return vim.UserSession(
            key=self.key, userName=user, fullName=user, loginTime=self.began, lastActiveTime=datetime.now(UTC),
            locale="en_US", messageLocale="en_US", extensionSession=False, ipAddress="127.0.0.1", userAgent="",
            callCount=self.calls,
        )  # fmt: skip


class Sessions(Managed):
    """The SessionManager, which knows all sessions."""

    kind = vim.SessionManager

    def __init__(self, world: World, user: str, password: str) -> None:
        super().__init__(world, "SessionManager")
        self._user = user
        self._password = password
        self._sessions: dict[str, Session] = {}
        self.logins = 0

    def of(self, cookie: str | None) -> Session:
        """The session of a cookie; a new one, not logged in, when there is none."""
        return self._sessions.get(cookie or "") or Session()

    def expire(self) -> None:
        """End all sessions, as an administrator or a restart of the server does."""
        with self.world.lock:
            for session in list(self._sessions.values()):
                self._end(session)

    def get(self, name: str, session: Session | None = None) -> object:
        """Read a property; the current session is the asking one's."""
        return session.view() if session and name == "currentSession" else super().get(name, session)

    def properties(self) -> list[str]:
        """The names of all properties."""
        return [*super().properties(), "currentSession"]

    @prop
    def sessionList(self) -> list[vim.UserSession]:
        return [session.view() for session in self._sessions.values()]

    @prop
    def defaultLocale(self) -> str:
        return "en_US"

    @soap("Login")
    def login(self, call: Call) -> vim.UserSession:
        """Log in. Raises InvalidLogin, also for a session that is logged in already, as vSphere does."""
        if (call["userName"], call["password"]) != (self._user, self._password) or call.session.user:
            raise vim.fault.InvalidLogin(msg="Cannot complete login due to an incorrect user name or password.")
        call.session.user = self._user
        self._sessions[call.session.cookie] = call.session
        self.logins += 1
        return call.session.view()

    @soap("Logout")
    def logout(self, call: Call) -> None:
        """End the calling session."""
        self._end(call.session)

    @soap("SessionIsActive")
    def is_active(self, call: Call) -> bool:
        """Whether a session lives."""
        asked = call["sessionID"], call["userName"]
        return any((session.key, session.user) == asked for session in self._sessions.values())

    @soap("TerminateSession")
    def terminate(self, call: Call) -> None:
        """End others' sessions."""
        keys = call["sessionId"]
        assert isinstance(keys, list)
        if call.session.key in keys:
            raise vmodl.fault.InvalidArgument(invalidProperty="sessionId", msg="The session is your own")
        for session in [found for found in self._sessions.values() if found.key in keys]:
            self._end(session)

    def _end(self, session: Session) -> None:
        session.ended = True
        self._sessions.pop(session.cookie, None)
        for entry in session.owned:
            self.world.remove(entry)
        self.world.touch()


def not_authenticated(target: ManagedObject, privilege: str) -> vim.fault.NotAuthenticated:
    """What somebody is told who is not logged in."""
    message = "The session is not authenticated."
    return vim.fault.NotAuthenticated(object=target, privilegeId=privilege, msg=message)
