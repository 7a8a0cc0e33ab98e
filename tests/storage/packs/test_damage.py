"""Every bit of a pack counts: whatever is damaged is noticed, and no damage yields wrong bytes."""

from __future__ import annotations

import pytest

from storage.errors import Corrupt
from storage.packs.decode import Decoder
from storage.packs.reader import PackReader
from storage.packs.verify import verify_stored
from tests.support.chunk_store import REPOSITORY, replace_object
from tests.support.small_pack import SmallPack


def read_chunks(small: SmallPack, reader: PackReader, decoder: Decoder) -> int:
    """Read every chunk by its true place; return how many came, each of them right."""
    came = 0
    for entry in small.finished.entries:
        pack_id, digest = small.finished.sealed.pack_id, entry["digest"].tobytes()
        try:
            record = reader.read_record(pack_id, int(entry["offset"]), int(entry["stored"]))
            plain = decoder.decode(reader.seal(pack_id), record, digest, "p")
        except Corrupt:
            continue
        assert plain == small.plain[digest]
        came += 1
    return came


def test_every_flipped_bit_is_noticed(small: SmallPack) -> None:
    """For each bit of a pack: a scrub finds it flipped, and a read returns the right bytes or Corrupt."""
    decoder = Decoder(small.keys.digest_key(), 4096)
    pack_id = small.finished.sealed.pack_id
    spoiled = 0
    for bit in range(8 * len(small.content)):
        damaged = bytearray(small.content)
        damaged[bit // 8] ^= 1 << bit % 8
        replace_object(small.objects, small.name, bytes(damaged))
        reader = PackReader(small.objects, small.keys, REPOSITORY.bytes)
        assert verify_stored(small.objects, reader, pack_id).problems, f"bit {bit} of byte {bit // 8}"
        spoiled += read_chunks(small, reader, decoder) < len(small.plain)
        try:
            _, entries = reader.entries(pack_id)
        except Corrupt:
            continue
        assert (entries == small.finished.entries).all()
    records = int(small.finished.entries["stored"].sum())
    assert spoiled == 8 * (64 + records)


def test_every_truncation_is_corrupt(small: SmallPack) -> None:
    """A pack cut at any length, or with bytes behind it, is Corrupt to a reader and a problem to a scrub."""
    pack_id = small.finished.sealed.pack_id
    for length in [*range(len(small.content)), len(small.content) + 1]:
        replace_object(small.objects, small.name, (small.content + b"\0")[:length])
        reader = PackReader(small.objects, small.keys, REPOSITORY.bytes)
        with pytest.raises(Corrupt):
            reader.entries(pack_id)
        assert verify_stored(small.objects, reader, pack_id).problems


def test_a_scan_of_damaged_records_returns_sound_ones_only(small: SmallPack) -> None:
    """Read forwards, a pack with any flipped bit yields only entries that are true."""
    true = {entry.tobytes() for entry in small.finished.entries}
    for bit in range(0, 8 * len(small.content), 3):
        damaged = bytearray(small.content)
        damaged[bit // 8] ^= 1 << bit % 8
        replace_object(small.objects, small.name, bytes(damaged))
        try:
            found = PackReader(small.objects, small.keys, REPOSITORY.bytes).scan(small.finished.sealed.pack_id)
        except Corrupt:
            continue
        assert {entry.tobytes() for entry in found} <= true
