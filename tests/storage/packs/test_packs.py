"""Packs written and read back: content, order, limits, and who may read them."""

from __future__ import annotations

import numpy as np
import pytest

from storage.errors import Corrupt, Limit, NotFound
from storage.keys import KeyRing
from storage.packs.decode import Decoder
from storage.packs.format import (
    ENTRY,
    HEADER_BYTES,
    MAX_CHUNKS,
    RAW,
    RECORD_OVERHEAD,
    TRAILER_BYTES,
    PackHeader,
    digest_keys,
    pack_name,
)
from storage.packs.reader import PackReader
from storage.packs.verify import verify_stored
from storage.packs.writer import PackBuilder
from tests.support.chunk_store import MASTER, REPOSITORY, build_pack, noise, replace_object
from tests.support.memory_objects import MemoryObjects
from tests.support.small_pack import SmallPack, chunk


def read_all(small: SmallPack, reader: PackReader) -> dict[bytes, bytes]:
    """Every chunk that the footer lists."""
    pack_id = small.finished.sealed.pack_id
    found = {}
    for entry in reader.entries(pack_id)[1]:
        record = reader.read_record(pack_id, int(entry["offset"]), int(entry["stored"]))
        digest = entry["digest"].tobytes()
        found[digest] = bytes(Decoder(small.keys.digest_key()).decode(reader.seal(pack_id), record, digest, "p"))
    return found


def test_a_pack_gives_back_its_chunks(small: SmallPack) -> None:
    """Footer and records together return every chunk's plain bytes, raw and compressed ones."""
    sealed, entries = small.reader.entries(small.finished.sealed.pack_id)
    assert sealed == small.finished.sealed
    assert sealed.size_bytes == len(small.content)
    assert (entries == small.finished.entries).all()
    assert read_all(small, small.reader) == small.plain


def test_the_footer_is_sorted_and_covers_every_record(small: SmallPack) -> None:
    """Entries ascend by digest, and their records fill the pack from header to footer without a gap."""
    _, entries = small.reader.entries(small.finished.sealed.pack_id)
    keys = digest_keys(entries["digest"])
    assert (keys[1:] > keys[:-1]).all()
    footer_bytes = len(entries) * ENTRY.itemsize + 16
    assert int(entries["stored"].sum()) == len(small.content) - HEADER_BYTES - footer_bytes - TRAILER_BYTES


def test_a_pack_without_its_end_is_read_forwards(small: SmallPack) -> None:
    """Without footer and trailer a scan finds the same entries; cut in a record, those before it."""
    pack_id = small.finished.sealed.pack_id
    assert (small.reader.scan(pack_id) == small.finished.entries).all()
    by_offset = small.finished.entries[np.argsort(small.finished.entries["offset"])]
    footer_at = int(by_offset["offset"][-1] + by_offset["stored"][-1])
    for kept, end in ((3, footer_at), (2, footer_at - 1), (1, int(by_offset["offset"][1])), (0, HEADER_BYTES)):
        replace_object(small.objects, small.name, small.content[:end])
        found = small.reader.scan(pack_id)
        assert sorted(found["offset"].tolist()) == by_offset["offset"][:kept].tolist()


def test_another_key_opens_nothing(small: SmallPack, encrypts: bool) -> None:
    """With another master key neither the footer nor a record opens."""
    reader = PackReader(small.objects, KeyRing(bytes(32), encrypts=encrypts), REPOSITORY.bytes)
    with pytest.raises(Corrupt) as caught:
        reader.entries(small.finished.sealed.pack_id)
    assert caught.value.code == "pack-footer"
    with pytest.raises(Corrupt) as caught:
        read_all(small, _with_footer_of(small, reader))
    assert caught.value.code == "record-seal"


def _with_footer_of(small: SmallPack, reader: PackReader) -> PackReader:
    reader.entries = small.reader.entries  # type: ignore[method-assign] # the footer as the right key reads it
    return reader


def test_a_pack_of_another_repository_is_foreign(small: SmallPack) -> None:
    """A pack is refused by a repository it does not name, though the key fits."""
    reader = PackReader(small.objects, small.keys, bytes(16))
    with pytest.raises(Corrupt) as caught:
        reader.entries(small.finished.sealed.pack_id)
    assert caught.value.code == "pack-foreign"


def test_a_renamed_pack_is_foreign(small: SmallPack) -> None:
    """A whole pack under another pack's name is refused."""
    small.objects.put(pack_name(bytes(16)), memoryview(small.content))
    with pytest.raises(Corrupt) as caught:
        small.reader.entries(bytes(16))
    assert caught.value.code == "pack-foreign"


def test_a_pack_sealed_in_the_other_way_is_refused(small: SmallPack, encrypts: bool) -> None:
    """An encrypted repository takes no unencrypted pack, nor the other way round."""
    reader = PackReader(small.objects, KeyRing(MASTER, encrypts=not encrypts), REPOSITORY.bytes)
    with pytest.raises(Corrupt) as caught:
        reader.entries(small.finished.sealed.pack_id)
    assert caught.value.code == "pack-encryption"


def test_records_do_not_move(small: SmallPack) -> None:
    """A record put in another's place, or taken from another pack, does not open there."""
    entries = small.finished.entries[np.argsort(small.finished.entries["offset"])]
    first, last = entries[0], entries[2]
    pieces = [small.content[int(e["offset"]) : int(e["offset"] + e["stored"])] for e in entries]
    pack_id = small.finished.sealed.pack_id
    decoder = Decoder(small.keys.digest_key())
    with pytest.raises(Corrupt) as caught:
        decoder.decode(small.reader.seal(pack_id), memoryview(pieces[2]), first["digest"].tobytes(), "p")
    assert caught.value.code == "record-other"
    other = build_pack([chunk(b"else", small.keys)], encrypts=small.keys.encrypts, pack_id=b"\x40" * 16)
    small.objects.put(pack_name(b"\x40" * 16), *other.buffers)
    with pytest.raises(Corrupt) as caught:
        decoder.decode(small.reader.seal(b"\x40" * 16), memoryview(pieces[2]), last["digest"].tobytes(), "p")
    assert caught.value.code == "record-seal"


def test_the_plain_bytes_are_hidden(small: SmallPack, encrypts: bool) -> None:
    """An incompressible chunk's bytes show in an unencrypted pack and in no encrypted one."""
    assert (noise(40, 1) in small.content) is not encrypts


def test_the_same_chunks_in_a_new_pack_look_different(small: SmallPack, encrypts: bool) -> None:
    """A pack written again has a new id, hence a new key: no byte of ciphertext or tag repeats."""
    chunks = [chunk(plain, small.keys) for plain in small.plain.values()]
    again = build_pack(chunks, encrypts=encrypts, pack_id=b"\x40" * 16)
    one = [small.content[int(e["offset"]) + 48 :][: int(e["stored"]) - 48] for e in small.finished.entries]
    content = b"".join(again.buffers)
    two = [content[int(e["offset"]) + 48 :][: int(e["stored"]) - 48] for e in again.entries]
    assert all(a[-16:] != b[-16:] for a, b in zip(one, two, strict=True))
    assert all((a[:-16] != b[:-16]) is encrypts for a, b in zip(one, two, strict=True))


def test_a_content_that_does_not_match_its_digest_is_corrupt(encrypts: bool) -> None:
    """A record whose seal holds but whose plain bytes have another digest is refused."""
    keys = KeyRing(MASTER, encrypts=encrypts)
    finished = build_pack([(b"\x11" * 32, 5, RAW, b"wrong")], encrypts=encrypts)
    objects = MemoryObjects()
    objects.put(pack_name(finished.sealed.pack_id), *finished.buffers)
    reader = PackReader(objects, keys, REPOSITORY.bytes)
    record = reader.read_record(finished.sealed.pack_id, HEADER_BYTES, RECORD_OVERHEAD + 5)
    with pytest.raises(Corrupt) as caught:
        Decoder(keys.digest_key()).decode(reader.seal(finished.sealed.pack_id), record, b"\x11" * 32, "p")
    assert caught.value.code == "record-digest"


@pytest.mark.parametrize("payload", [b"not zstd", b"\x28\xb5\x2f\xfd\x00\x58\x01\x00\x00"])
def test_a_payload_that_does_not_decompress_is_corrupt(encrypts: bool, payload: bytes) -> None:
    """A sealed payload that is no zstd frame of the stated length is refused."""
    keys = KeyRing(MASTER, encrypts=encrypts)
    finished = build_pack([(b"\x11" * 32, 500, 1, payload)], encrypts=encrypts)
    objects = MemoryObjects()
    objects.put(pack_name(finished.sealed.pack_id), *finished.buffers)
    reader = PackReader(objects, keys, REPOSITORY.bytes)
    record = reader.read_record(finished.sealed.pack_id, HEADER_BYTES, RECORD_OVERHEAD + len(payload))
    with pytest.raises(Corrupt) as caught:
        Decoder(keys.digest_key()).decode(reader.seal(finished.sealed.pack_id), record, b"\x11" * 32, "p")
    assert caught.value.code == "record-zstd"


def test_a_chunk_larger_than_the_repository_has_is_refused(small: SmallPack) -> None:
    """A record may not claim more plain bytes than the repository's chunks hold."""
    entry = max(small.finished.entries, key=lambda each: int(each["plain"]))
    record = small.reader.read_record(small.finished.sealed.pack_id, int(entry["offset"]), int(entry["stored"]))
    seal = small.reader.seal(small.finished.sealed.pack_id)
    with pytest.raises(Corrupt) as caught:
        Decoder(small.keys.digest_key(), 64).decode(seal, record, entry["digest"].tobytes(), "p")
    assert caught.value.code == "record-other"


def test_a_full_pack_takes_no_more(encrypts: bool) -> None:
    """A pack refuses a record beyond its buffer or beyond 65,536 records, and stays sound."""
    keys = KeyRing(MASTER, encrypts=encrypts)
    buffer = memoryview(bytearray(HEADER_BYTES + 2 * (RECORD_OVERHEAD + 8)))
    builder = PackBuilder(PackHeader(REPOSITORY.bytes, bytes(16), encrypts, 0), keys, buffer)
    builder.add(b"\1" * 32, 8, RAW, b"12345678")
    assert not builder.has_room(9)
    builder.add(b"\2" * 32, 8, RAW, b"12345678")
    with pytest.raises(Limit) as caught:
        builder.add(b"\3" * 32, 1, RAW, b"1")
    assert caught.value.code == "pack-full"
    assert builder.finish().sealed.chunks == 2


def test_records_are_bounded_in_number() -> None:
    """A pack takes 65,536 records and no more, whatever room is left."""
    keys = KeyRing(MASTER, encrypts=False)
    buffer = memoryview(bytearray(8 << 20))
    builder = PackBuilder(PackHeader(REPOSITORY.bytes, bytes(16), False, 0), keys, buffer)
    for number in range(MAX_CHUNKS):
        builder.add(number.to_bytes(32, "big"), 1, RAW, b"1")
    assert not builder.has_room(1)


def test_a_missing_pack_is_not_found(small: SmallPack) -> None:
    """A pack that is not in the store is NotFound to a reader, and a problem to a verification."""
    with pytest.raises(NotFound):
        small.reader.entries(bytes(16))
    report = verify_stored(small.objects, small.reader, bytes(16))
    assert len(report.problems) == 1


def test_a_scrub_needs_no_key(small: SmallPack, encrypts: bool) -> None:
    """The stored level verifies a pack with a foreign key, as it hashes what is stored."""
    reader = PackReader(small.objects, KeyRing(bytes(32), encrypts=encrypts), REPOSITORY.bytes)
    report = verify_stored(small.objects, reader, small.finished.sealed.pack_id)
    assert (report.problems, report.chunks, report.checked_bytes) == ((), 3, len(small.content))
