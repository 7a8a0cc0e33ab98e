"""The LUN read path: a LUN of a storage network, or a device or file of this machine, read as one raw disk.

Imports `adapters.errors`, `adapters.nbd`, `adapters.secret` and this package only. qemu-nbd speaks iSCSI in user space,
so that nothing is attached to this machine. What is on a LUN is not understood here: one that carries VMFS is read as
it stands, its files are not.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.errors import AdapterError, SourceDenied, SourceInvalid, SourceUnavailable
from adapters.nbd.child import ChildEnded, NbdChild, as_descriptor
from adapters.nbd.client import NbdClient
from adapters.secret import Secret
from adapters.vmware.transport.childreader import ChildReader
from adapters.vmware.transport.nbdkit import environment

RUN_PREFIX = "qemu-nbd-lun-"


@dataclass(frozen=True, slots=True)
class IscsiLun:
    """A LUN behind `portal` (`host` or `host:port`); `initiator` is our own name there, CHAP is used with a `user`."""

    portal: str
    target: str
    lun: int
    initiator: str | None = None
    user: str | None = None
    password: Secret | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"iscsi://{self.portal}/{self.target}/{self.lun}"

    def node(self) -> dict[str, Any]:
        """Describe it to qemu; the password is the secret `chap`."""
        node = {"driver": "iscsi", "transport": "tcp", "portal": self.portal, "target": self.target, "lun": self.lun}
        if self.initiator is not None:
            node["initiator-name"] = self.initiator
        if self.user is not None:
            node |= {"user": self.user, "password-secret": "chap"}
        return node


@dataclass(frozen=True, slots=True)
class LocalLun:
    """A block device, or a file, of this machine."""

    path: Path
    password: None = None

    def __str__(self) -> str:
        return str(self.path)

    def node(self) -> dict[str, Any]:
        """Describe it to qemu."""
        return {"driver": "host_device" if self.path.is_block_device() else "file", "filename": str(self.path)}


Lun = IscsiLun | LocalLun


def open_lun(
    lun: Lun, size_bytes: int, transport: str, runtime_dir: Path, *, machine: str, host: str, label: str
) -> ChildReader:
    """Open the first `size_bytes` of a LUN behind a qemu-nbd of our own.

    `machine`, `host` and `label` say for whom, should it be left behind. Raises SourceUnavailable (`lun-open`),
    SourceDenied (`lun-denied`), SourceCorrupt (`disk-too-small`).
    """
    held = ExitStack()
    with ExitStack() as opening:
        child = NbdChild(runtime_dir, RUN_PREFIX, {"machine": machine, "host": host, "label": label})
        opening.callback(child.close)
        client = _start(child, lun)
        opening.callback(client.close)
        reader = ChildReader(client, size_bytes, transport, str(lun), held)
        held.push(opening.pop_all())
    return reader


def _start(child: NbdChild, lun: Lun) -> NbdClient:
    command = ["qemu-nbd", "--read-only", "--shared=0", f"--socket={child.socket}", child.pid_option]
    image = f"json:{json.dumps({'driver': 'raw', 'file': lun.node()})}"
    try:
        if lun.password is None:
            child.start([*command, image], environment=environment())
        else:
            with as_descriptor(lun.password.reveal()) as descriptor:
                command += ["--object", f"secret,id=chap,file=/proc/self/fd/{descriptor}"]
                child.start([*command, image], pass_fds=(descriptor,), environment=environment())
    except FileNotFoundError:
        raise SourceUnavailable(
            f"{lun} cannot be read without qemu-nbd",
            code="qemu-nbd-missing",
            hint="Install qemu-utils, and qemu-block-extra for iSCSI (Debian).",
        ) from None
    try:
        return child.connect()
    except ChildEnded as ended:
        raise _refusal(lun, "; ".join(ended.words)) from None


def _refusal(lun: Lun, words: str) -> AdapterError:
    """Translate qemu's last words about a LUN."""
    if "Unknown driver 'iscsi'" in words or "Unknown protocol" in words:
        return SourceUnavailable(
            f"{lun} cannot be read", code="iscsi-missing", why=words, hint="Install qemu-block-extra (Debian)."
        )
    if "uthentication" in words or "Permission denied" in words:
        return SourceDenied(f"{lun} may not be read", code="lun-denied", why=words)
    if "No such file" in words:
        return SourceInvalid(f"{lun} is not there", code="lun-missing", why=words)
    return SourceUnavailable(f"{lun} cannot be read", code="lun-open", why=words)
