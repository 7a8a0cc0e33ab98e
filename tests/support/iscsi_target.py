"""A real iSCSI target in user space (Debian's tgt) on loopback: no kernel module, no configuration file."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.nbd_peers import need

TARGET = "iqn.2024-01.invalid.holdfast:disks"
BLOCK_MODULE = "block-iscsi.so"


@dataclass(frozen=True)
class IscsiTarget:
    """Where it listens; LUN 1 is the disk."""

    portal: str
    target: str
    control: int

    def admin(self, *arguments: str) -> None:
        """Run tgtadm."""
        command = ["tgtadm", "-C", str(self.control), "--lld", "iscsi", *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=30)


@contextmanager
def iscsi_target(disk: Path) -> Iterator[IscsiTarget]:
    """Serve `disk` as LUN 1 until the block ends. Skips without tgt, without qemu's iSCSI driver, and when not root."""
    need("tgtd", "tgtadm", "qemu-nbd")
    if not list(Path("/usr/lib").glob(f"*/qemu/{BLOCK_MODULE}")):
        pytest.skip("qemu has no iSCSI driver (qemu-block-extra)")
    if os.geteuid():
        pytest.skip("tgtd runs as root only")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    target = IscsiTarget(f"127.0.0.1:{port}", TARGET, port % 32768)
    process = subprocess.Popen(
        ["tgtd", "-f", "-C", str(target.control), "--iscsi", f"portal={target.portal}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: _listens(port) or process.poll() is not None, "tgtd listens")
        if process.poll() is not None:
            pytest.skip("tgtd does not run here")
        target.admin("--mode", "target", "--op", "new", "--tid", "1", "--targetname", TARGET)
        target.admin("--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "1", "--backing-store", str(disk))
        target.admin("--mode", "target", "--op", "bind", "--tid", "1", "--initiator-address", "ALL")
        yield target
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
