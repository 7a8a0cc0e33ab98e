"""Sessions are signed or encrypted, never a guest's, never of an old dialect, and nothing altered is taken for data."""

from __future__ import annotations

import logging
import struct
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.errors import AdapterError, SourceDenied
from adapters.hyperv.smb.files import SmbFiles
from adapters.hyperv.smb.patience import Patience
from adapters.hyperv.smb.reads import ReadRequest
from adapters.hyperv.smb.wire import StrictConnection
from adapters.secret import Secret
from tests.support.eventually import eventually
from tests.support.samba_server import HOST, PASSWORD, Samba, samba_server
from tests.support.smb_proxy import SIGNED, SmbProxy, is_read, smb_proxy

MIB = 1 << 20
PATH = rf"\\{HOST}\C$\disk.vhdx"
CONTENT = b"not to be seen on the wire, " * 99_999


@pytest.fixture(autouse=True)
def disk(drive: Path) -> Path:
    """A file of some MiB."""
    (drive / "disk.vhdx").write_bytes(CONTENT)
    return drive / "disk.vhdx"


def read_all(samba: Samba, **others: object) -> bytes:
    """Read the file with settings of its own."""
    files = SmbFiles(samba.settings(**{"smb_handles": 2} | others), patience=Patience(0), answer_seconds=30)
    try:
        return files.read_bytes(PATH)
    finally:
        files.close()


def refusal(samba: Samba, **others: object) -> AdapterError:
    """Return what the read fails with."""
    with pytest.raises(AdapterError) as refused:
        read_all(samba, **others)
    return refused.value


@pytest.mark.parametrize("dialect", ["SMB3_00", "SMB3_02", "SMB3_11"])
@pytest.mark.parametrize("encrypt", [False, True])
def test_smb_3_is_spoken(drive: Path, dialect: str, encrypt: bool) -> None:
    """Every SMB 3 dialect is read from, signed and encrypted: hosts from Windows Server 2012 on speak one."""
    with samba_server({"C$": drive}, options={"server max protocol": dialect}) as samba:
        assert read_all(samba, smb_encrypt=encrypt) == CONTENT


@pytest.mark.parametrize("dialect", ["NT1", "SMB2_02", "SMB2_10"])
def test_older_dialects_are_refused(drive: Path, dialect: str) -> None:
    """A server that speaks SMB 1 or SMB 2 only is refused, and it is said what is needed."""
    options = {"server min protocol": "NT1", "server max protocol": dialect}
    with samba_server({"C$": drive}, options=options) as samba:
        refused = refusal(samba)
        assert "SMB 3.0 or later" in f"{refused.why} {refused.hint}"
        assert refused.code == ("smb-lost" if dialect == "NT1" else "smb-dialect")


def test_a_guest_is_no_session(drive: Path) -> None:
    """Where a server makes unknown users guests, the session is refused: its messages would be unprotected."""
    with samba_server({"C$": drive}, options={"map to guest": "bad user"}) as samba:
        refused = refusal(samba, user="nobody-of-this-name")
        assert (type(refused), refused.code) == (SourceDenied, "smb-guest")


def test_encryption_is_a_policy(drive: Path) -> None:
    """Asked for, a server without encryption is refused; required by the server, it is used without being asked for."""
    with samba_server({"C$": drive}, options={"server smb encrypt": "off"}) as samba:
        assert read_all(samba) == CONTENT
        assert refusal(samba, smb_encrypt=True).code == "smb-no-encryption"
    with samba_server({"C$": drive}, options={"server smb encrypt": "required"}) as samba:
        seen, content = watched(samba)
        assert content == CONTENT
        assert b"not to be seen" not in seen


def test_an_encrypted_session_shows_nothing(samba: Samba) -> None:
    """With encryption no byte of a file is seen on the wire; without it they are, signed."""
    for encrypt in (False, True):
        seen, content = watched(samba, smb_encrypt=encrypt)
        assert content == CONTENT
        assert (b"not to be seen" in seen) is not encrypt


def watched(samba: Samba, **others: object) -> tuple[bytes, bytes]:
    """Read through a proxy; return what it saw, and what was read."""
    seen: list[bytes] = []

    def look(message: bytearray) -> bytes:
        seen.append(bytes(message))
        return seen[-1]

    with smb_proxy(samba.port) as proxy:
        proxy.alter = look
        content = read_all(samba, smb_port=proxy.port, **others)
    return b"".join(seen), content


def flip(message: bytearray) -> bytes:
    """Change a byte of data."""
    message[-1] ^= 1
    return bytes(message)


def strip(message: bytearray) -> bytes:
    """Change a byte of data, and say that the message is not signed."""
    message[16] &= ~SIGNED
    message[48:64] = bytes(16)
    return flip(message)


def claim(message: bytearray) -> bytes:
    """Change a byte of data, and call it an answer to a log-on, which is not signed before there is a key."""
    message[12] = 1
    return strip(message)


def is_large(message: bytearray) -> bool:
    """Whether it has some data in it."""
    return len(message) > MIB // 2


def is_create(message: bytearray) -> bool:
    """Whether it is the answer to the opening of a file."""
    return message[:4] == b"\xfeSMB" and message[12] == 5


@pytest.mark.parametrize(
    ("which", "how", "encrypt"),
    [
        (is_read, flip, False),
        (is_read, strip, False),
        (is_read, claim, False),
        (is_create, flip, False),
        (is_create, claim, False),
        (is_create, strip, False),
        (is_large, flip, True),
    ],
    ids=["read", "read-unsigned", "read-claimed", "open", "open-claimed", "open-unsigned", "encrypted"],
)
@pytest.mark.parametrize("dialect", ["SMB3_00", "SMB3_11"])
def test_what_was_altered_on_the_way_is_refused(
    drive: Path, dialect: str, which: Callable[[bytearray], bool], how: Callable[[bytearray], bytes], encrypt: bool
) -> None:
    """An answer with another byte, or without its protection, ends the read with `smb-signature`, and is not taken."""

    def alter(message: bytearray) -> bytes:
        return how(message) if which(message) else bytes(message)

    with samba_server({"C$": drive}, options={"server max protocol": dialect}) as samba, smb_proxy(samba.port) as proxy:
        proxy.alter = alter
        refused = refusal(samba, smb_port=proxy.port, smb_encrypt=encrypt)
        assert (type(refused), refused.code) == (SourceDenied, "smb-signature")


def test_an_encrypted_session_takes_nothing_in_plain(samba: Samba, monkeypatch: pytest.MonkeyPatch) -> None:
    """A well-formed answer in plain, to the very read that waits, is no answer where the session is encrypted."""
    sent: list[int] = []
    send = StrictConnection.send_read

    def noted(*arguments: object) -> ReadRequest:
        request = send(*arguments)
        sent.append(request.message["message_id"].get_value())
        return request

    def alter(message: bytearray) -> bytes:
        if not is_large(message):
            return bytes(message)
        number = eventually(lambda: sent[-1:], "the read was sent")[0]
        head = struct.pack("<4sHHLHHLLQLLQ", b"\xfeSMB", 64, 1, 0, 8, 1, 1, 0, number, 0, 0, 0)
        return head[:40] + bytes(message[44:52]) + bytes(16) + struct.pack("<HBBLLL", 17, 80, 0, 6, 0, 0) + b"forged"

    with smb_proxy(samba.port) as proxy:
        files = SmbFiles(samba.settings(smb_handles=1, smb_port=proxy.port, smb_encrypt=True), patience=Patience(0))
        file = files.open(PATH)
        monkeypatch.setattr(StrictConnection, "send_read", noted)
        proxy.alter = alter
        with pytest.raises(SourceDenied) as refused:
            file.pread_into(0, memoryview(bytearray(900_000)))
        assert refused.value.code == "smb-signature"
        file.close()
        files.close()


def test_the_password_is_told_to_nobody(samba: Samba, caplog: pytest.LogCaptureFixture) -> None:
    """Neither logs of any level, nor an error with all that led to it, nor what the session keeps have the password."""
    caplog.set_level(logging.DEBUG)
    assert read_all(samba) == CONTENT
    wrong = "guessed-password-4711"
    refused = refusal(samba, password=Secret(lambda: wrong))
    told = caplog.text + "".join(traceback.format_exception(refused)) + repr(refused.__context__)
    assert PASSWORD not in told
    assert wrong not in told


def test_a_proxy_that_alters_nothing_is_not_noticed(samba: Samba) -> None:
    """The alterations of these tests are what is refused, not the proxy."""
    with smb_proxy(samba.port) as proxy:
        assert isinstance(proxy, SmbProxy)
        assert read_all(samba, smb_port=proxy.port) == CONTENT
