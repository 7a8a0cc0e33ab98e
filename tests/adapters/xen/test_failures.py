"""What XenAPI's failures become."""

from __future__ import annotations

import pytest

from adapters import errors
from adapters.xen.failures import _KIND_OF, Redaction, connection_error, failure_error
from tests.support.xapi.published import PUBLISHED


def test_every_failure_of_the_table_exists() -> None:
    """The table names failures that xapi publishes, or that its storage manager numbers: none is misspelt."""
    unknown = {name for name in _KIND_OF if not name.startswith("SR_BACKEND_FAILURE_")} - PUBLISHED.failures
    assert unknown == set()


@pytest.mark.parametrize(
    ("details", "kind", "code"),
    [
        (["VDI_IN_USE", "OpaqueRef:1", "data_destroy"], errors.SourceConflict, "vdi-in-use"),
        (["OPERATION_NOT_ALLOWED", "VDI is a snapshot"], errors.SourceConflict, "operation-not-allowed"),
        (["SR_OPERATION_NOT_SUPPORTED", "OpaqueRef:1"], errors.SourceInvalid, "sr-operation-not-supported"),
        (["VDI_INCOMPATIBLE_TYPE", "r", "cbt_metadata"], errors.SourceInvalid, "vdi-incompatible-type"),
        (["VDI_NO_CBT_METADATA", "r"], errors.SourceConflict, "vdi-no-cbt-metadata"),
        (["SR_BACKEND_FAILURE_460", "", "unrelated", ""], errors.SourceUnavailable, "sr-backend-failure-460"),
        (["SR_BACKEND_FAILURE_459", "", "odd", ""], errors.SourceCorrupt, "sr-backend-failure-459"),
        (["SR_BACKEND_FAILURE", "", "", ""], errors.SourceUnavailable, "sr-backend-failure"),
        (["LICENCE_RESTRICTION", "CBT"], errors.SourceDenied, "licence-restriction"),
        (["SESSION_AUTHENTICATION_FAILED", "root", "no"], errors.SourceDenied, "session-authentication-failed"),
        (["RBAC_PERMISSION_DENIED", "VM.snapshot"], errors.SourceDenied, "rbac-permission-denied"),
        (["HANDLE_INVALID", "VM", "r"], errors.SourceNotFound, "handle-invalid"),
        (["UUID_INVALID", "VM", "u"], errors.SourceNotFound, "uuid-invalid"),
        (["HOST_OFFLINE", "r"], errors.SourceUnavailable, "host-offline"),
        (["SR_FULL", "1", "2"], errors.SourceLimit, "sr-full"),
        (["MESSAGE_METHOD_UNKNOWN", "VM.fly"], errors.SourceInvalid, "message-method-unknown"),
        (["A_FAILURE_OF_TOMORROW"], errors.SourceUnavailable, "a-failure-of-tomorrow"),
        (["no name\nat all"], errors.SourceUnavailable, "xapi-failure"),
        ([], errors.SourceUnavailable, "xapi-failure"),
    ],
)
def test_failures_have_a_kind_and_a_stable_code(details: list[str], kind: type[errors.AdapterError], code: str) -> None:
    """A failure keeps its published name as its code, and says everything that the host said."""
    error = failure_error(details, "It failed")
    assert (type(error), error.code) == (kind, code)
    assert all(part in error.why for part in details)


def test_what_was_learnt_is_taken_out() -> None:
    """A secret is not shown in any text once it was learnt; session ids in addresses never are."""
    redaction = Redaction()
    redaction.learn("OpaqueRef:secret")
    shown = redaction.shown("OpaqueRef:secret in /export_raw_vdi?vdi=1&session_id=OpaqueRef:other&x=1\nand more")
    assert shown == "*** in /export_raw_vdi?vdi=1&session_id=***&x=1 and more"
    assert redaction.shown("red\x1b[31m" + "x" * 10_000) == "red[31m" + "x" * 392
    with redaction.hiding("for a while"):
        assert redaction.shown("for a while") == "***"
    assert redaction.shown("for a while") == "for a while"


def test_a_host_that_does_not_answer_says_what_to_look_at() -> None:
    """Refused or silent: the place that was asked, and what to do about it."""
    for error in (ConnectionRefusedError(111, "Connection refused"), TimeoutError()):
        told = connection_error(error, "pool.example:443", Redaction())
        assert "pool.example:443" in told.what
        assert "--members" in told.hint
