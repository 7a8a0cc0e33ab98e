"""What VDI.list_changed_blocks says: every bit in its place, and nothing taken for said that was not."""

from __future__ import annotations

import random
from base64 import b64encode

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.xen.bitmap import BLOCK_BYTES, ChangedBlocks, WrongBitmap, decode


def encoded(*blocks: int, size_bytes: int, extra_bytes: int = 0) -> str:
    """A bitmap as the pool sends it: the highest bit of the first byte is block 0."""
    bits = bytearray(-(-size_bytes // (8 * BLOCK_BYTES)) + extra_bytes)
    for block in blocks:
        bits[block // 8] |= 0x80 >> block % 8
    return b64encode(bits).decode()


@pytest.mark.parametrize("block", [0, 7, 8, 9, 63, 64, 999])
def test_the_order_of_the_bits(block: int) -> None:
    """One bit is one block, counted from the highest bit of the first byte."""
    size = 1000 * BLOCK_BYTES
    assert list(decode(encoded(block, size_bytes=size), size)) == [(block * BLOCK_BYTES, BLOCK_BYTES)]


def test_known_bytes() -> None:
    """80 01 is the first and the sixteenth block; a slip to 32-bit words or to the lowest bit would show."""
    assert list(decode(b64encode(bytes.fromhex("8001")).decode(), 16 * BLOCK_BYTES)) == [
        (0, BLOCK_BYTES),
        (15 * BLOCK_BYTES, BLOCK_BYTES),
    ]


@pytest.mark.parametrize("size_bytes", [8 * BLOCK_BYTES + 1, 16 * BLOCK_BYTES, 100 * BLOCK_BYTES])
def test_too_few_bits_are_an_error(size_bytes: int) -> None:
    """A bitmap that cannot tell of every block is refused, whatever it says; it is never filled up with zeros."""
    with pytest.raises(WrongBitmap) as caught:
        decode(b64encode(b"\x80").decode(), size_bytes)
    assert caught.value.cause == "changes-too-short"


def test_no_bits_are_an_error() -> None:
    """An empty answer about a disk is no answer."""
    with pytest.raises(WrongBitmap):
        decode("", BLOCK_BYTES)


def test_bits_behind_the_end_are_padding() -> None:
    """Set or not, bits beyond the disk change nothing: in its last byte, and in further ones."""
    size = 3 * BLOCK_BYTES
    assert list(decode(encoded(1, 3, 7, 20, size_bytes=size, extra_bytes=5), size)) == [(BLOCK_BYTES, BLOCK_BYTES)]


@pytest.mark.parametrize("blocks", [(), (0,), (2,)])
def test_a_part_of_a_block_at_the_end_always_changed(blocks: tuple[int, ...]) -> None:
    """The storage manager counts whole blocks, so what lies behind the last one is read every time."""
    size = 2 * BLOCK_BYTES + 512
    areas = list(decode(encoded(*blocks, size_bytes=size), size))
    assert areas[-1] == (2 * BLOCK_BYTES, 512)
    assert sum(length for _, length in areas) == 512 + BLOCK_BYTES * len({*blocks} - {2})


@pytest.mark.parametrize("text", ["AAA", "AAA=AAAA", "A===", "A*AA", "AAAé", "\n" * 4, "AAAA AA="])
def test_what_is_not_base64_is_an_error(text: str) -> None:
    """Anything but whole base64 with padding at its very end is refused."""
    with pytest.raises(WrongBitmap) as caught:
        decode(text, BLOCK_BYTES)
    assert caught.value.cause in ("changes-unreadable", "changes-too-short")


def test_padding_in_the_middle_hides_nothing() -> None:
    """Two texts glued together would lose a byte where they meet: they are refused."""
    text = "A" * 2047 + "=" + b64encode(b"\xff" * 30).decode()
    with pytest.raises(WrongBitmap):
        decode(text, BLOCK_BYTES)


def test_nothing_and_everything() -> None:
    """A bitmap of zeros is no area, one of ones a single one."""
    size = 5_000_000 * BLOCK_BYTES
    assert list(decode(b64encode(bytes(625_000)).decode(), size)) == []
    assert list(decode(b64encode(b"\xff" * 625_000).decode(), size)) == [(0, size)]
    assert list(ChangedBlocks()) == []


@given(
    st.lists(st.sampled_from([0, 0, 255, 255, 1, 128, 0xAA, 0x7E]), min_size=1, max_size=300),
    st.integers(0, 8 * BLOCK_BYTES - 1),
    st.integers(0, 3),
)
def test_any_bitmap(values: list[int], short_by: int, extra: int) -> None:
    """Areas are in order, do not touch, and are exactly the blocks whose bits are set."""
    size = len(values) * 8 * BLOCK_BYTES - short_by
    areas = list(decode(b64encode(bytes(values) + b"\x55" * extra).decode(), size))
    blocks = -(-size // BLOCK_BYTES)
    wanted = np.unpackbits(np.array(values, np.uint8))[:blocks].astype(bool)
    if size % BLOCK_BYTES:
        wanted[-1] = True
    found = np.zeros(blocks, bool)
    position = -1
    for start, length in areas:
        assert start > position
        assert start % BLOCK_BYTES == 0
        position = start + length
        found[start // BLOCK_BYTES : -(-position // BLOCK_BYTES)] = True
    assert position <= size
    assert (found == wanted).all()


def test_areas_across_what_is_looked_at_in_one_go() -> None:
    """An area is one, however large, wherever it begins."""
    dice = random.Random(5)
    size = (1 << 23) * BLOCK_BYTES
    bits = np.zeros(1 << 23, np.uint8)
    edges = sorted(dice.sample(range(1 << 23), 40))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        bits[start:end] = 1
    text = b64encode(np.packbits(bits).tobytes()).decode()
    expected = [(s * BLOCK_BYTES, (e - s) * BLOCK_BYTES) for s, e in zip(edges[::2], edges[1::2], strict=True)]
    assert list(decode(text, size)) == expected


def test_blocks_far_apart() -> None:
    """Single blocks with much nothing between them, the first and the last included, are each found in their place."""
    blocks = 1 << 24
    wanted = sorted({0, blocks - 1, *random.Random(9).sample(range(blocks), 200)})
    size = blocks * BLOCK_BYTES
    found = list(decode(encoded(*wanted, size_bytes=size), size))
    assert [start // BLOCK_BYTES for start, _ in found] == wanted
    assert {length for _, length in found} == {BLOCK_BYTES}


ROW = 6144
"""Blocks that the decoder takes together."""


@pytest.mark.parametrize(
    "areas",
    [
        [(ROW - 1, ROW)],
        [(0, ROW)],
        [(ROW - 1, ROW), (5 * ROW, 5 * ROW + 1)],
        [(ROW - 1, ROW + 1)],
        [(ROW, 3 * ROW), (4 * ROW, 5 * ROW)],
        [(9 * ROW - 1, 9 * ROW)],
        [(2 * ROW - 3, 9 * ROW)],
        [(0, 1), (9 * ROW - 1, 9 * ROW)],
    ],
)
@pytest.mark.parametrize("more_blocks", [0, 3])
def test_areas_at_the_edges_of_what_is_decoded_together(areas: list[tuple[int, int]], more_blocks: int) -> None:
    """An area that ends where nothing follows ends there; one that goes on is not cut."""
    size = (9 * ROW + more_blocks) * BLOCK_BYTES
    text = encoded(*(block for start, end in areas for block in range(start, end)), size_bytes=size)
    assert list(decode(text, size)) == [(start * BLOCK_BYTES, (end - start) * BLOCK_BYTES) for start, end in areas]


@given(st.lists(st.tuples(st.integers(0, 40 * ROW), st.integers(1, 3 * ROW)), max_size=8), st.integers(0, 100_000))
def test_any_areas(wanted: list[tuple[int, int]], beyond: int) -> None:
    """Wherever changes lie in a larger bitmap, decoded or left out: they come out as they went in."""
    size = 40 * ROW * BLOCK_BYTES + beyond
    bits = np.zeros(-(-size // BLOCK_BYTES // 8) * 8, bool)
    for start, length in wanted:
        bits[start : start + length] = True
    text = b64encode(np.packbits(bits).tobytes()).decode()
    found = np.zeros_like(bits)
    for start, length in decode(text, size):
        found[start // BLOCK_BYTES : -(-(start + length) // BLOCK_BYTES)] = True
    blocks = -(-size // BLOCK_BYTES)
    bits[blocks:] = False
    if size % BLOCK_BYTES:
        bits[blocks - 1] = True
    assert (found == bits).all()
