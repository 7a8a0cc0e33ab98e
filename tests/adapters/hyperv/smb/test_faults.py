"""What a server answers is an error of the right kind, and a library's own words are not repeated."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag
from smbprotocol.exceptions import SMBConnectionClosed, SMBException, SMBResponseException
from smbprotocol.header import SMB2HeaderResponse

from adapters.errors import AdapterError
from adapters.hyperv.smb.faults import LinkLost, translating


def answered(status: int) -> SMBResponseException:
    """What the library raises for a status."""
    header = SMB2HeaderResponse()
    header["status"] = status
    return SMBResponseException(header)


def outcome(error: Exception) -> AdapterError:
    """Return what an error of the library becomes."""

    def fail() -> None:
        with translating("x cannot be read"):
            raise error

    with pytest.raises(AdapterError) as raised:
        fail()
    assert raised.value.what == "x cannot be read"
    return raised.value


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (0xC0000034, "not_found", "smb-file-missing"),
        (0xC00000CC, "not_found", "smb-share-missing"),
        (0xC0000022, "denied", "smb-denied"),
        (0xC000006D, "denied", "smb-logon"),
        (0xC0000234, "denied", "smb-logon"),
        (0xC0000043, "conflict", "smb-sharing"),
        (0xC0000054, "conflict", "smb-locked"),
        (0xC0000035, "conflict", "smb-file-exists"),
        (0xC0000011, "conflict", "smb-file-changed"),
        (0xC000007F, "limit", "smb-disk-full"),
        (0xC0000044, "limit", "smb-quota"),
        (0xC00000CE, "limit", "smb-server-busy"),
        (0xC0000017, "limit", "smb-server-busy"),
        (0x8000002D, "invalid", "smb-link"),
        (0xC0000257, "invalid", "smb-dfs"),
        (0xC0000203, "unavailable", "smb-lost"),
        (0xC000035C, "unavailable", "smb-lost"),
        (0xC0FFEE00, "invalid", "smb-status"),
    ],
)
def test_statuses_have_their_kinds(status: int, kind: str, code: str) -> None:
    """A status is told by its kind and code; one that is not known is shown as it is, and never taken for a loss."""
    error = outcome(answered(status))
    assert (error.kind, error.code) == (kind, code)
    assert isinstance(error, LinkLost) is (code == "smb-lost")
    assert code != "smb-status" or "0xc0ffee00" in error.why


@pytest.mark.parametrize(
    "error",
    [
        SMBConnectionClosed("gone, hunter2"),
        TimeoutError("hunter2"),
        ConnectionResetError(104, "Connection reset by peer"),
        SMBException("Request requires 16 credits but only 3 credits are available"),
        KeyError("hunter2"),
    ],
)
def test_what_breaks_a_connection_is_a_loss(error: Exception) -> None:
    """Whatever the library fails with beside a status is a lost connection; its words are not passed on."""
    lost = outcome(error)
    assert isinstance(lost, LinkLost)
    assert "hunter2" not in str(lost)


def test_an_altered_message_is_no_loss() -> None:
    """What does not decrypt was altered: that is told, and not tried again."""
    assert outcome(InvalidTag()).code == "smb-signature"


def test_our_own_errors_pass() -> None:
    """An error that is one of ours already stays the one it is."""
    mine = LinkLost("the server is gone", code="smb-connect")
    with pytest.raises(LinkLost) as raised, translating("x cannot be read"):
        raise mine
    assert raised.value is mine
