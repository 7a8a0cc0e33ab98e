"""Packs of format version 1 that were written once must read for ever.

`python -m tests.storage.packs.test_golden` writes the files; a new version gets new files, these stay.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from storage.keys import KeyRing
from storage.packs.decode import Decoder
from storage.packs.format import HEAD_BYTES, TAG_BYTES, pack_name, parse_head, record_nonce
from storage.packs.reader import PackReader
from storage.packs.verify import verify_stored
from tests.support.chunk_store import MASTER, REPOSITORY, build_pack
from tests.support.memory_objects import MemoryObjects
from tests.support.small_pack import PLAIN, make_small_pack

GOLDEN = Path(__file__).parents[2] / "golden" / "packs"
FILES = {True: GOLDEN / "v1-encrypted.pack", False: GOLDEN / "v1-plain.pack"}
PACK_ID = b"\x3f" * 16


def open_golden(encrypts: bool) -> tuple[MemoryObjects, PackReader, KeyRing]:
    """The golden pack in a store."""
    objects = MemoryObjects()
    objects.put(pack_name(PACK_ID), memoryview(FILES[encrypts].read_bytes()))
    keys = KeyRing(MASTER, encrypts=encrypts)
    return objects, PackReader(objects, keys, REPOSITORY.bytes), keys


def test_golden_packs_read(encrypts: bool) -> None:
    """The stored pack verifies, and its chunks are the known plain bytes in the known order."""
    objects, reader, keys = open_golden(encrypts)
    assert verify_stored(objects, reader, PACK_ID).problems == ()
    _, entries = reader.entries(PACK_ID)
    decoder = Decoder(keys.digest_key())
    plain = [
        bytes(
            decoder.decode(
                reader.seal(PACK_ID),
                reader.read_record(PACK_ID, int(entry["offset"]), int(entry["stored"])),
                entry["digest"].tobytes(),
                "p",
            )
        )
        for entry in entries[np.argsort(entries["offset"])]
    ]
    assert plain == list(PLAIN)


def test_golden_packs_are_written_again_the_same(encrypts: bool) -> None:
    """Today's writer makes the very same bytes from the same payloads, key, id and time."""
    _, reader, _ = open_golden(encrypts)
    seal = reader.seal(PACK_ID)
    chunks = []
    _, entries = reader.entries(PACK_ID)
    for entry in entries[np.argsort(entries["offset"])]:
        record = reader.read_record(PACK_ID, int(entry["offset"]), int(entry["stored"]))
        head = parse_head(record, "p")
        payload = memoryview(bytearray(head.payload_bytes))
        seal.open_into(record_nonce(head.ordinal), bytes(record[:HEAD_BYTES]), record[HEAD_BYTES:], payload)
        assert len(record) == HEAD_BYTES + len(payload) + TAG_BYTES
        chunks.append((head.digest, head.plain_bytes, head.method, bytes(payload)))
    assert b"".join(build_pack(chunks, encrypts=encrypts).buffers) == FILES[encrypts].read_bytes()


if __name__ == "__main__":
    for sealed, path in FILES.items():
        path.write_bytes(make_small_pack(encrypts=sealed).content)
