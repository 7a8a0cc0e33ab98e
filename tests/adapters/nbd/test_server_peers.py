"""Real clients are content with the server: nbdinfo, nbdcopy, libnbd, qemu-img, qemu-io, a booting QEMU."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.nbd import BASE_ALLOCATION, Limits, NbdClient, NbdServer, TcpAddress, UnixAddress
from tests.support.boot_sector import EXIT_CODE, bootable
from tests.support.hostile_nbd import read
from tests.support.memory_disk import MemoryDisk
from tests.support.nbd_peers import libnbd, nbdcopy_bytes, nbdinfo_map, need, uri

MIB = 1 << 20


def content() -> bytes:
    """Data and zeros in turn, with an odd tail."""
    dice = random.Random(9)
    return b"".join(dice.randbytes(300_000) + bytes(700_000) for _ in range(12)) + b"tail"


@pytest.fixture
def disk() -> MemoryDisk:
    """A disk of about 12 MiB."""
    return MemoryDisk(content())


@pytest.fixture(params=["unix", "tcp"])
def served(request: pytest.FixtureRequest, folder: Path, disk: MemoryDisk) -> Iterator[str]:
    """Our client's address of a server of that disk, as export `d`; pieces are small so that reads are cut."""
    place = UnixAddress(folder / "s") if request.param == "unix" else TcpAddress("127.0.0.1", 0)
    with NbdServer(disk, place, export="d", limits=Limits(piece_bytes=100_000)) as server:
        yield str(server.address)


def test_nbdcopy_and_our_client_read_it(served: str, disk: MemoryDisk) -> None:
    """nbdcopy over several connections and our client read the disk's bytes."""
    assert nbdcopy_bytes(served, "d") == content()
    client = NbdClient(served, "d", connections=2)
    assert read(client, 0, client.size_bytes) == content()
    client.close()


def test_extents_equal_the_disk(served: str, disk: MemoryDisk) -> None:
    """nbdinfo and our client see the disk's zero blocks, merged, as holes that read as zeros."""
    expected: list[tuple[int, int, int]] = []
    for start, length, zero in disk.extents(0, disk.size_bytes):
        flags = 3 if zero else 0
        if expected and expected[-1][2] == flags:
            expected[-1] = (expected[-1][0], expected[-1][1] + length, flags)
        else:
            expected.append((start, length, flags))
    assert nbdinfo_map(served, export="d") == expected
    client = NbdClient(served, "d")
    assert [(s.start, s.length, s.flags) for s in client.block_status(BASE_ALLOCATION)] == expected
    client.close()


def test_nbdinfo_sees_what_it_can_do(served: str) -> None:
    """The export is read-only, may be read over several connections, and has the default sizes."""
    need("nbdinfo")
    answer = subprocess.run(["nbdinfo", "--json", "--list", uri(served, "d")], check=True, capture_output=True)
    (export,) = json.loads(answer.stdout)["exports"]
    assert export["export-name"] == "d"
    assert export["export-size"] == len(content())
    assert export["is_read_only"] is True
    assert export["can_multi_conn"] is True
    assert export["can_df"] is True
    assert export["contexts"] == [BASE_ALLOCATION]
    assert (export["block_size_minimum"], export["block_size_maximum"]) == (1, 32 * MIB)


def test_libnbd_refused_and_served(served: str) -> None:
    """Writes, trims and zeroing get EPERM and the session lives on; reads, DF reads and status are right."""
    script = """
import errno
h.set_strict_mode(0)
h.add_meta_context("base:allocation")
h.connect_uri(sys.argv[1])
for refused in (lambda: h.pwrite(b"x" * 5000, 0), lambda: h.trim(512, 0), lambda: h.zero(512, 0)):
    try:
        refused()
        print("accepted")
    except nbd.Error as error:
        print(error.errnum == errno.EPERM)
for wrong in (lambda: h.pread(2, h.get_size() - 1), lambda: h.pread(0, 0), lambda: h.block_status(2, h.get_size() - 1,
              lambda *_: 0), lambda: h.pread(1, 0, nbd.CMD_FLAG_FUA), lambda: h.cache(1, 0), lambda: h.flush()):
    try:
        wrong()
        print("accepted")
    except nbd.Error as error:
        print(error.errnum == errno.EINVAL)
chunks = []
h.pread_structured(250_000, 7, lambda data, offset, status, error: chunks.append((offset, len(data))))
print(chunks == [(7, 100_000), (100_007, 100_000), (200_007, 50_000)])
chunks.clear()
h.pread_structured(250_000, 7, lambda data, offset, status, error: chunks.append((offset, len(data))),
                   nbd.CMD_FLAG_DF)
print(chunks == [(7, 250_000)])
one = []
h.block_status(1 << 20, 0, lambda context, offset, entries, error: one.append(list(entries)), nbd.CMD_FLAG_REQ_ONE)
print(len(one) == 1 and len(one[0]) == 2)
h.shutdown()
"""
    assert set(libnbd(script, uri(served, "d")).split()) == {"True"}


def test_libnbd_with_many_requests_in_flight(served: str, folder: Path) -> None:
    """A hundred asynchronous reads of odd ranges, answered in any order, are right."""
    (folder / "content").write_bytes(content())
    script = """
import random
whole = open(sys.argv[2], "rb").read()
h.connect_uri(sys.argv[1])
dice = random.Random(4)
flying = []
for _ in range(100):
    length = dice.randrange(1, 400_000)
    offset = dice.randrange(len(whole) - length)
    buffer = nbd.Buffer(length)
    flying.append((h.aio_pread(buffer, offset), buffer, offset, length))
for cookie, buffer, offset, length in flying:
    while not h.aio_command_completed(cookie):
        h.poll(-1)
    assert buffer.to_bytearray() == whole[offset:offset + length]
print("right")
"""
    assert libnbd(script, uri(served, "d"), str(folder / "content")).strip() == "right"


def test_libnbd_without_structured_replies(served: str) -> None:
    """A client that wants simple replies gets them."""
    script = """
h.set_request_structured_replies(False)
h.connect_uri(sys.argv[1])
print(h.get_structured_replies_negotiated(), h.pread(4, h.get_size() - 4) == b"tail", h.can_df())
"""
    assert libnbd(script, uri(served, "d")).split() == ["False", "True", "False"]


def test_a_failing_disk_is_an_error_to_the_client(folder: Path, disk: MemoryDisk) -> None:
    """A disk that raises or gives too little fails the read with EIO, also behind the first piece, and no other."""
    disk.fail_at, disk.short_at = 5 * MIB, 6 * MIB
    script = """
import errno
h.connect_uri(sys.argv[1])
for offset, length in ((5 << 20, 1), (4 << 20, 2 << 20), (6 << 20, 10)):
    try:
        h.pread(length, offset)
        print("accepted")
    except nbd.Error as error:
        print(error.errnum == errno.EIO)
print(len(h.pread(1000, 0)) == 1000)
"""
    for limits in (Limits(piece_bytes=100_000), Limits()):
        with NbdServer(disk, UnixAddress(folder / "s"), limits=limits) as server:
            assert set(libnbd(script, uri(str(server.address))).split()) == {"True"}


def test_qemu_img_converts_and_compares(served: str, folder: Path, disk: MemoryDisk) -> None:
    """qemu-img reads the disk whole, and skips its holes."""
    need("qemu-img")
    subprocess.run(["qemu-img", "convert", "-O", "raw", uri(served, "d"), folder / "copy.raw"], check=True)
    copy = (folder / "copy.raw").read_bytes()
    assert copy[: disk.size_bytes] == content()
    assert not any(copy[disk.size_bytes :])  # qemu rounds up to a sector
    compared = subprocess.run(
        ["qemu-img", "compare", uri(served, "d"), folder / "copy.raw"], check=False, capture_output=True
    )
    assert compared.returncode == 0, compared.stderr


def test_qemu_boots_from_it(folder: Path) -> None:
    """A guest boots from the server, reads a sector from the middle of the disk and prints it."""
    need("qemu-system-x86_64")
    disk = MemoryDisk(bootable(8 * MIB, b"booted from NBD"))
    with NbdServer(disk, UnixAddress(folder / "s"), export="m1") as server:
        blockdev = {
            "driver": "nbd",
            "node-name": "d",
            "read-only": True,
            "export": "m1",
            "server": {"type": "unix", "path": str(folder / "s")},
        }
        command = ["qemu-system-x86_64", "-accel", "tcg", "-m", "32", "-nodefaults", "-no-reboot", "-display", "none"]
        command += ["-serial", f"file:{folder / 'serial'}", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        command += ["-blockdev", json.dumps(blockdev), "-device", "virtio-blk-pci,drive=d,bootindex=0"]
        ended = subprocess.run(command, check=False, capture_output=True, timeout=120)
        assert ended.returncode == EXIT_CODE, ended.stderr
        assert (folder / "serial").read_text() == "booted from NBD"
        assert server.stop() >= 1024
