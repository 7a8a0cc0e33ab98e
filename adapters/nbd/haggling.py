"""The server's side of fixed newstyle negotiation. Imports this package only.

One export, also reachable by the empty name. Unknown options are answered, malformed ones are refused, and a
client that haggles too long or sends too much is cut off by an AdapterError.
"""

from __future__ import annotations

from dataclasses import dataclass

from adapters.nbd import protocol as p
from adapters.nbd.handshake import broken
from adapters.nbd.wire import Wire, receive

ALLOCATION_ID = 1
_MAX_OPTIONS = 256
_PREFERRED_BLOCK = 65536


class _Malformed(Exception):
    """An option's data does not parse."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """What a client and the server agreed on for the transmission phase."""

    structured: bool
    allocation: bool


class Haggling:
    """Options of one client, answered until it enters the transmission phase or leaves."""

    def __init__(self, wire: Wire, export: str, size_bytes: int, request_bytes: int, deadline: float) -> None:
        self._wire = wire
        self._export = export
        self._size_bytes = size_bytes
        self._request_bytes = request_bytes
        self._deadline = deadline
        self._structured = False
        self._context_export: str | None = None  # the name for which base:allocation was selected
        self._no_zeroes = False

    def run(self) -> Agreed | None:
        """Talk; None when the client left. Raises AdapterError for one that breaks the protocol or stalls."""
        flags = p.FLAG_FIXED_NEWSTYLE | p.FLAG_NO_ZEROES
        self._wire.send(p.GREETING.pack(p.INIT_MAGIC, p.OPTION_MAGIC, flags), self._deadline)
        (answer,) = p.CLIENT_FLAGS.unpack(receive(self._wire, p.CLIENT_FLAGS.size, self._deadline))
        if answer & ~flags:
            raise broken("the client sets unknown flags")
        self._no_zeroes = bool(answer & p.FLAG_NO_ZEROES)
        for _ in range(_MAX_OPTIONS):
            magic, option, length = p.OPTION.unpack(receive(self._wire, p.OPTION.size, self._deadline))
            if magic != p.OPTION_MAGIC or length > p.MAX_OPTION_BYTES:
                raise broken("an option is malformed or too long")
            data = receive(self._wire, length, self._deadline)
            if option == p.OPT_ABORT:
                self._reply(option, p.REP_ACK)
                return None
            if option == p.OPT_EXPORT_NAME:
                return self._export_name(data)
            entered = self._option(option, data)
            if entered is not None:
                return entered
        raise broken("the client's options do not end")

    def _option(self, option: int, data: bytes) -> Agreed | None:
        try:
            if option == p.OPT_GO and self._info(option, data):
                return self._agreed(_name(data)[0])
            if option == p.OPT_INFO:
                self._info(option, data)
            elif option == p.OPT_LIST:
                self._list(data)
            elif option == p.OPT_STRUCTURED_REPLY:
                _empty(data)
                self._structured = True
                self._reply(option, p.REP_ACK)
            elif option in {p.OPT_SET_META_CONTEXT, p.OPT_LIST_META_CONTEXT}:
                self._meta_context(option, data)
            elif option != p.OPT_GO:
                self._reply(option, p.REP_ERR_UNSUP)
        except _Malformed:
            self._reply(option, p.REP_ERR_INVALID)
        return None

    def _agreed(self, name: str) -> Agreed:
        return Agreed(self._structured, self._structured and self._context_export == name)

    def _known(self, name: str) -> bool:
        return name in {"", self._export}

    def _flags(self) -> int:
        flags = p.FLAG_HAS_FLAGS | p.FLAG_READ_ONLY | p.FLAG_CAN_MULTI_CONN
        return flags | p.FLAG_SEND_DF if self._structured else flags

    def _export_name(self, data: bytes) -> Agreed:
        """Enter transmission without GO: an unknown name can only be answered by hanging up."""
        name = data.decode(errors="replace")
        if not self._known(name):
            raise broken("the client asks for an unknown export")
        padding = b"" if self._no_zeroes else bytes(124)
        self._wire.send(p.INFO_EXPORT_BODY.pack(self._size_bytes, self._flags()) + padding, self._deadline)
        return self._agreed(name)

    def _list(self, data: bytes) -> None:
        _empty(data)
        name = self._export.encode()
        self._reply(p.OPT_LIST, p.REP_SERVER, p.U32.pack(len(name)) + name)
        self._reply(p.OPT_LIST, p.REP_ACK)

    def _info(self, option: int, data: bytes) -> bool:
        name, rest = _name(data)
        if len(rest) < 2 or len(rest) != 2 + 2 * p.U16.unpack_from(rest)[0]:
            raise _Malformed
        if not self._known(name):
            self._reply(option, p.REP_ERR_UNKNOWN)
            return False
        export = p.INFO_EXPORT_BODY.pack(self._size_bytes, self._flags())
        sizes = p.INFO_BLOCK_SIZE_BODY.pack(1, _PREFERRED_BLOCK, self._request_bytes)
        self._reply(option, p.REP_INFO, p.U16.pack(p.INFO_EXPORT) + export)
        self._reply(option, p.REP_INFO, p.U16.pack(p.INFO_BLOCK_SIZE) + sizes)
        self._reply(option, p.REP_ACK)
        return True

    def _meta_context(self, option: int, data: bytes) -> None:
        """Offer base:allocation; setting replaces what was set before, also when it fails."""
        setting = option == p.OPT_SET_META_CONTEXT
        if setting:
            self._context_export = None
        name, rest = _name(data)
        queries = _queries(rest)
        if not self._structured:
            raise _Malformed
        if not self._known(name):
            self._reply(option, p.REP_ERR_UNKNOWN)
            return
        matched = p.BASE_ALLOCATION in queries or (not setting and (not queries or "base:" in queries))
        if matched:
            self._reply(
                option, p.REP_META_CONTEXT, p.U32.pack(ALLOCATION_ID if setting else 0) + p.BASE_ALLOCATION.encode()
            )
            self._context_export = name if setting else self._context_export
        self._reply(option, p.REP_ACK)

    def _reply(self, option: int, kind: int, data: bytes = b"") -> None:
        self._wire.send(p.OPTION_REPLY.pack(p.OPTION_REPLY_MAGIC, option, kind, len(data)) + data, self._deadline)


ALLOCATION_ID = 1


def _empty(data: bytes) -> None:
    if data:
        raise _Malformed


def _name(data: bytes) -> tuple[str, bytes]:
    """Split a counted string off."""
    if len(data) < 4:
        raise _Malformed
    (length,) = p.U32.unpack_from(data)
    if length > min(len(data) - 4, p.MAX_STRING):
        raise _Malformed
    return data[4 : 4 + length].decode(errors="replace"), data[4 + length :]


def _queries(data: bytes) -> list[str]:
    if len(data) < 4:
        raise _Malformed
    (count,), rest = p.U32.unpack_from(data), data[4:]
    queries = []
    while rest:
        query, rest = _name(rest)
        queries.append(query)
    if len(queries) != count:
        raise _Malformed
    return queries
