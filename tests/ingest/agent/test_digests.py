"""Digest files are whole and of the right disk, or they are not used."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from ingest.agent.digests import DIGEST_BYTES, ZERO, DigestFile, DigestStore, Known, block_digests, differences
from tests.support.lab import flip

CHUNK, SIZE = 64 << 10, 10 * (64 << 10) + 100
KEY, OTHER = bytes(32), bytes([1] * 32)
TOKEN, NEXT = "0" * 32, "1" * 32


def _made(directory: Path, plain: bytes, token: str = TOKEN) -> DigestFile:
    digests = DigestFile.create(DigestStore(directory).path("vda", token), CHUNK, SIZE, token)
    digests.put(0, block_digests(memoryview(plain), CHUNK, KEY))
    digests.finish()
    return digests


def test_blocks_of_zeros_have_no_digest_and_keys_differ() -> None:
    """A block of zeros is told apart from data, a short last block too; another machine's key gives other digests."""
    plain = bytes(CHUNK) + b"x" * CHUNK + bytes(10)
    found = block_digests(memoryview(plain), CHUNK, KEY)
    assert found[:DIGEST_BYTES] == found[2 * DIGEST_BYTES :] == ZERO
    assert found[DIGEST_BYTES : 2 * DIGEST_BYTES] not in (ZERO, block_digests(memoryview(plain), CHUNK, OTHER))


def test_differences_are_exact(tmp_path: Path) -> None:
    """Changed blocks, blocks that became zero, and no other, in runs of one kind."""
    old = bytearray(Random(1).randbytes(SIZE))
    new = bytearray(old)
    for block in (2, 3, 7):
        new[block * CHUNK] ^= 1
    new[4 * CHUNK : 6 * CHUNK] = bytes(2 * CHUNK)
    new[-1] ^= 1
    base, now = _made(tmp_path, bytes(old)), _made(tmp_path, bytes(new), NEXT)
    expected = [(2, 2, False), (4, 2, True), (7, 1, False), (10, 1, False)]
    assert list(differences(base, now, 0, 11)) == expected
    assert list(differences(base, now, 3, 5)) == [(3, 1, False), (4, 1, True)]
    assert list(differences(base, base, 0, 11)) == []
    base.close()
    now.close()


def test_a_finished_file_is_found_again(tmp_path: Path) -> None:
    """Digests come back for the same disk and point; one that was not finished is no file."""
    plain = Random(2).randbytes(SIZE)
    _made(tmp_path, plain).close()
    DigestFile.create(DigestStore(tmp_path).path("vda", NEXT), CHUNK, SIZE, NEXT).close()
    found, damaged = DigestStore(tmp_path).found("vda", CHUNK, SIZE)
    assert (list(found), damaged) == ([TOKEN], False)
    assert found[TOKEN].get(3, 2) == block_digests(memoryview(plain)[3 * CHUNK : 5 * CHUNK], CHUNK, KEY)
    found[TOKEN].close()
    assert DigestStore(tmp_path).found("vdb", CHUNK, SIZE) == ({}, False)


@pytest.mark.parametrize("change", ["flipped", "short", "another-size", "another-chunk", "another-point"])
def test_a_file_that_does_not_fit_is_not_used(tmp_path: Path, change: str) -> None:
    """A damaged file, or one of another disk size, chunk size or point, is told and removed."""
    _made(tmp_path, Random(3).randbytes(SIZE)).close()
    path = DigestStore(tmp_path).path("vda", TOKEN)
    chunk, size = CHUNK, SIZE
    if change == "flipped":
        flip(path, 200)
    elif change == "short":
        path.write_bytes(path.read_bytes()[:-1])
    elif change == "another-size":
        size += 1
    elif change == "another-chunk":
        chunk *= 2
    else:
        path = path.rename(DigestStore(tmp_path).path("vda", NEXT))
    assert DigestStore(tmp_path).found("vda", chunk, size) == ({}, True)
    assert not path.exists()


def test_what_is_not_in_force_goes(tmp_path: Path) -> None:
    """After a commit the new file is the only one; after a failure the old one is."""
    store = DigestStore(tmp_path)
    for token in (TOKEN, NEXT):
        _made(tmp_path, bytes(SIZE), token).close()
    store.forget("vda", NEXT)
    assert [path.name for path in tmp_path.iterdir()] == [store.path("vda", TOKEN).name]
    _made(tmp_path, bytes(SIZE), NEXT).close()
    store.keep_only("vda", NEXT)
    assert [path.name for path in tmp_path.iterdir()] == [store.path("vda", NEXT).name]


def test_a_dropped_file_leaves_nothing(tmp_path: Path) -> None:
    """A run that ends early leaves no partial file."""
    DigestFile.create(DigestStore(tmp_path).path("vda", TOKEN), CHUNK, SIZE, TOKEN).drop()
    assert list(tmp_path.iterdir()) == []


def test_known_finds_each_block_and_nothing_else(tmp_path: Path) -> None:
    """A digest leads to a block that has it, doubles included; one that is in no block leads nowhere."""
    plain = bytearray(Random(4).randbytes(SIZE))
    plain[5 * CHUNK : 6 * CHUNK] = plain[:CHUNK]
    digests = _made(tmp_path, bytes(plain))
    known = Known(digests)
    assert [known.block(digests.get(block, 1)) for block in range(11)] == [0, 1, 2, 3, 4, 0, 6, 7, 8, 9, 10]
    assert known.block(b"\xff" * DIGEST_BYTES) is None
    assert known.block(digests.get(1, 1)[:8] + bytes(24)) is None
    digests.close()
