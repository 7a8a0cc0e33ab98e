"""smbprotocol's connection, made strict about protection and time, and quick about the answers to reads.

Imports smbprotocol and this package. The library verifies what says that it is signed: here, what should be and is
not ends the connection. It copies a message eight times on its way up; plain answers to reads are taken out before.
"""

from __future__ import annotations

import hmac
import logging
import select
import socket
import struct
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from cryptography.hazmat.primitives import cmac
from cryptography.hazmat.primitives.ciphers import aead, algorithms
from smbprotocol import Dialects
from smbprotocol.connection import Ciphers, Connection, SigningAlgorithms
from smbprotocol.exceptions import SMBConnectionClosed, SMBException
from smbprotocol.header import Commands, NtStatus, Smb2Flags
from smbprotocol.transport import Tcp

from adapters.hyperv.smb.faults import Tampered
from adapters.hyperv.smb.reads import Head, ReadAnswer, ReadRequest, credits_for, pack_read

# What the library has to say reaches us as exceptions; without a handler Python would print it.
logging.getLogger("smbprotocol").addHandler(logging.NullHandler())

SIGNING = [SigningAlgorithms.AES_GMAC, SigningAlgorithms.AES_CMAC]
"""GMAC first: it costs a twentieth of CMAC."""
CIPHERS = [Ciphers.AES_128_GCM, Ciphers.AES_256_GCM, Ciphers.AES_128_CCM, Ciphers.AES_256_CCM]

_SESSION_ID = struct.Struct("<Q")
_SMALL = 4096
"""Below, the library's way is as quick."""
_GCM = (Ciphers.AES_128_GCM, Ciphers.AES_256_GCM)
_SIGNED_ANSWER = Smb2Flags.SMB2_FLAGS_SERVER_TO_REDIR | Smb2Flags.SMB2_FLAGS_SIGNED
_UNSIGNED_ENDS = frozenset({0xC0000203, 0xC000035C})
"""A session that the server no longer has is told of without a signature: there is no key left."""


class StrictConnection(Connection):  # type: ignore[misc]  # the library has no types
    """One TCP connection. `answer_seconds` bounds connecting, sending and the wait for each answer."""

    def __init__(self, host: str, port: int, answer_seconds: float) -> None:
        self._wire: Any = None
        self.answer_seconds = answer_seconds
        super().__init__(uuid.uuid4(), host, port, require_signing=True)

    def open(self) -> None:
        """Connect and agree on a dialect. Raises what the library does; `abandon` then."""
        self.connect(timeout=self.answer_seconds, preferred_encryption_algos=CIPHERS, preferred_signing_algos=SIGNING)

    @property
    def alive(self) -> bool:
        """Whether the connection was there when last looked at."""
        return self._t_exc is None and self._wire is not None and bool(self._wire.connected)

    def abandon(self) -> None:
        """Close the socket and end the receiving thread, without a word to the server."""
        if self._wire is not None:
            with suppress(OSError):
                self.disconnect(close=False)

    @property
    def transport(self) -> Any:
        """The socket; the library sets it while it connects."""
        return self._wire

    @transport.setter
    def transport(self, tcp: Any) -> None:
        if tcp is not None:
            self._wire = _Wire(tcp.server, tcp.port, self.answer_seconds, self._take)

    def receive(self, request: Any, wait: bool = True, timeout: Any = None, resolve_symlinks: bool = False) -> Any:
        """Wait for an answer, never for ever, and follow no symbolic link: it could lead out of its folder."""
        return super().receive(request, wait, timeout or self.answer_seconds, resolve_symlinks=False)

    def send_read(self, session: Any, tree: Any, file_id: bytes, offset: int, length: int) -> ReadRequest:
        """Ask for a range of a file, and for the credits back that it costs. Raises what the library does."""
        charge = credits_for(length)
        with self.sequence_lock:
            number = self.sequence_window["low"]
            if charge > self.sequence_window["high"] - number:
                raise SMBException("the server gave no credits for a read")
            self.sequence_window["low"] = number + charge
        request = self.outstanding_requests[number] = ReadRequest(number, session.session_id)
        flags = Smb2Flags.SMB2_FLAGS_SIGNED if session.signing_required else 0
        place = (number, 0, tree.tree_connect_id, session.session_id)
        asked = Head(b"\xfeSMB", 64, charge, 0, Commands.SMB2_READ, charge, flags, 0, *place)
        message = pack_read(asked, file_id, offset, length)
        if session.signing_required:
            signature = self._generate_signature(message, session.signing_key, number, False, Commands.SMB2_READ)
            message = message[:48] + signature + message[64:]
        if session.encrypt_data or tree.encrypt_data:
            message = self._encrypt(message, session).pack()
        self._check_worker_running()
        self._wire.send(message)
        return request

    def receive_read(self, request: ReadRequest) -> memoryview:
        """Wait for the answer to a read, and return its data. Raises what the library does."""
        request.response_event.wait(self.answer_seconds)
        answer = request.response
        if isinstance(answer, ReadAnswer):
            self.outstanding_requests.pop(request.message["message_id"].get_value(), None)
            return answer.data
        header = self.receive(request)
        return ReadAnswer(bytearray(header.pack())).data

    def verify_signature(self, header: Any, session_id: int, force: bool = False) -> None:
        """Refuse what is not protected as its session says. Raises Tampered, and what ends the connection.

        Called for messages that were not encrypted. Only what was asked for can be exempt: whoever forges an answer
        chooses what it calls itself.
        """
        session = self.session_table.get(session_id)
        if force:  # the end of a log-on, when there is a key
            self._verify(bytearray(header.pack()), session)
            return
        status, command = header["status"].get_value(), header["command"].get_value()
        asked = self.outstanding_requests[header["message_id"].get_value()].message["command"].get_value()
        if not header["flags"].has_flag(Smb2Flags.SMB2_FLAGS_SERVER_TO_REDIR) or command != asked:
            raise Tampered("an answer is none to its request")
        if session is None or command == Commands.SMB2_SESSION_SETUP or status == NtStatus.STATUS_PENDING:
            return
        elif not session.encrypt_data and header["flags"].has_flag(Smb2Flags.SMB2_FLAGS_SIGNED):
            self._verify(bytearray(header.pack()), session)
        elif status in _UNSIGNED_ENDS:
            raise SMBConnectionClosed("the session ended")
        elif session.encrypt_data or session.signing_required:
            raise Tampered("an answer is neither signed nor encrypted")

    def _take(self, message: bytearray) -> bool:
        """Take an answer to a read, verified, out of what the library is to see. Called as messages arrive."""
        if len(message) < _SMALL:
            return False
        if message[:4] == b"\xfdSMB":
            return self._take_encrypted(message)
        head = Head.of(message)
        session = self.session_table.get(head.session)
        if (
            head.flags != _SIGNED_ANSWER
            or session is None
            or session.encrypt_data
            or not self._awaits(head, head.session)
        ):
            return False
        self._verify(message, session)
        return self._deliver(head, message)

    def _take_encrypted(self, message: bytearray) -> bool:
        (session_id,) = _SESSION_ID.unpack_from(message, 44)
        session = self.session_table.get(session_id)
        if session is None or self.dialect < Dialects.SMB_3_1_1 or self.cipher_id not in _GCM:
            return False
        signature, bound = bytes(message[4:20]), bytes(message[20:52])
        sealed = memoryview(message + signature)[52:]
        plain = aead.AESGCM(session.decryption_key).decrypt(bound[:12], sealed, bound)
        head = Head.of(plain)
        return self._awaits(head, session_id) and self._deliver(head, plain)

    def _awaits(self, head: Head, session_id: int) -> bool:
        """Tell whether it is a good answer to a read of ours in that session."""
        request = self.outstanding_requests.get(head.number)
        return head.is_read and isinstance(request, ReadRequest) and request.session_id == session_id

    def _deliver(self, head: Head, message: bytes | bytearray) -> bool:
        answer = ReadAnswer(message)
        request = self.outstanding_requests[head.number]
        with request.response_event_lock:
            if request.response is not None:
                return False  # the library is at it: a first answer said that the read takes its time
            with self.sequence_lock:
                self.sequence_window["high"] += head.credits
            request.response = answer
            request.response_event.set()
        return True

    def _verify(self, message: bytearray, session: Any) -> None:
        """Raise Tampered unless the message, signature and all, is as the server signed it."""
        if session is None or session.signing_key is None:
            raise Tampered("an answer is signed without a key")
        signature = bytes(message[48:64])
        message[48:64] = bytes(16)
        expected = self._signature(message, session.signing_key)
        message[48:64] = signature
        if not hmac.compare_digest(signature, expected):
            raise Tampered("an answer's signature is wrong")

    def _signature(self, message: bytearray, key: bytes) -> bytes:
        if self.dialect >= Dialects.SMB_3_1_1 and self.signing_algorithm_id == SigningAlgorithms.AES_GMAC:
            nonce = bytes(message[24:32]) + b"\x01\x00\x00\x00"
            return aead.AESGCM(key).encrypt(nonce, b"", message)
        code = cmac.CMAC(algorithms.AES(key))
        code.update(bytes(message))
        return code.finalize()


class _Wire(Tcp):  # type: ignore[misc]  # the library has no types
    """The socket. Messages are received in one piece each; those that `take` takes go no further."""

    def __init__(self, host: str, port: int, seconds: float, take: Callable[[bytearray], bool]) -> None:
        super().__init__(host, port, seconds)
        self._take = take

    def connect(self) -> None:
        """Connect; from then on sending, and the rest of a message that has begun, take `seconds` at most each."""
        super().connect()
        patience = struct.pack("ll", max(1, int(self.timeout)), 0)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, message: Any) -> None:
        """Send one message, packed or, as the library encrypts it, still to be. Raises OSError."""
        packed = message if isinstance(message, bytes) else message.pack()
        with self._sock_lock:
            self._sock.sendall(len(packed).to_bytes(4, "big") + packed)

    def recv(self, timeout: float) -> bytes:
        """Return the next message that was not taken, nothing at the end. Raises TimeoutError when none comes."""
        while (message := self._message(timeout)) is not None:
            if not self._take(message):
                return bytes(message)
        self.close()
        return b""

    def _message(self, timeout: float) -> bytearray | None:
        # close() shuts the socket down, which ends the wait here, then waits for the lock to close it.
        with self._close_lock:
            if not self.connected:
                return None
            if not select.select([self._sock], [], [], max(timeout, 1))[0]:
                raise TimeoutError("no message")
            frame = self._exactly(4)
            if frame is None:
                return None
            if frame[0]:
                raise SMBConnectionClosed("no SMB message")
            return self._exactly(int.from_bytes(frame, "big"))

    def _exactly(self, length: int) -> bytearray | None:
        """Receive so many bytes; None at the end of the stream."""
        received = bytearray(length)
        view, at = memoryview(received), 0
        while at < length:
            try:
                count = self._sock.recv_into(view[at:], length - at, socket.MSG_WAITALL)
            except BlockingIOError:
                # No TimeoutError: the library takes that for a connection on which nothing is due.
                raise SMBConnectionClosed("the rest of a message does not come") from None
            except ConnectionError:
                return None
            if not count:
                return None
            at += count
        return received
