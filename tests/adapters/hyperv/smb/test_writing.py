"""What a restore writes over SMB is there, wholly, or the restore fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.errors import SourceConflict, SourceLimit, SourceUnavailable
from adapters.hyperv.smb.files import SmbFiles
from adapters.hyperv.smb.handle import Handle, Purpose
from adapters.hyperv.smb.link import Link
from adapters.hyperv.smb.paths import SmbPath
from adapters.hyperv.smb.patience import Patience
from tests.support.samba_server import HOST, Samba, samba_server
from tests.support.smb_proxy import smb_proxy

MIB = 1 << 20
PATH = rf"\\{HOST}\C$\new.vhdx"
WRITE = 9


def is_write(message: bytearray) -> bool:
    """Whether it answers a write."""
    return message[12] == WRITE


def test_ranges_are_written(files: SmbFiles, drive: Path) -> None:
    """Ranges of any length land where they belong, what was not written reads as zeros, the size is as asked."""
    writer = files.create(PATH, 5 * MIB)
    large = os.urandom(2 * MIB + 77)
    writer.write_at(MIB, large)
    writer.write_at(3, b"small")
    writer.flush()
    writer.close()
    writer.close()
    written = (drive / "new.vhdx").read_bytes()
    assert len(written) == 5 * MIB
    assert written[:8] == bytes(3) + b"small"
    assert written[MIB : MIB + len(large)] == large
    assert not any(written[MIB + len(large) :])
    with pytest.raises(SourceUnavailable):
        writer.write_at(0, b"late")


def test_a_write_whose_answer_was_lost_is_repeated(samba: Samba, drive: Path) -> None:
    """A connection that ends while writes are answered loses nothing: the file is opened again and written on."""
    content = os.urandom(6 * MIB)
    cuts = [3, 2, 1]

    def cut(message: bytearray) -> bytes | None:
        if is_write(message) and cuts:
            cuts[-1] -= 1
            if not cuts[-1]:
                cuts.pop()
                return None
        return bytes(message)

    with smb_proxy(samba.port) as proxy:
        files = SmbFiles(samba.settings(smb_port=proxy.port))
        writer = files.create(PATH)
        proxy.alter = cut
        writer.write_at(0, content)
        writer.flush()
        writer.close()
        files.close()
    assert not cuts
    assert (drive / "new.vhdx").read_bytes() == content


def test_an_acknowledged_write_that_is_gone_is_told(samba: Samba, drive: Path) -> None:
    """What a server forgot when it went down, before it was flushed, ends the restore instead of staying unnoticed."""
    files = SmbFiles(samba.settings())
    writer = files.create(PATH, 4 * MIB)
    writer.write_at(0, b"flushed")
    writer.flush()
    writer.write_at(MIB, os.urandom(MIB))
    samba.drop_sessions()
    with (drive / "new.vhdx").open("r+b") as file:
        file.seek(MIB)
        file.write(bytes(MIB))
    with pytest.raises(SourceUnavailable) as lost:
        writer.write_at(2 * MIB, b"next")
    assert lost.value.code == "smb-write-lost"
    writer.close()
    files.close()


def test_another_file_in_its_place_is_not_written_to(samba: Samba, drive: Path) -> None:
    """After a lost session a file of the same name is not taken for ours."""
    files = SmbFiles(samba.settings())
    writer = files.create(PATH)
    samba.drop_sessions()
    (drive / "new.vhdx").rename(drive / "former")
    (drive / "new.vhdx").write_bytes(b"somebody's")
    with pytest.raises(SourceConflict) as refused:
        writer.write_at(0, b"ours")
    assert refused.value.code == "smb-file-changed"
    writer.close()
    files.close()
    assert (drive / "new.vhdx").read_bytes() == b"somebody's"


def test_an_open_file_of_the_lost_session_is_waited_for(samba: Samba, drive: Path) -> None:
    """A server that still has our lost session's file open refuses the new one for a while: that is borne."""
    waits: list[Callable[[], None]] = []
    files = SmbFiles(samba.settings(), patience=Patience(60, sleep=lambda seconds: waits.pop(0)()))
    writer = files.create(PATH)
    writer.write_at(0, b"before ")
    samba.drop_sessions()
    link = Link(HOST, HOST, samba.port, samba.settings(), 30)
    lost = Handle(link, SmbPath.parse(PATH), Purpose.WRITE)
    waits += [lambda: None, lost.close]  # the first is for the lost connection
    writer.write_at(7, b"after")
    assert waits == []
    writer.close()
    link.close()
    files.close()
    assert (drive / "new.vhdx").read_bytes() == b"before after"


def test_nobody_else_writes_to_it(samba: Samba, files: SmbFiles) -> None:
    """As long as it is written, the file can be read by others, and opened for writing by none."""
    writer = files.create(PATH)
    writer.write_at(0, b"half")
    link = Link(HOST, HOST, samba.port, samba.settings(), 30)
    with pytest.raises(SourceConflict) as refused:
        Handle(link, SmbPath.parse(PATH), Purpose.WRITE)
    assert refused.value.code == "smb-sharing"
    link.close()
    assert files.read_bytes(PATH) == b"half"
    writer.close()


def test_a_full_volume_is_a_limit(tmp_path: Path) -> None:
    """No space left is SourceLimit `smb-disk-full`, and the writer closes."""
    with small_volume(tmp_path, 4 * MIB) as volume, samba_server({"C$": volume}) as samba:
        files = SmbFiles(samba.settings(), patience=Patience(0))
        writer = files.create(PATH)
        with pytest.raises(SourceLimit) as full:
            writer.write_at(0, bytes(8 * MIB))
        assert full.value.code == "smb-disk-full"
        writer.close()
        files.close()


@contextmanager
def small_volume(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A file system of that size, in memory."""
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("only root mounts")
    place = folder / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", place]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)
