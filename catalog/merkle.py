"""Merkle trees as in RFC 6962, section 2.1, over SHA-256; pure, imports nothing of ours."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256


def leaf_hash(data: bytes) -> bytes:
    """The leaf of one entry."""
    return sha256(b"\x00" + data).digest()


def merkle_root(leaves: Iterable[bytes]) -> bytes:
    """The root over leaves in order, keeping one peak per level; of no leaves, the hash of nothing."""
    peaks: list[bytes] = []
    for count, leaf in enumerate(leaves):
        node = leaf
        for _ in range((count ^ (count + 1)).bit_length() - 1):
            node = _node(peaks.pop(), node)
        peaks.append(node)
    if not peaks:
        return sha256().digest()
    root = peaks.pop()
    while peaks:
        root = _node(peaks.pop(), root)
    return root


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()
