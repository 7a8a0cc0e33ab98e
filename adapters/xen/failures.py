"""XenAPI's failures as our kinds of error. Imports `adapters.errors` and this package's `rpc` and `trust`.

The code of an error is XenAPI's own name of the failure in our spelling (`VDI_IN_USE`: `vdi-in-use`), which is part of
its published API and so stable; the table says its kind. Session ids never get as far as an error: see `Redaction`.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from xml.parsers.expat import ExpatError
from xmlrpc.client import Error as XmlRpcError
from xmlrpc.client import Fault, ProtocolError

from adapters.errors import (
    AdapterError,
    SourceConflict,
    SourceCorrupt,
    SourceDenied,
    SourceInvalid,
    SourceLimit,
    SourceNotFound,
    SourceUnavailable,
)
from adapters.xen.rpc import ReplyTooLong
from adapters.xen.trust import tls_error

UNANSWERED = (
    OSError, HTTPException, ExpatError, XmlRpcError, ReplyTooLong,
    AttributeError, IndexError, KeyError, TypeError, ValueError,  # what xmlrpc raises over XML that is not XML-RPC
)  # fmt: skip
"""What a call raises whose answer did not arrive or cannot be read: the host may have acted on it or not."""

_KINDS: dict[type[AdapterError], str] = {
    SourceDenied: """SESSION_AUTHENTICATION_FAILED SESSION_AUTHORIZATION_FAILED RBAC_PERMISSION_DENIED PERMISSION_DENIED
        AUTH_SERVICE_ERROR USER_IS_NOT_LOCAL_SUPERUSER LICENCE_RESTRICTION LICENSE_EXPIRED FEATURE_RESTRICTED""",
    SourceNotFound: """HANDLE_INVALID UUID_INVALID OBJECT_NOLONGER_EXISTS VDI_MISSING VDI_LOCATION_MISSING
        VDI_CONTENT_ID_MISSING VDI_NOT_IN_MAP VBD_MISSING""",
    SourceConflict: """VDI_IN_USE VDI_NOT_AVAILABLE VDI_CBT_ENABLED VDI_NO_CBT_METADATA OPERATION_NOT_ALLOWED
        OPERATION_BLOCKED OTHER_OPERATION_IN_PROGRESS VM_BAD_POWER_STATE VM_IS_SNAPSHOT VM_IS_PROTECTED
        DEVICE_ALREADY_ATTACHED DEVICE_ALREADY_DETACHED DEVICE_ALREADY_EXISTS DEVICE_NOT_ATTACHED
        DEVICE_DETACH_TIMEOUT DEVICE_DETACH_REJECTED VM_DUPLICATE_VBD_DEVICE MAC_STILL_EXISTS DUPLICATE_VM
        VM_SNAPSHOT_FAILED VM_ASSIGNED_TO_PROTECTION_POLICY SR_VDI_LOCKING_FAILED PUSB_VDI_CONFLICT MIRROR_FAILED
        DB_UNIQUENESS_CONSTRAINT_VIOLATION MAP_DUPLICATE_KEY LOCATION_NOT_UNIQUE TASK_CANCELLED""",
    SourceLimit: """SR_FULL SR_SOURCE_SPACE_INSUFFICIENT OUT_OF_SPACE VDI_TOO_LARGE VM_HAS_TOO_MANY_SNAPSHOTS
        TOO_MANY_PENDING_TASKS TOO_MANY_STORAGE_MIGRATES HOST_NOT_ENOUGH_FREE_MEMORY""",
    SourceInvalid: """MESSAGE_METHOD_UNKNOWN MESSAGE_PARAMETER_COUNT_MISMATCH MESSAGE_REMOVED MESSAGE_DEPRECATED
        FIELD_TYPE_ERROR VALUE_NOT_SUPPORTED INVALID_VALUE XMLRPC_UNMARSHAL_FAILURE NOT_IMPLEMENTED
        SR_OPERATION_NOT_SUPPORTED UNIMPLEMENTED_IN_SM_BACKEND SR_DOES_NOT_SUPPORT_MIGRATION SR_UNKNOWN_DRIVER
        VDI_INCOMPATIBLE_TYPE VDI_IS_A_PHYSICAL_DEVICE VDI_IS_SHARABLE VDI_READONLY VDI_NOT_MANAGED VDI_TOO_SMALL
        VDI_NOT_SPARSE VDI_IS_ENCRYPTED VDI_HAS_RRDS VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION VM_IS_TEMPLATE
        ILLEGAL_VBD_DEVICE INVALID_DEVICE EVENT_FROM_TOKEN_PARSE_FAILURE EVENT_SUBSCRIPTION_PARSE_FAILURE
        IMPORT_ERROR IMPORT_ERROR_CANNOT_HANDLE_CHUNKED IMPORT_ERROR_FAILED_TO_FIND_OBJECT IMPORT_INCOMPATIBLE_VERSION
        IMPORT_ERROR_ATTACHED_DISKS_NOT_FOUND IMPORT_ERROR_UNEXPECTED_FILE""",
    SourceCorrupt: "SR_BACKEND_FAILURE_459 VDI_IO_ERROR IMPORT_ERROR_SOME_CHECKSUMS_FAILED IMPORT_ERROR_PREMATURE_EOF",
}
"""What is not here is SourceUnavailable: hosts that are off or start, storage that is not plugged or fails, bugs."""

_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names.split()}

_HINTS = {
    "SESSION_AUTHENTICATION_FAILED": "Check the user and the password of the source.",
    "RBAC_PERMISSION_DENIED": "Give the user the role that adapters/xen/README.md lists.",
    "LICENCE_RESTRICTION": "This edition of XenServer does not track changed blocks: every backup will be a full one.",
    "FEATURE_RESTRICTED": "This edition of XenServer does not track changed blocks: every backup will be a full one.",
}
_LOOK = "Check the source's host and port, and that the host is up; --members names others of the pool to ask."
_NAME = re.compile(r"[A-Z][A-Z0-9_]{1,80}")
_IN_URLS = re.compile(r"(session_id=)[^&\s'\"]+")
_LONGEST = 400


class Redaction:
    """Takes out of a text the secrets that it was told."""

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()

    def learn(self, secret: str) -> None:
        """Take `secret` out from now on."""
        if secret:
            self._secrets = (*self._secrets[-50:], secret)

    @contextmanager
    def hiding(self, secret: str) -> Iterator[None]:
        """Take `secret` out for the length of the block, and forget it."""
        before = self._secrets
        self.learn(secret)
        try:
            yield
        finally:
            self._secrets = before

    def shown(self, text: str) -> str:
        """Return a text without what must not be shown, in one line of some length at the most."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        line = " ".join(_IN_URLS.sub(r"\1***", text).split())[:_LONGEST]
        return "".join(character for character in line if character.isprintable())  # it may end in a terminal


def failure_error(details: Sequence[str], what: str) -> AdapterError:
    """Translate XenAPI's ErrorDescription, a name and its parameters, which kept us from `what`."""
    name = details[0] if details and _NAME.fullmatch(details[0]) else "XAPI_FAILURE"
    why = ", ".join(part for part in details if part)
    kind = _KIND_OF.get(name, SourceUnavailable)
    return kind(what, code=name.lower().replace("_", "-"), why=why, hint=_HINTS.get(name, ""))


def connection_error(error: Exception, host: str, redaction: Redaction) -> AdapterError:
    """Translate what keeps an answer of `host`, HOST:PORT, from arriving or from being read."""
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return tls_error(error, host)
    if isinstance(error, TimeoutError):
        return SourceUnavailable(f"{host} does not answer in time", code="server-silent", hint=_LOOK)
    if isinstance(error, ReplyTooLong):
        return SourceLimit(f"{host} answers too much", code="answer-too-long", why=str(error))
    if isinstance(error, ConnectionError | OSError):
        return SourceUnavailable(
            f"No connection to {host}",
            code="server-unreachable",
            why=redaction.shown(error.strerror or str(error)),
            hint=_LOOK,
        )
    if isinstance(error, ProtocolError):
        why = f"HTTP status {error.errcode}"
        return SourceUnavailable(f"{host} refuses to answer", code="server-refused", why=why)
    why = redaction.shown(error.faultString if isinstance(error, Fault) else f"{type(error).__name__}: {error}")
    return SourceInvalid(f"{host} did not answer as XenAPI does", code="answer-unreadable", why=why)
