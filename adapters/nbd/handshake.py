"""The client's side of fixed newstyle negotiation. Imports `adapters.errors` and this package only.

Option replies are bounded in size and number. With a TLS policy nothing but STARTTLS travels in the clear,
and a server that declines it is refused. Errors never show an export name's query part: it may be a secret.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from adapters.errors import AdapterError, SourceDenied, SourceInvalid, SourceLimit, SourceNotFound, SourceUnavailable
from adapters.nbd import protocol as p
from adapters.nbd.tls import TlsPolicy, TlsWire
from adapters.nbd.wire import PlainWire, Wire, receive


@dataclass(frozen=True, slots=True)
class Export:
    """What was negotiated: sizes in bytes, transmission flags, and the id of each granted context."""

    size_bytes: int
    flags: int
    structured: bool = False
    contexts: dict[str, int] = field(default_factory=dict)
    minimum_block: int = 1
    maximum_payload: int = p.MAX_PAYLOAD


def broken(why: str) -> SourceInvalid:
    """Build the error of a server that breaks the protocol."""
    return SourceInvalid("The NBD server breaks the protocol", code="nbd-protocol", why=why)


def shown(export: str) -> str:
    """Return the export name without what follows a question mark."""
    name, mark, _ = export.partition("?")
    return f"{name}?..." if mark else name


def printable(text: bytes, export: str) -> str:
    """Return a server's words without control characters and without the export name's query part."""
    words = text.decode(errors="replace")
    query = export.partition("?")[2]
    if query:
        words = words.replace(query, "...")
    return "".join(letter if letter.isprintable() else " " for letter in words)[:300].strip()


def negotiate(
    sock: socket.socket, export: str, contexts: Sequence[str], tls: TlsPolicy | None, deadline: float
) -> tuple[Wire, Export]:
    """Bring a connected socket to the transmission phase; a failure closes it."""
    talk = _greet(sock, export, tls, deadline)
    try:
        structured = talk.accepted(p.OPT_STRUCTURED_REPLY)
        granted = talk.set_contexts(contexts) if structured and contexts else {}
        try:
            entered = talk.go()
        except _Unsupported:
            entered = talk.export_name()
    except BaseException:
        talk.wire.close()
        raise
    return talk.wire, replace(entered, structured=structured, contexts=granted)


def list_exports(sock: socket.socket, tls: TlsPolicy | None, deadline: float) -> list[str]:
    """Ask for the names of the exports, and close the socket."""
    talk = _greet(sock, "", tls, deadline)
    try:
        names = talk.list()
        talk.wire.send(p.OPTION.pack(p.OPTION_MAGIC, p.OPT_ABORT, 0), deadline)
    finally:
        talk.wire.close()
    return names


def _greet(sock: socket.socket, export: str, tls: TlsPolicy | None, deadline: float) -> _Talk:
    """Exchange greetings and, with a policy, put TLS on the wire; a failure closes the socket."""
    wire = PlainWire(sock)
    try:
        flags = _greeting(wire, deadline)
        talk = _Talk(wire, export, flags, deadline)
        if tls is None:
            return talk
        if not talk.accepted(p.OPT_STARTTLS):
            raise SourceDenied(
                "The NBD server does not speak TLS",
                code="nbd-tls-refused",
                why="it declined STARTTLS, and TLS is required here",
            )
        return _Talk(TlsWire(sock, tls, deadline), export, flags, deadline)
    except BaseException:
        wire.close()
        raise


def _greeting(wire: Wire, deadline: float) -> int:
    """Return the handshake flags that both sides keep."""
    magic, option_magic, flags = p.GREETING.unpack(receive(wire, p.GREETING.size, deadline))
    if magic != p.INIT_MAGIC:
        raise SourceInvalid("The peer is no NBD server", code="nbd-not-nbd", why="its first bytes are not NBD's")
    if option_magic != p.OPTION_MAGIC or not flags & p.FLAG_FIXED_NEWSTYLE:
        raise SourceInvalid("The NBD server is too old", code="nbd-oldstyle", why="it lacks fixed newstyle negotiation")
    kept: int = flags & (p.FLAG_FIXED_NEWSTYLE | p.FLAG_NO_ZEROES)
    wire.send(p.CLIENT_FLAGS.pack(kept), deadline)
    return kept


class _Talk:
    """Options out, replies in, on one wire."""

    def __init__(self, wire: Wire, export: str, flags: int, deadline: float) -> None:
        self.wire = wire
        self._export = export
        self._flags = flags
        self._deadline = deadline

    def replies(self, option: int, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Send an option and yield its replies up to the ACK. Raises what an error reply stands for."""
        self.wire.send(p.OPTION.pack(p.OPTION_MAGIC, option, len(data)) + data, self._deadline)
        for _ in range(p.MAX_OPTION_REPLIES):
            head = receive(self.wire, p.OPTION_REPLY.size, self._deadline)
            magic, echoed, kind, length = p.OPTION_REPLY.unpack(head)
            if magic != p.OPTION_REPLY_MAGIC or echoed != option:
                raise broken("an option reply does not belong to the option")
            if length > p.MAX_OPTION_BYTES:
                raise SourceLimit(
                    "The NBD server's option reply is too long", code="nbd-option-length", why=f"{length} bytes"
                )
            body = receive(self.wire, length, self._deadline)
            if kind == p.REP_ACK:
                if body:
                    raise broken("an ACK carries data")
                return
            if kind & p.REP_ERROR:
                raise _refusal(kind, printable(body, self._export), shown(self._export))
            yield kind, body
        raise SourceLimit("The NBD server's option replies do not end", code="nbd-option-replies")

    def accepted(self, option: int) -> bool:
        """Send an option without data; False when the server does not have it."""
        try:
            for _ in self.replies(option, b""):
                raise broken("an option without answers got one")
        except _Unsupported:
            return False
        return True

    def list(self) -> list[str]:
        """Ask for the names of all exports."""
        names = []
        for kind, body in self.replies(p.OPT_LIST, b""):
            if kind != p.REP_SERVER or len(body) < 4:
                raise broken("unexpected answer to LIST")
            (length,) = p.U32.unpack_from(body)
            if length > len(body) - 4:
                raise broken("an export's name is longer than its reply")
            names.append(body[4 : 4 + length].decode(errors="replace"))
        return names

    def set_contexts(self, contexts: Sequence[str]) -> dict[str, int]:
        """Select metadata contexts; those the server lacks are absent from the answer."""
        name = self._export.encode()
        data = p.U32.pack(len(name)) + name + p.U32.pack(len(contexts))
        for context in contexts:
            data += p.U32.pack(len(context.encode())) + context.encode()
        granted: dict[str, int] = {}
        try:
            for kind, body in self.replies(p.OPT_SET_META_CONTEXT, data):
                if kind != p.REP_META_CONTEXT or len(body) < 4:
                    raise broken("unexpected answer to SET_META_CONTEXT")
                context = body[4:].decode(errors="replace")
                (number,) = p.U32.unpack_from(body)
                if context not in contexts or context in granted or number in granted.values():
                    raise broken("a metadata context was not asked for, or came twice")
                granted[context] = number
        except _Unsupported:
            return {}
        return granted

    def go(self) -> Export:
        """Enter the transmission phase."""
        name = self._export.encode()
        data = p.U32.pack(len(name)) + name + p.U16.pack(1) + p.U16.pack(p.INFO_BLOCK_SIZE)
        export: Export | None = None
        sizes: tuple[int, int, int] | None = None
        for kind, body in self.replies(p.OPT_GO, data):
            if kind != p.REP_INFO or len(body) < 2:
                raise broken("unexpected answer to GO")
            (info,) = p.U16.unpack_from(body)
            if info == p.INFO_EXPORT:
                if export is not None or len(body) != 12:
                    raise broken("the export's size is malformed or came twice")
                export = Export(*p.INFO_EXPORT_BODY.unpack_from(body, 2))
            elif info == p.INFO_BLOCK_SIZE:
                if sizes is not None or len(body) != 14:
                    raise broken("the block sizes are malformed or came twice")
                sizes = p.INFO_BLOCK_SIZE_BODY.unpack_from(body, 2)
        if export is None:
            raise broken("the export's size did not come")
        return _constrained(export, sizes)

    def export_name(self) -> Export:
        """Enter the transmission phase at a server without GO, which hangs up when it has no such export."""
        name = self._export.encode()
        self.wire.send(p.OPTION.pack(p.OPTION_MAGIC, p.OPT_EXPORT_NAME, len(name)) + name, self._deadline)
        padding = 0 if self._flags & p.FLAG_NO_ZEROES else 124
        body = receive(self.wire, p.INFO_EXPORT_BODY.size + padding, self._deadline)
        return _constrained(Export(*p.INFO_EXPORT_BODY.unpack_from(body)), None)


def _constrained(export: Export, sizes: tuple[int, int, int] | None) -> Export:
    """Check the size and the block sizes (section "Size constraints"); unadvertised, 512 bytes is the safe block."""
    if export.size_bytes > p.MAX_EXPORT_BYTES or not export.flags & p.FLAG_HAS_FLAGS:
        raise broken("the export's size or flags are impossible")
    if sizes is None:
        return replace(export, minimum_block=1 if export.size_bytes % 512 else 512)
    minimum, _, maximum = sizes
    if not 0 < minimum <= p.MAX_MINIMUM_BLOCK or minimum & (minimum - 1) or maximum < max(minimum, 512):
        raise broken("its block sizes are impossible")
    if export.size_bytes % minimum:
        raise broken(f"its size is not a multiple of its block size of {minimum} bytes: the end cannot be read")
    return replace(export, minimum_block=minimum, maximum_payload=min(maximum, p.MAX_PAYLOAD))


class _Unsupported(SourceInvalid):
    """The server does not know an option."""


def _refusal(kind: int, words: str, export: str) -> AdapterError:
    """Translate an error reply (section "Option reply types")."""
    if kind == p.REP_ERR_UNSUP:
        return _Unsupported("The NBD server lacks an option", code="nbd-unsupported", why=words)
    if kind == p.REP_ERR_UNKNOWN:
        return SourceNotFound(f"The NBD server has no export {export!r}", code="nbd-no-export", why=words)
    if kind == p.REP_ERR_TLS_REQD:
        return SourceDenied(
            "The NBD server requires TLS", code="nbd-tls-required", why=words, hint="Give a CA or a pinned certificate."
        )
    if kind == p.REP_ERR_POLICY:
        return SourceDenied("The NBD server's policy forbids this", code="nbd-policy", why=words)
    if kind == p.REP_ERR_SHUTDOWN:
        return SourceUnavailable("The NBD server is shutting down", code="nbd-shutdown", why=words)
    return SourceInvalid("The NBD server refused an option", code="nbd-refused", why=words or f"reply {kind:#x}")
