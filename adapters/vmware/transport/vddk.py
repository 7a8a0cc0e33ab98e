"""The VDDK transports (`san`, `hotadd`, `nbdssl`, `nbd`): nbdkit's vddk plugin, one process per disk.

Imports `adapters.errors`, `adapters.nbd`, `adapters.port` and this package only. VDDK is told the one transport that
was chosen, so it cannot quietly take another; what it says it took is read back and is the reader's `transport`. The
password travels through a pipe: we put it into no command line, environment or file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from adapters.errors import AdapterError, SourceCorrupt, SourceInvalid, SourceUnavailable
from adapters.nbd.child import ChildEnded, NbdChild
from adapters.nbd.client import NbdClient
from adapters.nbd.reader import NbdReader
from adapters.port import Extent
from adapters.vmware.transport.access import DiskAccess
from adapters.vmware.transport.limits import HostConnections, connections_to
from adapters.vmware.transport.nbdkit import NO_NBDKIT, absent, environment, refusal, reported_transport, text

RUN_PREFIX = "nbdkit-"

_ANSWER_SECONDS = 300.0
_IN_FLIGHT = 4  # of 1 MiB each: a host's NFC service has little memory for a connection


def vddk_arguments(access: DiskAccess, transports: Sequence[str], password_fd: int) -> list[str]:
    """Return the plugin's arguments; the password is read from `password_fd`."""
    values = (access.host, access.user, access.vm_moref, access.snapshot_moref, access.name, *transports)
    if any("\0" in value or "\n" in value for value in values):
        raise SourceInvalid("A name cannot be given to VDDK", code="vddk-name", why="it contains a control character")
    return [
        "vddk",
        *([f"libdir={access.vddk_dir}"] if access.vddk_dir is not None else []),
        f"server={access.host}",
        f"port={access.port}",
        f"user={access.user}",
        f"password=-{password_fd}",
        f"thumbprint={access.thumbprint_sha1}",
        f"vm=moref={access.vm_moref}",
        f"snapshot={access.snapshot_moref}",
        f"transports={':'.join(transports)}",
        f"file={access.name}",
    ]


class VddkReader:
    """One disk behind a nbdkit of our own. `transport` is what VDDK says it took."""

    def __init__(self, access: DiskAccess, kind: str, places: HostConnections | None = None) -> None:
        self._places = places or connections_to(access.host, access.port)
        self._closed = False
        about = {"machine": access.vm_moref, "host": access.host, "label": access.name}
        self._places.take(None)
        try:
            self._child = NbdChild(access.runtime_dir, RUN_PREFIX, about)
        except BaseException:
            self._places.leave()
            raise
        self._reader: NbdReader | None = None
        try:
            self._reader = NbdReader(self._start(access, kind), transport=reported_transport(text(self._child.log)))
            self._check(access, self._reader)
        except BaseException:
            self.close()
            raise
        self.size_bytes = access.size_bytes
        self.transport = self._reader.transport

    def extents(self) -> Iterator[Extent]:
        """Yield the disk in order, gapless, with VDDK's own knowledge of what is allocated where it has it."""
        for extent in self._open().extents():
            if extent.start >= self.size_bytes:
                return
            yield Extent(extent.start, min(extent.end, self.size_bytes) - extent.start, extent.zero)

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises SourceInvalid past the end, else what VDDK or the connection met."""
        if offset < 0 or offset + len(buffer) > self.size_bytes:
            raise SourceInvalid(
                f"A read of {len(buffer)} bytes at {offset} is outside the disk",
                code="read-past-end",
                why=f"it has {self.size_bytes} bytes",
            )
        self._open().pread_into(offset, buffer)

    def close(self) -> None:
        """Close the disk, end nbdkit and give the place back; twice is harmless."""
        if not self._closed:
            self._closed = True
            if self._reader is not None:
                self._reader.close()
            self._child.close()
            self._places.leave()

    def _open(self) -> NbdReader:
        if self._closed or self._reader is None:
            raise SourceUnavailable("The reader was closed", code="reader-closed")
        return self._reader

    def _start(self, access: DiskAccess, kind: str) -> NbdClient:
        child, password = self._child, access.password.reveal()
        if "\n" in password:
            raise SourceInvalid("The password cannot be given to VDDK", code="vddk-password", why="it has two lines")
        read_end, write_end = os.pipe()
        try:
            os.write(write_end, password.encode())
            # `exitlast` ends nbdkit with our connection; --exit-with-parent would, with the thread that started it.
            command = ["nbdkit", "--foreground", "--readonly", "--filter=exitlast", f"--unix={child.socket}"]
            command += [child.pid_option, "--verbose", "-D", "nbdkit.backend.datapath=0"]
            command += ["-D", "vddk.datapath=0", "-D", "vddk.stats=0", *vddk_arguments(access, [kind], read_end)]
            child.start(command, pass_fds=(read_end,), environment=environment())
        except FileNotFoundError:
            raise absent(NO_NBDKIT) from None
        finally:
            os.close(write_end)
            os.close(read_end)
        try:
            return child.connect(depth=_IN_FLIGHT, timeout_seconds=_ANSWER_SECONDS)
        except (ChildEnded, AdapterError):
            raise refusal(
                f"{access.name} cannot be opened by {kind}", text(child.log).replace(password, "***")
            ) from None

    def _check(self, access: DiskAccess, reader: NbdReader) -> None:
        if reader.size_bytes < access.size_bytes:
            raise SourceCorrupt(
                f"{access.name} is smaller than its disk",
                code="disk-too-small",
                why=f"VDDK shows {reader.size_bytes} of {access.size_bytes} bytes",
            )
