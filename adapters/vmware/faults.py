"""vSphere's faults as our seven kinds of error. Imports `adapters.errors` and `adapters.trust`.

A fault object holds the connection it came by, so none is chained: what remains is its type's name and its message.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from xml.parsers.expat import ExpatError

from pyVmomi import vim, vmodl

from adapters.errors import (
    AdapterError,
    SourceConflict,
    SourceDenied,
    SourceInvalid,
    SourceLimit,
    SourceNotFound,
    SourceUnavailable,
)
from adapters.trust import tls_error

Fault = vmodl.MethodFault

# The first that fits decides, so subclasses stand before their bases.
_KINDS: tuple[tuple[type[Fault], type[AdapterError], str], ...] = (
    (vim.fault.InvalidLogin, SourceDenied, "login-refused"),
    (vim.fault.NotAuthenticated, SourceDenied, "session-lost"),
    (vim.fault.NoPermission, SourceDenied, "permission-missing"),
    (vmodl.fault.SecurityError, SourceDenied, "access-refused"),
    (vmodl.fault.ManagedObjectNotFound, SourceNotFound, "object-missing"),
    (vim.fault.FileNotFound, SourceNotFound, "file-missing"),
    (vim.fault.NotFound, SourceNotFound, "object-missing"),
    (vim.fault.FileLocked, SourceConflict, "file-locked"),
    (vim.fault.FileAlreadyExists, SourceConflict, "file-exists"),
    (vim.fault.DuplicateName, SourceConflict, "name-taken"),
    (vim.fault.TaskInProgress, SourceConflict, "machine-busy"),
    (vim.fault.ConcurrentAccess, SourceConflict, "machine-busy"),
    (vim.fault.ResourceInUse, SourceConflict, "machine-busy"),
    (vim.fault.InvalidPowerState, SourceConflict, "power-state"),
    (vim.fault.InvalidState, SourceConflict, "machine-state"),
    (vim.fault.NoDiskSpace, SourceLimit, "datastore-full"),
    (vim.fault.InsufficientResourcesFault, SourceLimit, "resources-missing"),
    (vim.fault.TooManySnapshotLevels, SourceLimit, "too-many-snapshots"),
    (vim.fault.MultipleSnapshotsNotSupported, SourceLimit, "too-many-snapshots"),
    (vim.fault.RestrictedVersion, SourceDenied, "licence-too-small"),
    (vmodl.fault.NotSupported, SourceInvalid, "not-supported"),
    (vmodl.fault.MethodNotFound, SourceInvalid, "not-supported"),
    (vmodl.fault.InvalidArgument, SourceInvalid, "argument-refused"),
    (vmodl.fault.RequestCanceled, SourceUnavailable, "request-cancelled"),
)


def fault_error(fault: Fault, what: str) -> AdapterError:
    """Translate a fault that kept us from `what`."""
    for known, kind, code in _KINDS:
        if isinstance(fault, known):
            return kind(what, code=code, why=describe(fault), hint=_hint(fault))
    return SourceUnavailable(what, code="vsphere-fault", why=describe(fault))


def describe(fault: Fault) -> str:
    """A fault's type and message in one line."""
    name = type(fault).__name__.rpartition(".")[2]
    message = " ".join((getattr(fault, "msg", None) or "").split())
    if isinstance(fault, vim.fault.NoPermission):
        message = f"the privilege {fault.privilegeId} is missing on {getattr(fault.object, '_moId', 'an object')}"
    return f"{name}: {message}" if message else name


def _hint(fault: Fault) -> str:
    if isinstance(fault, vim.fault.InvalidLogin):
        return "Check the source's user and what its password points to; repeated refusals may lock the account."
    if isinstance(fault, vim.fault.NoPermission):
        return "Give the user the role that adapters/vmware/README.md lists."
    if isinstance(fault, vim.fault.RestrictedVersion):
        return "The free ESXi licence refuses every change through the API; a paid one is needed."
    return ""


def connection_error(error: Exception, host: str) -> AdapterError:
    """Translate what keeps an answer from arriving or from being read."""
    if isinstance(error, ssl.SSLError):
        return tls_error(error, host)
    if isinstance(error, TimeoutError):
        return SourceUnavailable(f"{host} does not answer in time", code="server-silent")
    if type(error) is HTTPException:  # pyvmomi's, of a status that carries no SOAP
        return SourceUnavailable(f"{host} refuses to answer", code="server-refused", why=f"HTTP status {error}")
    if isinstance(error, ExpatError | HTTPException):
        why = f"{type(error).__name__}: {error}"
        return SourceUnavailable(f"{host} did not answer as vSphere does", code="not-vsphere", why=why)
    return SourceUnavailable(f"No connection to {host}", code="server-unreachable", why=str(error))


UNANSWERED = (OSError, HTTPException, ExpatError)
"""What a call raises whose answer did not arrive: the server may have acted on it or not."""


@contextmanager
def translated(what: str, host: str) -> Iterator[None]:
    """Raise every failure of the block as an AdapterError."""
    try:
        yield
    except vmodl.MethodFault as fault:
        raise fault_error(fault, what) from None
    except UNANSWERED as error:
        raise connection_error(error, host) from None
