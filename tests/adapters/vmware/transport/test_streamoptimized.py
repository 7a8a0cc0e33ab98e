"""The decoder of exported disks: the disk's bytes, or SourceCorrupt; never anything else."""

from __future__ import annotations

import io
import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.errors import SourceCorrupt
from adapters.port import Extent
from adapters.vmware.transport.streamoptimized import decode
from tests.support.nbd_peers import need
from tests.support.stream_vmdk import OVERHEAD, SECTOR, stream_vmdk

KIB, MIB = 1 << 10, 1 << 20
SIZE = 69 * MIB + 3 * SECTOR
Encode = Callable[[bytes], bytes]


def content(size: int = SIZE) -> bytes:
    """A disk with data at its ends, random and compressible, grains of zeros, and an empty grain table."""
    noise = random.Random(7)
    disk = bytearray(size)
    disk[: 200 * KIB] = noise.randbytes(200 * KIB)
    disk[5 * MIB : 5 * MIB + 100_000] = b"compressible" * 8333 + b"!!!!"
    disk[-SECTOR:] = noise.randbytes(SECTOR)
    return bytes(disk)


def decoded(stream: bytes, size: int = SIZE, piece: int = 1 << 20) -> tuple[bytes, list[Extent]]:
    """Decode a stream that arrives in pieces; check that extents are told in order and gapless."""
    disk, source = bytearray(size), io.BytesIO(stream)

    def write(offset: int, data: bytes) -> None:
        disk[offset : offset + len(data)] = data

    extents = list(decode(lambda length: source.read(min(length, piece)), write, size))
    position = 0
    for extent, later in zip(extents, [*extents[1:], None], strict=True):
        assert extent.start == position
        assert extent.length > 0
        assert later is None or later.zero != extent.zero or later.start % (32 * MIB) == 0
        position = extent.end
    assert position == size
    return bytes(disk), extents


def by_qemu(tmp_path: Path) -> Encode:
    """Return qemu-img's writer."""
    need("qemu-img")

    def encode(disk: bytes) -> bytes:
        (tmp_path / "disk.raw").write_bytes(disk)
        options = ["-O", "vmdk", "-o", "subformat=streamOptimized"]
        subprocess.run(
            ["qemu-img", "convert", "-f", "raw", *options, tmp_path / "disk.raw", tmp_path / "disk.vmdk"], check=True
        )
        return (tmp_path / "disk.vmdk").read_bytes()

    return encode


@pytest.fixture(params=["server", "qemu-img"])
def encode(request: pytest.FixtureRequest, tmp_path: Path) -> Encode:
    """Both layouts: tables behind the grains with a footer, and tables in front."""
    return stream_vmdk if request.param == "server" else by_qemu(tmp_path)


@pytest.mark.parametrize("size", [SIZE, SECTOR, 64 * KIB, 32 * MIB, 32 * MIB + SECTOR])
def test_the_disk_comes_out(encode: Encode, size: int) -> None:
    """Bytes and absent grains come out as they went in, whatever pieces the stream arrives in."""
    disk = content(SIZE)[-size:]
    stream = encode(disk)
    out, extents = decoded(stream, size, piece=1000)
    assert out == disk
    for extent in extents:
        assert extent.zero is not any(disk[extent.start : extent.end])


def test_a_disk_of_zeros_comes_out(encode: Encode) -> None:
    """A disk without any grain is one zero extent."""
    assert decoded(encode(bytes(SIZE))) == (bytes(SIZE), [Extent(0, SIZE, zero=True)])


def test_qemu_reads_what_our_writer_writes(tmp_path: Path) -> None:
    """The stand-in for a server's export is a VMDK to qemu-img too."""
    need("qemu-img")
    disk = content()
    (tmp_path / "disk.vmdk").write_bytes(stream_vmdk(disk))
    subprocess.run(
        ["qemu-img", "convert", "-f", "vmdk", "-O", "raw", tmp_path / "disk.vmdk", tmp_path / "disk.raw"], check=True
    )
    assert (tmp_path / "disk.raw").read_bytes() == disk


def test_another_size_is_refused(encode: Encode) -> None:
    """A stream of a smaller or larger disk is refused before anything is told."""
    stream = encode(content(SIZE))
    for size in (SIZE - SECTOR, SIZE + SECTOR):
        with pytest.raises(SourceCorrupt, match="instead of"):
            decoded(stream, size)


def test_every_early_end_is_found(encode: Encode) -> None:
    """A stream that stops anywhere before its end is never a disk."""
    stream = encode(content())
    end = len(stream.rstrip(b"\0"))
    end += -end % SECTOR
    for cut in [0, 1, SECTOR - 1, SECTOR, OVERHEAD * SECTOR, *range(OVERHEAD * SECTOR + 100, end, 7919), end - 1]:
        with pytest.raises(SourceCorrupt):
            decoded(stream[:cut])


def test_a_missing_end_mark_is_found() -> None:
    """A server's stream without its last sector is cut."""
    with pytest.raises(SourceCorrupt, match="without its footer"):
        decoded(stream_vmdk(content())[:-SECTOR])


def test_what_comes_behind_the_end_is_refused(encode: Encode) -> None:
    """Only padding may follow the end."""
    stream = encode(content())
    assert decoded(stream + bytes(4096))[0] == content()
    if stream.endswith(bytes(SECTOR)):
        with pytest.raises(SourceCorrupt, match="behind its end"):
            decoded(stream + b"x" * SECTOR)


STREAM = stream_vmdk(content())
DATA_AT = OVERHEAD * SECTOR


def _spoilt(at: int, data: bytes) -> bytes:
    return STREAM[:at] + data + STREAM[at + len(data) :]


def _grain_bytes(at: int) -> int:
    (length,) = struct.unpack_from("<I", STREAM, at + 8)
    return int(-(-(12 + length) // SECTOR) * SECTOR)


FIRST_GRAIN = STREAM[DATA_AT : DATA_AT + _grain_bytes(DATA_AT)]


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (_spoilt(0, b"KDMX"), "format's marks"),
        (_spoilt(4, struct.pack("<I", 9)), "not stream-optimised"),
        (_spoilt(8, struct.pack("<I", 1)), "not stream-optimised"),
        (_spoilt(20, struct.pack("<Q", 100)), "impossible size"),
        (_spoilt(44, struct.pack("<I", 0)), "impossible size"),
        (_spoilt(64, struct.pack("<Q", 1 << 40)), "sizes are impossible"),
        (_spoilt(DATA_AT, struct.pack("<Q", 1 << 50)), "outside the disk"),
        (_spoilt(DATA_AT, struct.pack("<Q", 3)), "outside the disk"),
        (_spoilt(DATA_AT + 8, struct.pack("<I", 1 << 30)), "longer than it can be"),
        (_spoilt(DATA_AT, struct.pack("<Q", 128 * 300)), "names other grains"),
        (_spoilt(DATA_AT + 100, b"\xff" * 64), "decompress|another length"),
        (STREAM[:DATA_AT] + FIRST_GRAIN + STREAM[DATA_AT:], "came twice"),
        (STREAM[:DATA_AT] + STREAM[DATA_AT + len(FIRST_GRAIN) :], "names other grains"),
        (_spoilt(len(STREAM) - 2 * SECTOR + 56, bytes(8)), "footer contradicts"),
        (_spoilt(len(STREAM) - 3 * SECTOR, struct.pack("<QII", 7, 0, 3)), "announces"),
        (_spoilt(len(STREAM) - 3 * SECTOR, struct.pack("<QII", 1, 0, 9)), "announces"),
        (_spoilt(len(STREAM) - 4 * SECTOR, struct.pack("<I", 77)), "names other grain tables"),
    ],
)
def test_each_contradiction_is_named(stream: bytes, why: str) -> None:
    """What does not fit together is refused in words."""
    with pytest.raises(SourceCorrupt, match=why):
        decoded(stream)


@pytest.fixture(scope="module", params=["server", "qemu-img"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a short stream, in either layout."""
    folder = tmp_path_factory.mktemp("stream")
    stream = SMALL if request.param == "server" else by_qemu(folder)(SMALL_DISK)
    (folder / "stream").write_bytes(stream)
    return folder / "stream"


PLACE = st.integers(0, 1 << 20)
HARM = st.tuples(
    st.sampled_from(["bit", "bytes", "cut", "twice", "swap"]),
    PLACE,
    PLACE,
    st.sampled_from([1, 8, 12, SECTOR, 4 * SECTOR]),
    st.binary(min_size=4 * SECTOR, max_size=4 * SECTOR),
)


def spoil(stream: bytes, harms: list[tuple[str, int, int, int, bytes]]) -> bytes:
    """Change, cut, repeat and swap bytes."""
    spoilt = bytearray(stream)
    for kind, first, second, length, noise in harms:
        at, there = first % len(spoilt), second % len(spoilt)
        piece = bytes(spoilt[at : at + length])
        if kind == "bit":
            spoilt[at] ^= 1 << second % 8
        elif kind == "bytes":
            spoilt[at : at + length] = noise[:length]
        elif kind == "cut":
            del spoilt[at : at + length]
        elif kind == "twice":
            spoilt[at:at] = piece
        else:
            spoilt[at : at + length] = spoilt[there : there + length]
            spoilt[there : there + length] = piece
    return bytes(spoilt)


@settings(max_examples=150, deadline=None)
@given(harms=st.lists(HARM, min_size=1, max_size=3))
def test_a_spoilt_stream_is_never_another_disk(small: Path, harms: list[tuple[str, int, int, int, bytes]]) -> None:
    """Whatever bytes change, vanish or come twice: the decoder tells the same disk, or SourceCorrupt."""
    try:
        disk, _ = decoded(spoil(small.read_bytes(), harms), len(SMALL_DISK))
    except SourceCorrupt:
        return
    assert disk == SMALL_DISK


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=4096))
def test_noise_is_no_disk(noise: bytes) -> None:
    """Bytes that are no VMDK are refused, with and without a proper header in front of them."""
    for stream in (noise, SMALL[: OVERHEAD * SECTOR] + noise):
        with pytest.raises(SourceCorrupt):
            decoded(stream, len(SMALL_DISK))


SMALL_DISK = random.Random(3).randbytes(1000) + bytes(200 * KIB - 1000) + b"end!" * 128
SMALL = stream_vmdk(SMALL_DISK)
