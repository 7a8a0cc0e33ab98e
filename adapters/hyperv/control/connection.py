"""pywinrm's transport as we allow it. Imports `adapters.errors`, `adapters.trust` and this package.

- Which server is spoken to, and how, follows from the settings alone: no proxy, no CA bundle and no netrc of the
  environment, and no redirect.
- Each connection's certificate is looked at before anything is sent; over plain HTTP every message is sealed with the
  keys of its own connection, and so is every answer.
- An answer is read up to a bound.
"""

from __future__ import annotations

import io
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from winrm import transport as pywinrm
from winrm.exceptions import InvalidCredentialsError, WinRMTransportError
from winrm.protocol import Protocol

from adapters.errors import SourceInvalid, SourceLimit
from adapters.hyperv.settings import HypervSettings
from adapters.trust import TrustContext

_ENVELOPE_BYTES = 4 << 20
"""Several times what we ask for (pywinrm: 150 KiB)."""

_SEALED = "multipart/"


class KeysLost(requests.ConnectionError):
    """A message was sealed for a connection that is no more: the host did not read it."""


class InClear(requests.ConnectionError):
    """Over plain HTTP something was not sealed that must be."""


class _Adapter(HTTPAdapter):
    """Connects through one TLS context, and lets nothing but sealed messages through plain HTTP."""

    def __init__(self, context: TrustContext) -> None:
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=1)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Where to connect to, by our context, whatever the session says."""
        host, _ = super().build_connection_pool_key_attributes(request, False, None)
        if host["scheme"] != "https":
            return host, {}
        # The context has looked at the certificate; this tells urllib3 that somebody did. The setting takes one pin.
        (pin,) = self._context.pins or (None,)
        return host, {"ssl_context": self._context, "assert_fingerprint": pin}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave it to the context."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send one request. Raises KeysLost and InClear."""
        plain = str(request.url).startswith("http:")
        sealed = str(request.headers.get("Content-Type", "")).startswith(_SEALED)
        if plain and request.body and not sealed:
            raise InClear("a message was about to be sent in clear text")
        response = super().send(request, *args, **kwargs)
        if plain and sealed:
            problem = _broken_seal(response)
            if problem is not None:
                response.close()
                raise problem
        return response


def _broken_seal(response: requests.Response) -> requests.ConnectionError | None:
    """What is wrong with the answer to a sealed message; other statuses than these bring no answer."""
    if response.status_code == 401:
        return KeysLost("the connection was renewed")
    if response.status_code in (200, 500) and not response.headers.get("Content-Type", "").startswith(_SEALED):
        return InClear("an answer came in clear text")
    return None


class _Transport(pywinrm.Transport):
    """pywinrm's transport on our adapter."""

    context: TrustContext
    connect_seconds: float

    def build_session(self) -> requests.Session:
        """Make the session at the first use."""
        return self._secured(super().build_session())

    def setup_encryption(self, session: requests.Session) -> None:
        """Take our adapter before the first message goes out, which is sent from here."""
        super().setup_encryption(self._secured(session))

    def _secured(self, session: requests.Session) -> requests.Session:
        if isinstance(session.get_adapter(self.endpoint), _Adapter):
            return session
        session.trust_env = False
        session.proxies = {}
        session.headers["Accept-Encoding"] = "identity"
        adapter = _Adapter(self.context)
        for scheme in ("http://", "https://"):
            session.mount(scheme, adapter)
        return session

    def _send_message_request(
        self, session: requests.Session, prepared_request: requests.PreparedRequest
    ) -> requests.Response:
        timeout = (self.connect_seconds, self.read_timeout_sec)
        response = session.send(prepared_request, timeout=timeout, stream=True, allow_redirects=False)
        try:
            body = response.raw.read(_ENVELOPE_BYTES + 1)
        finally:
            if not response.raw.isclosed():
                response.close()  # what is left of it would be taken for the next answer
        if len(body) > _ENVELOPE_BYTES:
            raise SourceLimit("A WinRM message is too large", code="answer-too-large")
        response.raw.release_conn()
        response.raw = io.BytesIO(body)
        if response.status_code == 401:
            raise InvalidCredentialsError
        if response.status_code != 200:
            text = self._get_message_response_text(response) if body else b""
            raise WinRMTransportError("http", response.status_code, text.decode("utf-8", "replace"))
        return response


def address(settings: HypervSettings, host: str) -> str:
    """A host's name and port, as in an address."""
    bare = host.strip("[]")
    named = f"[{bare.replace('%', '%25')}]" if ":" in bare else bare
    return f"{named}:{settings.port}"


def endpoint(settings: HypervSettings, host: str) -> str:
    """The full address of a host's WinRM service; pywinrm makes others of what is less."""
    return f"{'http' if settings.plain_http else 'https'}://{address(settings, host)}/wsman"


def require_extra(settings: HypervSettings) -> None:
    """Raise SourceInvalid when the packages of the settings' authentication are not installed."""
    wanted = settings.authentication
    missing = {"kerberos": not pywinrm.HAVE_KERBEROS, "credssp": not pywinrm.HAVE_CREDSSP}
    if missing.get(wanted, False):
        raise SourceInvalid(
            f"The packages for {wanted} authentication are not installed",
            code="extra-missing",
            hint=f"Install holdfast[hyperv-{wanted}].",
        )


def connect(settings: HypervSettings, host: str, context: TrustContext, connect_seconds: float) -> Protocol:
    """A connection that is made at its first use. The password is asked for now, and kept for its time."""
    where, password = endpoint(settings, host), settings.password.reveal()
    if settings.authentication == "basic" and not (settings.user + password).isascii():
        raise SourceInvalid(
            "Basic authentication takes ASCII only",
            code="credentials-not-ascii",
            why="the user's name or password has other characters, for which there is no agreed encoding",
            hint="Use NTLM, Kerberos or CredSSP.",
        )
    protocol = Protocol(where, settings.authentication, settings.user, password)
    protocol.transport = _Transport(
        where,
        settings.user,
        password,
        service="HTTP",
        ca_trust_path="",
        server_cert_validation="ignore" if settings.insecure else "validate",
        auth_method=settings.authentication,
        message_encryption="always" if settings.plain_http else "never",
        proxy=None,
    )
    protocol.transport.context, protocol.transport.connect_seconds = context, connect_seconds
    return protocol
