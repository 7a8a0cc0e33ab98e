"""Reads over several handles are the file's bytes, also when sessions are lost in the middle of them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from smbprotocol.open import CreateDisposition, CreateOptions, FilePipePrinterAccessMask, ImpersonationLevel, Open

from adapters.errors import AdapterError, SourceConflict, SourceInvalid, SourceUnavailable
from adapters.hyperv.smb.file import SmbFile
from adapters.hyperv.smb.files import SmbFiles
from adapters.hyperv.smb.link import Link
from adapters.hyperv.smb.paths import SmbPath
from adapters.hyperv.smb.patience import Patience
from tests.support.samba_server import HOST, Samba
from tests.support.smb_proxy import SmbProxy, is_read, smb_proxy

MIB = 1 << 20
PATH = rf"\\{HOST}\C$\disk.vhdx"


@pytest.fixture
def content(drive: Path) -> bytes:
    """What is in the file: no two MiB are equal, and its end is none."""
    content = b"".join(number.to_bytes(8, "big") * (MIB // 8) for number in range(9)) + os.urandom(4321)
    (drive / "disk.vhdx").write_bytes(content)
    return content


@contextmanager
def opened(samba: Samba, *, port: int | None = None, patience: Patience | None = None) -> Iterator[SmbFile]:
    """The file, over two handles."""
    files = SmbFiles(samba.settings(smb_handles=2, smb_port=port or samba.port), patience=patience, answer_seconds=30)
    try:
        file = files.open(PATH)
        try:
            yield file
        finally:
            file.close()
    finally:
        files.close()


def read(file: SmbFile, offset: int, length: int) -> bytes:
    """Read a range."""
    buffer = bytearray(length)
    file.pread_into(offset, memoryview(buffer))
    return bytes(buffer)


@pytest.mark.parametrize("encrypt", [False, True])
def test_ranges_are_the_files(samba: Samba, content: bytes, encrypt: bool) -> None:
    """Any range, of a byte or many pieces, read by several threads at once, signed or encrypted."""
    files = SmbFiles(samba.settings(smb_handles=3, smb_encrypt=encrypt))
    file = files.open(PATH)
    assert file.size_bytes == len(content)
    dice = random.Random(23)
    ranges = [(0, len(content)), (len(content) - 1, 1), (MIB - 1, 2), (5, 0)]
    for _ in range(60):
        start = dice.randrange(len(content))
        ranges.append((start, dice.randrange(1, min(len(content) - start, dice.choice([999, 3 * MIB])) + 1)))
    with ThreadPoolExecutor(4) as pool:
        for (start, length), got in zip(ranges, pool.map(lambda at: read(file, *at), ranges), strict=True):
            assert got == content[start : start + length]
    file.close()
    files.close()


def test_reads_past_the_end_and_after_the_end_are_refused(samba: Samba, content: bytes) -> None:
    """Nothing beyond the file is asked for, and a closed file is not opened again; closing twice is harmless."""
    with opened(samba) as file:
        for offset, length in ((len(content), 1), (-1, 2), (0, len(content) + 1)):
            with pytest.raises(SourceInvalid) as refused:
                read(file, offset, length)
            assert refused.value.code == "read-past-end"
        file.close()
        file.close()
        with pytest.raises(SourceUnavailable) as closed:
            read(file, 0, 1)
        assert closed.value.code == "smb-closed"


def test_a_dropped_session_is_made_anew(samba: Samba, content: bytes) -> None:
    """Sessions that die again and again in the middle of reads change no byte: the file is opened again."""
    with opened(samba) as file, ThreadPoolExecutor(3) as pool:
        for _ in range(4):
            reads = [pool.submit(read, file, start, 3 * MIB) for start in range(0, 6 * MIB, MIB)]
            samba.drop_sessions()
            for start, done in enumerate(reads):
                assert done.result() == content[start * MIB : (start + 3) * MIB]


def test_an_answer_cut_short_is_asked_for_again(samba: Samba, content: bytes) -> None:
    """A connection that ends within the data of an answer yields no byte of it."""
    cut = [True]

    def cut_once(message: bytearray) -> bytes | None:
        return None if is_read(message) and len(message) > MIB and cut and cut.pop() else bytes(message)

    with smb_proxy(samba.port) as proxy:
        proxy.alter = cut_once
        with opened(samba, port=proxy.port) as file:
            assert read(file, 0, len(content)) == content
        assert not cut
        assert proxy.connections == 3


def test_a_read_that_takes_its_time_is_waited_for(samba: Samba, content: bytes) -> None:
    """A server that first says that an answer will take a while, as it does for slow disks, is believed."""

    def pending_first(message: bytearray) -> bytes | tuple[bytes, ...]:
        if not is_read(message):
            return bytes(message)
        head = bytearray(message[:64])
        head[8:12] = (0x103).to_bytes(4, "little")
        head[14:16] = bytes(2)
        head[16] = 3  # an answer, and asynchronous
        head[48:64] = bytes(16)
        return bytes(head) + bytes([9, 0, 0, 0, 0, 0, 0, 0, 0]), bytes(message)

    with smb_proxy(samba.port) as proxy:
        proxy.alter = pending_first
        with opened(samba, port=proxy.port) as file:
            assert read(file, 0, len(content)) == content
        assert proxy.connections == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda samba, path: replace(path), "another file"),
        (lambda samba, path: os.truncate(path, MIB), "bytes"),
        (lambda samba, path: rewrite(samba), "written"),
    ],
    ids=["replaced", "truncated", "written"],
)
def test_a_file_that_changed_meanwhile_is_not_read_on(
    samba: Samba, content: bytes, drive: Path, change: Callable[[Samba, Path], None], why: str
) -> None:
    """After a lost session the file must be the very same, unwritten: else SourceConflict, and no mixture of two."""
    with opened(samba) as file:
        assert read(file, 0, 10) == content[:10]
        change(samba, drive / "disk.vhdx")
        samba.drop_sessions()
        with pytest.raises(SourceConflict) as refused:
            read(file, 0, 2 * MIB)
        assert refused.value.code == "smb-file-changed"
        assert why in refused.value.why


def test_a_file_that_shrinks_is_told(samba: Samba, content: bytes, drive: Path) -> None:
    """A file that becomes shorter while it is open is SourceConflict, never zeros."""
    with opened(samba) as file:
        read(file, 0, 10)
        os.truncate(drive / "disk.vhdx", MIB + 100)
        for offset in (MIB, 5 * MIB):
            with pytest.raises(SourceConflict) as refused:
                read(file, offset, MIB)
            assert refused.value.code == "smb-file-changed"


def test_patience_ends(samba: Samba, content: bytes) -> None:
    """A server that stays away is waited for as long as patience says, with growing pauses, then SourceUnavailable."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with (
        smb_proxy(samba.port) as proxy,
        opened(samba, port=proxy.port, patience=Patience(60, lambda: now[0], sleep)) as file,
    ):
        proxy.alter = lambda message: None
        with pytest.raises(SourceUnavailable) as lost:
            read(file, 0, 10)
        assert lost.value.code == "smb-lost"
        assert 30 < now[0] <= 60


def test_a_silent_server_is_given_up(samba: Samba, content: bytes) -> None:
    """Every answer has its deadline: a server that stays silent with the connection open hangs nobody."""
    with smb_proxy(samba.port) as proxy:
        settings = samba.settings(smb_handles=1, smb_port=proxy.port)
        files = SmbFiles(settings, patience=Patience(0), answer_seconds=1)
        file = files.open(PATH)
        proxy.stalled = True
        with pytest.raises(SourceUnavailable) as lost:
            read(file, 0, 10)
        assert lost.value.why == "the server did not answer in time"
        file.close()
        files.close()


def test_a_file_that_is_shared_with_nobody_is_a_conflict(samba: Samba, files: SmbFiles, content: bytes) -> None:
    """A sharing violation is SourceConflict `smb-sharing`; a file that is open for writing elsewhere is read."""
    link = Link(HOST, HOST, samba.port, samba.settings(), 30)
    with held(link, share=0), pytest.raises(SourceConflict) as refused:
        files.open(PATH)
    assert refused.value.code == "smb-sharing"
    with held(link, share=3):
        file = files.open(PATH)
        assert read(file, 0, 9) == content[:9]
        file.close()
    link.close()


def test_a_failure_reaches_every_thread(samba: Samba, content: bytes) -> None:
    """Threads that read one file when its server goes for good all end with an error, none waits for ever."""
    with smb_proxy(samba.port) as proxy, opened(samba, port=proxy.port, patience=Patience(0)) as file:
        read(file, 0, 10)
        proxy.alter = lose_reads(proxy)
        with ThreadPoolExecutor(4) as pool:
            failures = [pool.submit(read, file, 0, 8 * MIB).exception() for _ in range(4)]
        assert all(isinstance(failure, AdapterError) for failure in failures)


def lose_reads(proxy: SmbProxy) -> Callable[[bytearray], bytes | None]:
    """Lose every answer to a large read, and its connection."""
    return lambda message: None if is_read(message) and len(message) > MIB else bytes(message)


def replace(path: Path) -> None:
    """Put another file of the same content and times in a file's place."""
    content, times = path.read_bytes(), path.stat()
    path.rename(path.with_name("former"))
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def rewrite(samba: Samba) -> None:
    """Change a byte through the server, as another of its clients: it tells of no other way while a file is open."""
    link = Link(HOST, HOST, samba.port, samba.settings(), 30)
    with held(link, share=3) as other:
        other.write(b"!", 0)
    link.close()


@contextmanager
def held(link: Link, share: int) -> Iterator[Open]:
    """Have the file open for writing, as another program."""
    other = Open(link.tree(SmbPath.parse(PATH)), "disk.vhdx")
    access = FilePipePrinterAccessMask.FILE_READ_DATA | FilePipePrinterAccessMask.FILE_WRITE_DATA
    disposition, options = CreateDisposition.FILE_OPEN, CreateOptions.FILE_NON_DIRECTORY_FILE
    other.create(ImpersonationLevel.Impersonation, access, 0, share, disposition, options)
    yield other
    other.close()
