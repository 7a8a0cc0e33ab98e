"""The command behind which somebody's own guest stands."""

from __future__ import annotations

from pathlib import Path
from subprocess import CalledProcessError

import pytest

from tests.support.guest_harness import CommandGuest

SCRIPT = """case $1 in
    write) dd of={disk} bs=64K iflag=fullblock oflag=seek_bytes seek=$2 conv=fsync,notrunc status=none ;;
    read) dd if={disk} bs=64K status=none ;;
esac
"""


def test_a_command_writes_at_any_offset(tmp_path: Path) -> None:
    """The script that the module shows writes where it is told, keeps the rest, and reads all."""
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    script = tmp_path / "guest"
    script.write_text(SCRIPT.format(disk=disk))
    guest = CommandGuest(["sh", str(script)])
    guest.write(77_777, b"written" * 30_000)
    content = bytearray(1 << 20)
    content[77_777 : 77_777 + 210_000] = b"written" * 30_000
    assert guest.read() == content


def test_a_command_that_fails_is_no_success() -> None:
    """A write that did not happen ends the test."""
    with pytest.raises(CalledProcessError):
        CommandGuest(["false"]).write(0, b"x")
