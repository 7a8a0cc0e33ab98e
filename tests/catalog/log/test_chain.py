"""Leaves and heads, as the format says."""

from __future__ import annotations

from hashlib import sha256

from catalog.log.chain import GENESIS, ChainedRow, leaf_of, next_head, walk
from tests.support.log_events import STREAM


def test_a_leaf_is_what_the_format_says() -> None:
    """A leaf is SHA-256 over 0x00 and the four fields, each behind its length."""
    fields = [STREAM.bytes, (7).to_bytes(8, "big"), "Töpic/1".encode(), b"state"]
    data = b"".join(len(field).to_bytes(8, "big") + field for field in fields)
    assert leaf_of(STREAM, 7, "Töpic/1", b"state") == sha256(b"\x00" + data).digest()
    assert leaf_of(STREAM, 7, "Töpic/1", b"state").hex() == (
        "377b7590285ca87cb7a1ca95537fcb8961949c0357d07e2e8fb3c4f5885f0d88"
    )


def test_fields_do_not_run_into_each_other() -> None:
    """Moving a byte from one field to the next makes another leaf."""
    assert leaf_of(STREAM, 1, "ab", b"c") != leaf_of(STREAM, 1, "a", b"bc")


def test_a_head_is_what_the_format_says() -> None:
    """A head is SHA-256 over 0x01, the head before and the leaf; the first stands on 32 zero bytes."""
    leaf = leaf_of(STREAM, 1, "a", b"b")
    assert next_head(GENESIS, leaf) == sha256(b"\x01" + bytes(32) + leaf).digest()


def test_walking_counts_what_verified() -> None:
    """A walk reports how far it got and the head there."""
    leaf = leaf_of(STREAM, 1, "a", b"b")
    head = next_head(GENESIS, leaf)
    good = ChainedRow(1, STREAM.hex, 1, "a", b"b", leaf, head)
    assert walk([good], 0, GENESIS).head == head
    bad = walk([good, good._replace(position=2)], 0, GENESIS)
    assert (bad.events, bad.position, bad.head, bad.bad_position) == (1, 1, head, 2)
