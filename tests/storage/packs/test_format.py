"""The parts of a pack as bytes: what is written parses back, anything else is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import Corrupt
from storage.packs.format import (
    HEAD_BYTES,
    HEADER_BYTES,
    MAX_CHUNK_BYTES,
    MAX_CHUNKS,
    RAW,
    TRAILER_BYTES,
    ZSTD,
    PackHeader,
    RecordHead,
    Trailer,
    pack_name,
    parse_head,
    parse_header,
    parse_trailer,
)

ids = st.binary(min_size=16, max_size=16)
u32 = st.integers(0, 2**32 - 1)


@given(st.builds(PackHeader, ids, ids, st.booleans(), st.integers(0, 2**64 - 1), u32))
def test_a_header_parses_back(header: PackHeader) -> None:
    """Every header that can be written is 64 bytes and reads back equal."""
    assert len(header.encode()) == HEADER_BYTES
    assert parse_header(header.encode(), "p") == header


@given(st.integers(1, MAX_CHUNK_BYTES), u32, st.data())
def test_a_record_head_parses_back(plain: int, ordinal: int, data: st.DataObject) -> None:
    """Every record head that can be written is 48 bytes and reads back equal."""
    payload = data.draw(st.integers(1, plain))
    method = RAW if payload == plain else ZSTD
    head = RecordHead(method, ordinal, plain, payload, data.draw(st.binary(min_size=32, max_size=32)))
    assert len(head.encode()) == HEAD_BYTES
    assert parse_head(memoryview(head.encode()), "p") == head


@given(st.integers(1, MAX_CHUNKS), st.integers(0, 2**31), st.binary(min_size=32, max_size=32))
def test_a_trailer_parses_back(chunks: int, offset: int, body_hash: bytes) -> None:
    """Every trailer that can be written is 64 bytes and reads back equal from the end of a pack."""
    trailer = Trailer(offset, chunks, body_hash)
    assert len(trailer.encode()) == TRAILER_BYTES
    size = offset + trailer.footer_bytes + TRAILER_BYTES
    assert parse_trailer(b"anything" + trailer.encode(), size, "p") == trailer
    with pytest.raises(Corrupt):
        parse_trailer(trailer.encode(), size + 1, "p")


@pytest.mark.parametrize(
    ("method", "plain", "payload"),
    [
        (RAW, 10, 9),
        (RAW, 0, 0),
        (RAW, MAX_CHUNK_BYTES + 1, MAX_CHUNK_BYTES + 1),
        (ZSTD, 10, 10),
        (ZSTD, 10, 11),
        (ZSTD, 10, 0),
        (2, 10, 9),
        (255, 10, 10),
        (ZSTD, 2**32 - 1, 5),
    ],
)
def test_impossible_lengths_are_refused(method: int, plain: int, payload: int) -> None:
    """A head whose lengths no writer makes is refused before anything is allocated for it."""
    with pytest.raises(Corrupt) as caught:
        parse_head(memoryview(RecordHead(method, 0, plain, payload, bytes(32)).encode()), "p")
    assert caught.value.code == "record-head"


@given(st.binary(max_size=200))
def test_other_bytes_are_no_part_of_a_pack(data: bytes) -> None:
    """Arbitrary bytes are refused as header, head and trailer with Corrupt, never another error."""
    for parse in (
        lambda: parse_header(data, "p"),
        lambda: parse_head(memoryview(data), "p"),
        lambda: parse_trailer(data, len(data), "p"),
    ):
        with pytest.raises(Corrupt):
            parse()


def test_a_newer_version_is_refused() -> None:
    """A header of another version or with unknown flags is refused though its check holds."""
    header = PackHeader(bytes(16), bytes(16), True, 0)
    for change in ("version", "flags"):
        changed = bytearray(header.encode()[:56])
        changed[8 if change == "version" else 10] = 2
        from blake3 import blake3

        with pytest.raises(Corrupt):
            parse_header(bytes(changed) + blake3(changed).digest(8), "p")


def test_packs_spread_over_folders() -> None:
    """A pack's name is its id below its first two digits."""
    assert pack_name(bytes.fromhex("3f" + "0a" * 15)) == "packs/3f/3f" + "0a" * 15
