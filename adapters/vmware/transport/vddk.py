"""The VDDK transports (`san`, `hotadd`, `nbdssl`, `nbd`): nbdkit's vddk plugin, one process per disk.

Imports `adapters.errors`, `adapters.nbd` and this package only. VDDK is told the one transport that was chosen, so it
cannot quietly take another; what it says it took is read back and is the reader's `transport`. The password travels
through a pipe: we put it into no command line, environment or file.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from adapters.errors import AdapterError, SourceInvalid
from adapters.hostlimit import DISK_TURN_SECONDS
from adapters.nbd.child import ChildEnded, NbdChild, as_descriptor
from adapters.nbd.client import NbdClient
from adapters.vmware.transport.access import DiskAccess
from adapters.vmware.transport.childreader import ChildReader
from adapters.vmware.transport.limits import HostConnections, connections_to
from adapters.vmware.transport.nbdkit import NO_NBDKIT, absent, environment, refusal, reported_transport, text

RUN_PREFIX = "nbdkit-"

_OVER_THE_NETWORK = frozenset({"nbdssl", "nbd"})
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


def open_vddk(access: DiskAccess, kind: str, places: HostConnections | None = None) -> ChildReader:
    """Open one disk behind a nbdkit of our own; the reader's `transport` is what VDDK says it took.

    A reader over the network holds one of the host's places. Raises SourceUnavailable (`vddk-missing`, `vddk-open`) and
    SourceDenied.
    """
    places = places or connections_to(access.place, access.port)
    held = ExitStack()
    with ExitStack() as opening:
        if kind in _OVER_THE_NETWORK:
            places.take(None, DISK_TURN_SECONDS)
            opening.callback(places.leave)
        about = {"machine": access.vm_moref, "host": access.host, "label": access.name}
        child = NbdChild(access.runtime_dir, RUN_PREFIX, about)
        opening.callback(child.close)
        client = _start(child, access, kind)
        opening.callback(client.close)
        reader = ChildReader(client, access.size_bytes, reported_transport(text(child.log)), access.name, held)
        held.push(opening.pop_all())
    return reader


def _start(child: NbdChild, access: DiskAccess, kind: str) -> NbdClient:
    password = access.password.reveal()
    if "\n" in password:
        raise SourceInvalid("The password cannot be given to VDDK", code="vddk-password", why="it has two lines")
    # `exitlast` ends nbdkit with our connection; --exit-with-parent would, with the thread that started it.
    command = ["nbdkit", "--foreground", "--readonly", "--filter=exitlast", f"--unix={child.socket}"]
    command += [child.pid_option, "--verbose", "-D", "nbdkit.backend.datapath=0"]
    command += ["-D", "vddk.datapath=0", "-D", "vddk.stats=0"]
    try:
        with as_descriptor(password) as descriptor:
            command += vddk_arguments(access, [kind], descriptor)
            child.start(command, pass_fds=(descriptor,), environment=environment())
    except FileNotFoundError:
        raise absent(NO_NBDKIT) from None
    try:
        return child.connect(depth=_IN_FLIGHT, timeout_seconds=_ANSWER_SECONDS)
    except (ChildEnded, AdapterError):
        what = f"{access.name} cannot be opened by {kind}"
        raise refusal(what, text(child.log).replace(password, "***")) from None
