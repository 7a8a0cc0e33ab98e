"""Failures of WinRM, of Windows and of scripts as our seven kinds of error.

Imports `adapters.errors`, `adapters.trust` and this package.

Requests and their answers hold credentials, so no cause is chained: what remains is a code and a cleaned text.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from spnego.exceptions import SpnegoError
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
)
from winrm.exceptions import AuthenticationError, WinRMOperationTimeoutError, WinRMTransportError, WSManFaultError

from adapters.errors import (
    KINDS,
    AdapterError,
    SourceConflict,
    SourceDenied,
    SourceInvalid,
    SourceLimit,
    SourceNotFound,
    SourceUnavailable,
)
from adapters.hyperv.control.connection import InClear, KeysLost
from adapters.trust import CertificateChanged, tls_error

SHELL_GONE = 2150858843
_ACCESS_DENIED = 5
_QUOTAS = {2150858815, *range(2150859173, 2150859177), 2150859179, *range(2150859236, 2150859242)}
"""ERROR_WSMAN_QUOTA_* of wsmerror.h: shells, operations and users, in all and for one user."""

_KERBEROS_REFUSALS = ("KerberosExchangeError", "MutualAuthenticationError")


def _credssp_refusals() -> tuple[type[Exception], ...]:
    """What the package for CredSSP raises, which may be missing; they are of no class that others raise."""
    try:
        exceptions = import_module("requests_credssp.exceptions")
    except ImportError:
        return ()
    return exceptions.AuthenticationException, exceptions.NTStatusException


CREDSSP_REFUSALS = _credssp_refusals()
"""The host, or the password, was refused before any message went out."""

_LONGEST = 500
_DENIED = (SourceDenied, "access-refused")
_MISSING = (SourceNotFound, "object-missing")
_UNSUPPORTED = (SourceInvalid, "not-supported")
_MEMORY = (SourceLimit, "host-memory")
_HRESULTS: Mapping[int, tuple[type[AdapterError], str]] = {
    0x80070005: _DENIED,
    0x80041003: _DENIED,
    0x80070002: _MISSING,
    0x80070003: _MISSING,
    0x80041002: _MISSING,
    0x8004100E: _UNSUPPORTED,  # no such namespace: the role is missing
    0x80041010: _UNSUPPORTED,  # no such class: Windows is too old
    0x80070020: (SourceConflict, "file-locked"),
    0x80070050: (SourceConflict, "file-exists"),
    0x800700B7: (SourceConflict, "file-exists"),
    0x80070070: (SourceLimit, "disk-full"),
    0x8007000E: _MEMORY,
    0x80041006: _MEMORY,
}
_NATIVE: Mapping[str, tuple[type[AdapterError], str]] = {
    "AccessDenied": _DENIED,
    "NotFound": _MISSING,
    "InvalidNamespace": _UNSUPPORTED,
    "InvalidClass": _UNSUPPORTED,
    "OutOfMemory": _MEMORY,
}
_HINTS: Mapping[str, str] = {
    "cluster-missing": "Leave --cluster out, or name a node of a cluster.",
    "access-refused": "Give the user the rights that adapters/hyperv/README.md lists.",
    "not-supported": "The host needs the Hyper-V role; hosts before Windows Server 2016 need the legacy setting.",
    "host-memory": "Raise MaxMemoryPerShellMB of the host's WinRM, or free memory there.",
}


def clean(text: str) -> str:
    """Somebody else's words in one line of bounded length, without control characters."""
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in text[: 4 * _LONGEST]).split())
    return words if len(words) <= _LONGEST else words[: _LONGEST - 1] + "…"


def script_error(error: Mapping[str, Any], script: str, host: str) -> AdapterError:
    """The failure that a script tells: by its own kind and code, else by what Windows calls it."""
    what = f"{script} failed on {host}"
    message = clean(str(error.get("message") or ""))
    kind, code = KINDS.get(str(error.get("kind"))), error.get("code")
    if kind is not None and isinstance(code, str):
        return kind(what, code=code, why=message, hint=_HINTS.get(code, ""))
    number = error.get("hresult")
    hresult = (number if isinstance(number, int) else 0) & 0xFFFFFFFF
    native = str(error.get("native") or "")
    kind, code = _HRESULTS.get(hresult) or _NATIVE.get(native) or (SourceUnavailable, "script-failed")
    names = ", ".join(part for part in (native, f"0x{hresult:08X}" if hresult else "") if part)
    why = f"{message} ({names})" if names else message
    return kind(what, code=code, why=why, hint=_HINTS.get(code, ""))


def fault_error(fault: WSManFaultError, host: str) -> AdapterError:
    """A fault of the WinRM service itself."""
    codes = {fault.wsman_fault_code, fault.wmierror_code}
    why = clean(fault.reason)
    if codes & _QUOTAS:
        return SourceLimit(
            f"{host} allows this user no more WinRM shells or operations",
            code="winrm-quota",
            why=why,
            hint="Shells that were left open end by themselves after a while; or raise MaxShellsPerUser and"
            " MaxConcurrentOperationsPerUser of the host's WinRM.",
        )
    if _ACCESS_DENIED in codes:
        return SourceDenied(
            f"{host} refuses this user a remote shell",
            code="winrm-denied",
            why=why,
            hint="The user must be an administrator of the host, see adapters/hyperv/README.md.",
        )
    return SourceUnavailable(
        f"The WinRM service of {host} failed", code="winrm-fault", why=f"{why} ({fault.wsman_fault_code})"
    )


def message_error(error: BaseException, user: str, host: str) -> AdapterError:
    """What became of a message that was not answered as WinRM answers."""
    if isinstance(error, WSManFaultError):
        return fault_error(error, host)
    if isinstance(error, InClear | SpnegoError):
        return SourceDenied(f"{host} does not prove who it is", code="sealing-failed", why=clean(str(error)))
    refused = isinstance(error, (AuthenticationError, PermissionError, *CREDSSP_REFUSALS))
    if refused or type(error).__name__ in _KERBEROS_REFUSALS:
        return _login_refused(user, host)
    if isinstance(error, WinRMOperationTimeoutError):
        return SourceUnavailable(f"{host} does not answer in time", code="server-silent")
    if isinstance(error, OSError | HTTPError):
        return connection_error(error, host)
    why = type(error).__name__  # its text may hold what was sent
    if isinstance(error, WinRMTransportError):
        why = f"HTTP status {error.code}"
    return SourceUnavailable(f"{host} did not answer as WinRM does", code="not-winrm", why=why)


def _login_refused(user: str, host: str) -> AdapterError:
    return SourceDenied(
        f"{host} refused {user}",
        code="login-refused",
        hint="Check the password (for Kerberos: the worker's ticket, with klist), and that the host's WinRM allows the"
        " source's kind of authentication (winrm get winrm/config/service/auth).",
    )


def connection_error(error: BaseException, host: str) -> AdapterError:
    """What keeps an answer from arriving: no connection, another server than ours, silence, or an end half-way."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, CertificateChanged | ssl.SSLCertVerificationError):
            return tls_error(cause, host)
    words = [clean(cause.strerror) for cause in causes if isinstance(cause, OSError) and cause.strerror]
    why = words[-1] if words else type(causes[-1]).__name__
    if any(isinstance(cause, ConnectTimeoutError | NameResolutionError | NewConnectionError) for cause in causes):
        return SourceUnavailable(
            f"No connection to {host}",
            code="server-unreachable",
            why=why,
            hint="Check the name, and that a WinRM listener is at that port (winrm enumerate winrm/config/listener) and"
            " the host's firewall lets this machine through.",
        )
    if any(isinstance(cause, TimeoutError | ReadTimeoutError) for cause in causes):
        return SourceUnavailable(f"{host} does not answer in time", code="server-silent")
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return SourceUnavailable(f"The TLS connection to {host} failed", code="tls-failed", why=why)
    return SourceUnavailable(f"The connection to {host} was lost", code="connection-lost", why=why)


def never_heard(error: BaseException) -> bool:
    """Whether a message certainly was not taken by the host: refused, or never sent, or not readable there."""
    if isinstance(error, (WSManFaultError, AuthenticationError, KeysLost, *CREDSSP_REFUSALS)):
        return True
    return any(
        isinstance(
            cause,
            CertificateChanged
            | ssl.SSLCertVerificationError
            | ConnectTimeoutError
            | NameResolutionError
            | NewConnectionError,
        )
        for cause in _causes(error)
    )


def reply_lost(script: str, host: str, why: str) -> AdapterError:
    """Nobody knows whether a script with an effect took place."""
    return SourceUnavailable(
        f"{script} was sent to {host}, and its answer was lost",
        code="reply-lost",
        why=why,
        hint="Whether it took effect shows at the host.",
    )


def _causes(error: BaseException) -> list[BaseException]:
    """An error and everything it wraps: requests and urllib3 keep causes as arguments, reasons and contexts."""
    found: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        item = queue.pop(0)
        if isinstance(item, BaseException) and not any(item is known for known in found):
            found.append(item)
            queue += [*item.args, getattr(item, "reason", None), item.__cause__, item.__context__]
    return found
