"""What smbprotocol and servers answer, as errors of ours. Imports `adapters.errors`.

Nothing of a library's message is repeated where it could tell more than a status: what is shown is written here.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from smbprotocol.exceptions import SMBConnectionClosed, SMBException, SMBResponseException

from adapters.errors import (
    AdapterError,
    SourceConflict,
    SourceDenied,
    SourceInvalid,
    SourceLimit,
    SourceNotFound,
    SourceUnavailable,
)


class LinkLost(SourceUnavailable):
    """The connection or the session is gone, or does not come about: on another one, the same may succeed."""


class ServerBusy(SourceLimit):
    """The server lacks memory or room for what was asked: a moment later the same may succeed."""


class Tampered(SMBException):  # type: ignore[misc]  # the library has no types
    """A message arrived unprotected, or with a signature that is not the server's."""


@dataclass(frozen=True, slots=True)
class _Answer:
    kind: type[AdapterError]
    code: str
    why: str
    hint: str = ""


_MISSING = _Answer(SourceNotFound, "smb-file-missing", "the server has no such file or folder")
_LOGON = _Answer(
    SourceDenied,
    "smb-logon",
    "the server refuses the user or the password",
    "Check the user (DOMAIN\\user, or user@domain) and the password, and that the account may log on over the network.",
)
_BUSY = _Answer(ServerBusy, "smb-server-busy", "the server has no room for another connection or request")
_INVALID_NAME = _Answer(SourceInvalid, "smb-path", "the server takes no such name")
_LOST = _Answer(LinkLost, "smb-lost", "the server ended the session")
_ANSWERS: dict[int, _Answer] = {
    0xC0000034: _MISSING,  # object name not found
    0xC000003A: _MISSING,  # object path not found
    0xC000000F: _MISSING,  # no such file
    0xC0000225: _MISSING,  # not found
    0xC00000CC: _Answer(
        SourceNotFound,
        "smb-share-missing",
        "the server has no such share",
        "Share the folder with the machines' files as adapters/hyperv/README.md says, or name the right share.",
    ),
    0xC0000022: _Answer(
        SourceDenied,
        "smb-denied",
        "the server does not allow it",
        "Give the backup's user the right to the share and to the files; administrative shares need an administrator.",
    ),
    0xC0000061: _Answer(SourceDenied, "smb-denied", "the user lacks a privilege"),
    0xC000006A: _LOGON,  # wrong password
    0xC000006D: _LOGON,  # logon failure
    0xC000006E: _LOGON,  # account restriction
    0xC000006F: _LOGON,  # invalid logon hours
    0xC0000070: _LOGON,  # invalid workstation
    0xC0000071: _LOGON,  # password expired
    0xC0000072: _LOGON,  # account disabled
    0xC000015B: _LOGON,  # logon type not granted
    0xC0000193: _LOGON,  # account expired
    0xC0000224: _LOGON,  # password must change
    0xC0000234: _LOGON,  # account locked out
    0xC000005E: _Answer(LinkLost, "smb-lost", "the server reaches no domain controller"),
    0xC0000043: _Answer(
        SourceConflict,
        "smb-sharing",
        "another program has it open and shares it with nobody (sharing violation)",
        "See what holds the file on its server: openfiles, or another backup product.",
    ),
    0xC0000054: _Answer(SourceConflict, "smb-locked", "another program has locked the range"),
    0xC0000055: _Answer(SourceConflict, "smb-locked", "another program has locked the range"),
    0xC0000056: _Answer(SourceConflict, "smb-delete-pending", "it is being deleted"),
    0xC0000035: _Answer(SourceConflict, "smb-file-exists", "there is a file or folder of this name"),
    0xC0000101: _Answer(SourceConflict, "smb-folder-not-empty", "the folder is not empty"),
    0xC0000011: _Answer(SourceConflict, "smb-file-changed", "the file is shorter than it was"),
    0xC000007F: _Answer(SourceLimit, "smb-disk-full", "the volume is full"),
    0xC0000044: _Answer(SourceLimit, "smb-quota", "the user's quota on the volume is used up"),
    0xC0000904: _Answer(SourceLimit, "smb-file-too-large", "the volume takes no file of that size"),
    0xC0000017: _BUSY,  # no memory
    0xC000009A: _BUSY,  # insufficient resources
    0xC0000205: _BUSY,  # insufficient server resources
    0xC00000CE: _BUSY,  # too many sessions
    0xC00000D0: _BUSY,  # request not accepted
    0xC0000033: _INVALID_NAME,
    0xC0000039: _INVALID_NAME,
    0xC000003B: _INVALID_NAME,
    0xC00000BA: _Answer(SourceInvalid, "smb-not-a-file", "it is a folder"),
    0xC0000103: _Answer(SourceInvalid, "smb-not-a-folder", "it is no folder"),
    0x8000002D: _Answer(SourceInvalid, "smb-link", "a symbolic link is in the path, and could lead anywhere"),
    0xC0000257: _Answer(
        SourceInvalid, "smb-dfs", "the path is a link of a DFS namespace", "Name the file server's own share."
    ),
    0xC0000203: _LOST,  # user session deleted
    0xC000035C: _LOST,  # network session expired
    0xC00000C9: _LOST,  # network name deleted
    0xC00000C4: _LOST,  # unexpected network error
    0xC0000128: _LOST,  # file closed
    0xC0000008: _LOST,  # invalid handle
    0xC00000B5: _LOST,  # I/O timeout
    0xC000020C: _LOST,  # connection disconnected
    0xC000020D: _LOST,  # connection reset
    0xC0000466: _LOST,  # server unavailable
    0xC0000120: _LOST,  # cancelled
}


class translating:  # reads as a statement
    """Raises what the library raised in its block as an error of ours; `what` as for `translated`."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, AdapterError):
            raise translated(error, self._what) from None


def translated(error: Exception, what: str) -> AdapterError:
    """Return what `error` means; `what` is the sentence that says what was not done, such as `x cannot be read`."""
    if isinstance(error, SMBResponseException):
        return _of_status(error.status, what)
    if isinstance(error, Tampered | InvalidTag):
        return SourceDenied(
            what,
            code="smb-signature",
            why="an answer was not protected with the session's key: somebody on the way may have changed it",
            hint="Look for what is between here and the server, such as a WAN optimiser.",
        )
    return LinkLost(what, code="smb-lost", why=_loss(error))


def _of_status(status: int, what: str) -> AdapterError:
    answer = _ANSWERS.get(status)
    if answer is None:
        return SourceInvalid(what, code="smb-status", why=f"the server answers with status 0x{status:08x}")
    return answer.kind(what, code=answer.code, why=answer.why, hint=answer.hint)


def _loss(error: Exception) -> str:
    """Say how a connection was lost, without the library's own words: they may hold what was sent."""
    if isinstance(error, TimeoutError) or "timeout" in str(error)[:40]:
        return "the server did not answer in time"
    if isinstance(error, SMBConnectionClosed):
        return "the server closed the connection"
    if isinstance(error, OSError):
        return f"the connection was lost ({error.strerror or type(error).__name__})"
    return f"the connection failed ({type(error).__name__})"
