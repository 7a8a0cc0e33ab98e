"""Connections belong to the process that made them: a forked child is refused, a spawned one makes its own."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

from adapters.errors import SourceInvalid
from adapters.hyperv.settings import HypervSettings
from adapters.hyperv.smb.file import SmbFile
from adapters.hyperv.smb.files import SmbFiles
from adapters.secret import Secret
from tests.support.samba_server import HOST, PASSWORD, Samba

MIB = 1 << 20
PATH = rf"\\{HOST}\C$\disk.vhdx"


def test_a_forked_reader_is_refused_at_once(samba: Samba, drive: Path) -> None:
    """In a forked child reads, opens and closes end at once; the parent's connections work on, none is shut down."""
    content = os.urandom(3 * MIB)
    (drive / "disk.vhdx").write_bytes(content)
    files = SmbFiles(samba.settings(smb_handles=2))
    file = files.open(PATH)
    buffer = bytearray(len(content))
    file.pread_into(0, memoryview(buffer))
    writer = files.create(rf"\\{HOST}\C$\new")
    child = os.fork()
    if not child:
        os._exit(_refused(file, files, writer))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    buffer[:] = bytes(len(content))
    file.pread_into(0, memoryview(buffer))
    assert buffer == content
    writer.write_at(0, b"parent's")
    writer.close()
    assert (drive / "new").read_bytes() == b"parent's"
    file.close()
    files.close()


def _refused(file: SmbFile, files: SmbFiles, writer: object) -> int:
    """Try everything, and return 0 when all of it was refused."""
    codes = []
    for attempt in (
        lambda: file.pread_into(0, memoryview(bytearray(9))),
        lambda: files.open(PATH),
        lambda: files.list(rf"\\{HOST}\C$"),
        lambda: writer.write_at(0, b"child's"),
    ):
        try:
            attempt()
        except SourceInvalid as refused:
            codes.append(refused.code)
    writer.close()
    file.close()
    files.close()
    return 0 if codes == ["smb-forked"] * 4 else 1


def read_apart(port: int, user: str, offset: int, length: int) -> bytes:
    """Read a range with connections of this process's own."""
    settings = HypervSettings(HOST, user, Secret(lambda: PASSWORD), smb_port=port, smb_handles=2)
    files = SmbFiles(settings)
    file = files.open(PATH)
    buffer = bytearray(length)
    file.pread_into(offset, memoryview(buffer))
    file.close()
    files.close()
    return bytes(buffer)


def test_spawned_readers_read(samba: Samba, drive: Path) -> None:
    """Spawned processes read beside each other, and beside their parent, each over its own sessions."""
    content = os.urandom(4 * MIB)
    (drive / "disk.vhdx").write_bytes(content)
    files = SmbFiles(samba.settings(smb_handles=1))
    file = files.open(PATH)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        parts = pool.starmap(read_apart, [(samba.port, samba.user, start * MIB, 2 * MIB) for start in (0, 2)])
        buffer = bytearray(len(content))
        file.pread_into(0, memoryview(buffer))
        pool.close()
        pool.join()
    assert b"".join(parts) == content == buffer
    file.close()
    files.close()
