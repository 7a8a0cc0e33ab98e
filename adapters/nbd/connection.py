"""One NBD connection in the transmission phase, shared by threads. Imports `adapters.errors` and this package only.

There is no receiving thread: of the threads that wait, one at a time leads, receives replies for all and
hands the lead on when its own came. Whatever breaks the protocol, a deadline or the line ends the connection
for everybody, and no buffer is touched after its request returned.
"""

from __future__ import annotations

import contextlib
import time
from threading import Condition, Lock

from adapters.errors import AdapterError, SourceUnavailable
from adapters.nbd import protocol as p
from adapters.nbd.handshake import Export, broken
from adapters.nbd.replies import Pending, receive_error, server_error
from adapters.nbd.wire import Wire, receive


class Connection:
    """Requests go out in `submit`; `wait` returns or raises once the reply came. Errors are AdapterErrors."""

    def __init__(self, wire: Wire, export: Export) -> None:
        self._wire = wire
        self._structured = export.structured
        self._sending = Lock()
        self._turn = Condition()  # guards all below
        self._receiving = False
        self._pending: dict[int, Pending] = {}
        self._next_handle = 1
        self._broken: AdapterError | None = None

    @property
    def in_flight(self) -> int:
        """How many requests wait for their reply."""
        return len(self._pending)

    def submit(self, request: Pending) -> None:
        """Send a request; its outcome, a failure to send included, comes from `wait`."""
        with self._sending:
            with self._turn:
                if self._broken is not None:
                    raise again(self._broken)
                handle = self._next_handle
                self._next_handle += 1
                self._pending[handle] = request
            head = p.REQUEST.pack(p.REQUEST_MAGIC, 0, request.command, handle, request.offset, request.length)
            try:
                self._wire.send(head, request.deadline)
            except BaseException as error:
                self.abandon(error)
                if not isinstance(error, AdapterError):
                    raise

    def wait(self, request: Pending) -> None:
        """Block until the request's reply came, receiving for everybody when nobody else does."""
        with self._turn:
            while self._receiving and not request.done:
                self._turn.wait()
            if not request.done:
                self._receiving = True
        if not request.done:
            self._lead(request)
        if request.error is not None:
            raise again(request.error)

    def abandon(self, error: BaseException) -> None:
        """Give the connection up: the leading thread, now or next, fails every request with `error`."""
        with self._turn:
            if self._broken is None:
                self._broken = (
                    error
                    if isinstance(error, AdapterError)
                    else SourceUnavailable("The NBD read was interrupted", code="nbd-interrupted")
                )
        self._wire.shutdown()

    def close(self, deadline: float) -> None:
        """Say goodbye if nothing is in flight, and release the socket; waiting threads raise."""
        with self._turn:
            if self._broken is None and not self._pending:
                with contextlib.suppress(AdapterError):
                    self._wire.send(p.REQUEST.pack(p.REQUEST_MAGIC, 0, p.CMD_DISC, 0, 0, 0), deadline)
        self.abandon(SourceUnavailable("The NBD connection is closed", code="nbd-closed"))
        with self._sending, self._turn:
            while self._receiving:
                self._turn.wait()
            self._fail_all()
            self._wire.close()

    def _lead(self, request: Pending) -> None:
        try:
            while not request.done:
                self._receive_reply()
        except BaseException as error:
            self.abandon(error)
            with self._turn:
                self._fail_all()
            if not isinstance(error, AdapterError):
                raise
        finally:
            with self._turn:
                self._receiving = False
                self._turn.notify_all()

    def _fail_all(self) -> None:
        for request in self._pending.values():
            request.fail(self._broken or broken("a request was lost"))
            request.done = True
        self._pending.clear()
        self._turn.notify_all()

    def _receive_reply(self) -> None:
        """Receive one simple reply or one chunk."""
        with self._turn:
            deadline = next(iter(self._pending.values())).deadline  # the oldest request's
        head = receive(self._wire, p.SIMPLE_REPLY.size, deadline)
        magic, error, handle = p.SIMPLE_REPLY.unpack(head)
        request = self._pending.get(handle)
        if request is None:
            raise broken("a reply is for no request in flight, or came twice")
        if magic == p.SIMPLE_REPLY_MAGIC:
            self._simple(request, error)
        elif magic == p.STRUCTURED_REPLY_MAGIC and self._structured:
            _, flags, kind, _ = p.CHUNK.unpack(head)
            self._chunk(request, kind, deadline)
            if not flags & p.REPLY_FLAG_DONE:
                return
            if request.error is None:
                request.complete()
        else:
            raise broken("a reply has the wrong magic")
        with self._turn:
            del self._pending[handle]
            request.done = True
            self._turn.notify_all()

    def _simple(self, request: Pending, error: int) -> None:
        if self._structured and request.command == p.CMD_READ:
            raise broken("a read came as a simple reply after structured replies were agreed")
        if error:
            request.fail(server_error(request, error))
        else:
            request.simple(self._wire)

    def _chunk(self, request: Pending, kind: int, deadline: float) -> None:
        (length,) = p.U32.unpack(receive(self._wire, 4, deadline))
        if kind & p.REPLY_ERROR_BIT:
            request.fail(receive_error(request, kind, length, self._wire))
        elif kind == p.REPLY_NONE:
            if length:
                raise broken("a chunk of type none carries data")
        else:
            request.chunk(kind, length, self._wire)


def again(error: AdapterError) -> AdapterError:
    """Copy an error, so that each thread raises its own."""
    return type(error)(error.what, code=error.code, why=error.why, hint=error.hint)


def deadline_in(seconds: float) -> float:
    """Return the monotonic time `seconds` from now."""
    return time.monotonic() + seconds
