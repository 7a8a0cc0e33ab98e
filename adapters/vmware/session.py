"""One login at a vCenter or an ESXi host, kept alive and renewed. Imports `adapters.errors` and this package.

- The password leaves its Secret in `_login` alone, once for each login.
- A read is repeated once after a new login or on a new connection. A call with an effect never is: whether a lost
  one was heard is found out by looking at the server.
- Every call has a timeout, and so does connecting: a silent server is an error, not a wait.
"""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pyVmomi import vim, vmodl
from pyVmomi.SoapAdapter import SoapStubAdapter
from pyVmomi.VmomiSupport import versionMap

from adapters.errors import AdapterError, SourceDenied, SourceInvalid
from adapters.vmware.faults import UNANSWERED, connection_error, translated
from adapters.vmware.settings import VmwareSettings
from adapters.vmware.trust import thumbprint_sha1, trust_context
from adapters.vmware.wire import WholeConnection

T = TypeVar("T")

OLDEST_API = (6, 5)
_POOL = 8
_IDLE_SECONDS = 60
_UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)
"""What pyvmomi raises, among others, over an answer that is XML but not vSphere's."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a call may take, how long a wait for changes lasts at the server, how often a session is used."""

    call_seconds: float = 120
    wait_seconds: int = 20
    keep_alive_seconds: float = 300


class Session:
    """Connects at its first use. Safe to use from several threads; `host` names the server in errors."""

    def __init__(self, settings: VmwareSettings, timing: Timing | None = None) -> None:
        self.settings = settings
        self.timing = timing or Timing()
        self.host = f"{settings.host}:{settings.port}"
        self.context = trust_context(settings)
        self._lock = threading.RLock()
        self._login_number = 0
        self._stub: SoapStubAdapter | None = None
        self._content: vim.ServiceInstanceContent | None = None
        self._closed = threading.Event()

    @property
    def content(self) -> vim.ServiceInstanceContent:
        """The server's entry points; logs in when nobody has."""
        with self._lock:
            if self._content is None:
                self._connect()
            if self._content is None:
                raise self._closed_error()
            return self._content

    @property
    def server(self) -> str:
        """What the server is known by, whatever its address."""
        return self.content.about.instanceUuid or self.host

    @property
    def thumbprint_sha1(self) -> str:
        """The server's certificate as VDDK wants to be told it."""
        _ = self.content
        return thumbprint_sha1(self.context.leaves[self.settings.host.strip("[]")])

    def cookie(self) -> str:
        """The value of `vmware_soap_session`; another one after a new login."""
        with self._lock:
            return str(self._stub.GetSessionId() or "") if self.content is not None and self._stub is not None else ""

    def bound(self, kind: type[T], moref: str) -> T:
        """The managed object `moref` on this session."""
        _ = self.content
        return kind(moref, self._stub)  # type: ignore[call-arg]  # every managed object is made of these

    def read(self, what: str, call: Callable[[], T]) -> T:
        """Run a call that changes nothing, once more if the session or the connection was lost.

        Raises the AdapterError of `what`.
        """
        _ = self.content
        login = self._login_number
        with translated(what, self.host):
            try:
                return self._checked(what, call)
            except vim.fault.NotAuthenticated:
                self._login_again(login)
            except UNANSWERED as error:
                if isinstance(error, TimeoutError) or not self._is_lost(error):
                    raise
            return self._checked(what, call)

    def effect(self, what: str, call: Callable[[], T]) -> T:
        """Run a call that changes something, exactly once, on a session that was alive a moment before.

        Raises the AdapterError of `what`, and UnansweredCall when nobody knows whether it took effect.
        """
        self.touch()
        with translated(what, self.host):
            try:
                return self._checked(what, call)
            except UNANSWERED as error:
                raise UnansweredCall(what, connection_error(error, self.host)) from None

    def touch(self) -> None:
        """Make sure that the session is alive; this is what keeps it so."""
        service = self.bound(vim.ServiceInstance, "ServiceInstance")
        self.read(f"Asking {self.host} for the time failed", service.CurrentTime)

    def close(self) -> None:
        """Log out and close all connections; closing twice is harmless."""
        with self._lock:
            stub, content = self._stub, self._content
            self._stub = self._content = None
            self._closed.set()
        if stub is None:
            return
        stub.poolSize = 0  # a call still under way closes its connection instead of keeping it
        try:
            if content is not None and content.sessionManager is not None:
                content.sessionManager.Logout()
        except (*UNANSWERED, vmodl.MethodFault):
            pass  # the session ends by itself
        finally:
            stub.DropConnections()

    def _connect(self) -> None:
        if self._closed.is_set():
            raise self._closed_error()
        self._stub = self._make_stub(self._spoken())
        try:
            self._login()
        except BaseException:
            self._stub.DropConnections()
            self._stub = self._content = None
            raise
        threading.Thread(target=self._keep_alive, name="vsphere-keep-alive", daemon=True).start()

    def _make_stub(self, version: str) -> SoapStubAdapter:
        stub = SoapStubAdapter(
            host=self.settings.host,
            port=self.settings.port,
            version=versionMap[version],
            sslContext=self.context,
            poolSize=_POOL,
            connectionPoolTimeout=_IDLE_SECONDS,
            httpConnectionTimeout=self.timing.call_seconds,
        )
        stub.scheme = WholeConnection  # type: ignore[assignment]  # its type is guessed from the first of three
        return stub

    def _spoken(self) -> str:
        """Ask the server for its version. Raises SourceInvalid for one that is too old."""
        stub = self._make_stub("vim25/6.5")
        try:
            with translated(f"The connection to {self.host} failed", self.host):
                about = self._checked("The service content cannot be read", lambda: _content(stub)).about
        finally:
            stub.DropConnections()
        if api_numbers(about.apiVersion)[:2] < OLDEST_API:
            raise SourceInvalid(
                f"{about.fullName} is too old",
                code="vsphere-too-old",
                why="vSphere {}.{} or newer is needed".format(*OLDEST_API),
            )
        return newest_known(about.apiVersion)

    def _login(self) -> None:
        stub = self._stub
        if stub is None:
            raise self._closed_error()
        stub.SetSessionId(None)
        with translated(f"{self.host} refused {self.settings.user}", self.host):
            content = self._checked("The service content cannot be read", lambda: _content(stub))
            manager = content.sessionManager
            if manager is None:
                raise SourceDenied(f"{self.host} has no session manager", code="login-refused")
            manager.Login(self.settings.user, self.settings.password.reveal(), None)
        self._content = content
        self._login_number += 1

    def _login_again(self, seen: int) -> None:
        """Log in unless another thread did since login number `seen`."""
        with self._lock:
            if self._login_number == seen:
                self._login()

    def _checked(self, what: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except UNANSWERED:  # some of them are ValueErrors, too
            raise
        except _UNREADABLE as error:
            raise SourceInvalid(
                what, code="answer-unreadable", why=f"{self.host} answered what vSphere does not: {error!r}"
            ) from None

    @staticmethod
    def _is_lost(error: BaseException) -> bool:
        """Whether a connection that had been made was closed, as idle ones are."""
        return isinstance(error, ConnectionError | ssl.SSLEOFError | ssl.SSLZeroReturnError)

    def _closed_error(self) -> AdapterError:
        return SourceInvalid(f"The session at {self.host} is closed", code="session-closed")

    def _keep_alive(self) -> None:
        while not self._closed.wait(self.timing.keep_alive_seconds):
            try:
                self.touch()
            except AdapterError:
                continue  # whoever needs the session meets the error, and this one may pass


class UnansweredCall(Exception):
    """A call with an effect got no answer: the server may have heard it. `error` is what to raise if it did not."""

    def __init__(self, what: str, error: AdapterError) -> None:
        super().__init__(what)
        self.error = error


def newest_known(api_version: str) -> str:
    """The newest version of the API that both we and a server of `api_version` know, such as `vim25/8.0.3.0`."""
    wanted = api_numbers(api_version)
    numbered: dict[tuple[int, ...], str] = {
        api_numbers(name.removeprefix("vim25/")): name for name in versionMap if re.fullmatch(r"vim25/[\d.]+", name)
    }
    return numbered[max((known for known in numbered if known <= wanted), default=OLDEST_API)]


def api_numbers(version: str) -> tuple[int, ...]:
    """A version's numbers, to be compared; zeros at the end do not count."""
    numbers = [int(part) for part in re.findall(r"\d+", version)]
    while len(numbers) > 2 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _content(stub: SoapStubAdapter) -> vim.ServiceInstanceContent:
    service: vim.ServiceInstance = vim.ServiceInstance("ServiceInstance", stub)
    content = service.RetrieveContent()
    if not isinstance(content, vim.ServiceInstanceContent):
        raise TypeError("no service content")
    return content
