"""One authenticated SMB session on a connection of its own. Imports smbprotocol, the settings and this package.

No guest, no session without a key, no dialect before SMB 3.0: every host that this adapter is for speaks it, older
ones have no protection against a downgrade. The password is read when a session is made and kept by nothing.
"""

from __future__ import annotations

import os
from contextlib import suppress
from threading import BoundedSemaphore, Lock
from typing import Any

from smbprotocol import Dialects
from smbprotocol.exceptions import NotSupported, SMBAuthenticationError, SMBConnectionClosed, SMBException
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect

from adapters.errors import AdapterError, SourceDenied, SourceInvalid
from adapters.hyperv.settings import HypervSettings
from adapters.hyperv.smb.faults import LinkLost, translating
from adapters.hyperv.smb.paths import SmbPath
from adapters.hyperv.smb.reads import CREDIT_BYTES
from adapters.hyperv.smb.wire import StrictConnection

PIECE_BYTES = 1 << 20
"""The largest read or write: measured, larger ones are slower."""

_PARTING_SECONDS = 5.0
_PIECES_AT_ONCE = 4
_KEPT_CREDITS = 16
"""For everything that is neither read nor written."""

_WANTED_CREDITS = _PIECES_AT_ONCE * PIECE_BYTES // CREDIT_BYTES + _KEPT_CREDITS


def require_same_process(pid: int) -> None:
    """Raise SourceInvalid in a forked child: two processes on one connection get each other's answers, or hang."""
    if os.getpid() != pid:
        raise SourceInvalid(
            "An SMB connection does not survive a fork",
            code="smb-forked",
            why="it belongs to the process that opened it",
            hint="Start processes by spawn, and connect in each.",
        )


class Link:
    """A session at `server`, reached at `host` and `port`. Safe to use from several threads.

    Raises AdapterErrors when it cannot be made: SourceDenied for a refused user, guest or missing protection.
    `piece_bytes` is the largest read or write; who sends one takes one of the `turns` before, and gives it back after.
    """

    def __init__(self, server: str, host: str, port: int, settings: HypervSettings, answer_seconds: float) -> None:
        self._server = server
        self._trees: dict[str, TreeConnect] = {}
        self._looking = Lock()
        self._pid = os.getpid()
        self.connection = StrictConnection(host, port, answer_seconds)
        try:
            self._agree(f"{host}:{port}")
            self.session = self._log_on(settings)
            self.piece_bytes, at_once = self._room()
            self.turns = BoundedSemaphore(at_once)
        except BaseException:
            self.connection.abandon()
            raise

    @property
    def alive(self) -> bool:
        """Whether the connection was there when last looked at."""
        return self.connection.alive

    def tree(self, path: SmbPath) -> Any:
        """Return the connection to the path's share, made when it is first asked for. Raises what the library does."""
        with self._looking:
            found = self._trees.get(path.share.casefold())
            if found is None:
                found = TreeConnect(self.session, f"\\\\{_spelled(path.server)}\\{path.share}")
                found.connect()
                self._trees[path.share.casefold()] = found
            return found

    def send(self, message: Any, tree: Any) -> Any:
        """Send a request, and ask for the credits back that it costs. Raises what the library does."""
        return self.connection.send(
            message, self.session.session_id, tree.tree_connect_id, credit_request=self._lacking() or None
        )

    def close(self) -> None:
        """Log off as far as the server lets us; in a forked child, leave the parent's connection alone."""
        if os.getpid() != self._pid:
            return
        self.connection.answer_seconds = min(_PARTING_SECONDS, self.connection.answer_seconds)
        with suppress(AdapterError), translating("The session cannot be closed"):
            if self.alive:
                self.connection.disconnect(close=True)
        self.connection.abandon()

    def abandon(self) -> None:
        """Close without a word."""
        self.connection.abandon()

    def _agree(self, where: str) -> None:
        what = f"The SMB server at {where} cannot be used"
        with translating(what):
            try:
                self.connection.open()
            except ValueError as error:  # what the library makes of an OSError
                cause = error.__cause__
                why = (cause.strerror if isinstance(cause, OSError) else None) or "no connection"
                hint = "Check that the host's firewall lets this machine through to SMB (TCP port 445, or --smb-port)."
                raise LinkLost(what, code="smb-connect", why=why, hint=hint) from None
            except NotSupported:
                raise _old_dialect(what) from None
            except SMBConnectionClosed:
                raise LinkLost(
                    what,
                    code="smb-lost",
                    why="the server closed the connection",
                    hint="A server that speaks SMB 1 only does so, too: SMB 3.0 or later is needed.",
                ) from None
        if self.connection.dialect < Dialects.SMB_3_0_0:
            raise _old_dialect(what)

    def _log_on(self, settings: HypervSettings) -> Session:
        what = f"{self._server} lets {settings.user} not in"
        if settings.smb_encrypt and not self.connection.supports_encryption:
            raise SourceDenied(what, code="smb-no-encryption", why="the settings ask for encryption, it has none")
        kerberos = settings.authentication == "kerberos"
        session = Session(
            self.connection,
            settings.user,
            None if kerberos else settings.password.reveal(),  # the ticket that is there, as over WinRM
            require_encryption=settings.smb_encrypt,
            hostname_override=self._server,
            auth_protocol="kerberos" if kerberos else "ntlm",
        )
        try:
            with translating(what):
                _connect(session, what)
        finally:
            session.password = None
        if session.signing_key is None:
            raise _guest(what)
        return session

    def _room(self) -> tuple[int, int]:
        """Return how large a piece may be and how many may be under way, with the credits that the server gives."""
        connection = self.connection
        with translating(f"{self._server} cannot be used"):
            if lacking := self._lacking():
                connection.echo(sid=self.session.session_id, timeout=connection.answer_seconds, credit_request=lacking)
        credits = _WANTED_CREDITS - self._lacking() - _KEPT_CREDITS
        piece = min(PIECE_BYTES, connection.max_read_size, connection.max_write_size, max(1, credits) * CREDIT_BYTES)
        if piece < CREDIT_BYTES:
            raise SourceInvalid(
                f"{self._server} cannot be used", code="smb-room", why=f"it takes requests of {piece} bytes at most"
            )
        return piece, min(_PIECES_AT_ONCE, max(1, credits * CREDIT_BYTES // piece))

    def _lacking(self) -> int:
        """How many credits there should be more of."""
        window = self.connection.sequence_window
        return max(0, _WANTED_CREDITS - int(window["high"] - window["low"]))


def _spelled(server: str) -> str:
    """A server in a share's name: Windows has a spelling of its own for IPv6 addresses."""
    if ":" not in server:
        return server
    return server.strip("[]").replace(":", "-").replace("%", "s") + ".ipv6-literal.net"


def _old_dialect(what: str) -> SourceInvalid:
    return SourceInvalid(what, code="smb-dialect", why="it does not speak SMB 3.0 or later")


def _guest(what: str) -> SourceDenied:
    return SourceDenied(
        what,
        code="smb-guest",
        why="it took us for a guest, whose messages cannot be protected",
        hint="Check the user and the password; a server that makes unknown users guests does not say so.",
    )


def _connect(session: Session, what: str) -> None:
    try:
        session.connect()
    except (SMBAuthenticationError, ImportError):
        raise SourceDenied(
            what,
            code="smb-logon",
            why=f"the {session.auth_protocol} log-on does not come about",
            hint="Kerberos needs the extra hyperv-kerberos and a ticket; NTLM must be allowed on the server.",
        ) from None
    except SMBException:
        if session.session_id is None:  # how the library leaves a guest's session
            raise _guest(what) from None
        raise
