"""Whether proofs over a Merkle tree hold; the algorithms of RFC 9162, section 2.1, over RFC 6962 trees.

Pure; imports the standard library only, and shares no code with what makes the proofs. An index counts from 0:
position N of the log is leaf N-1. Nothing raises: what is malformed does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256().digest()
MAX_SIZE = 2**62


def node_hash(left: bytes, right: bytes) -> bytes:
    """An inner node."""
    return sha256(b"\x01" + left + right).digest()


def inclusion_holds(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether `leaf` is number `index` of the tree of `size` leaves with this root."""
    if not 0 <= index < size <= MAX_SIZE or not _hashes([leaf, root, *path]):
        return False
    number, last, node = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if number & 1 or number == last:
            node = node_hash(sibling, node)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        number, last = number >> 1, last >> 1
    return last == 0 and node == root


def consistency_holds(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the tree of `new` leaves begins with the tree of `old` leaves."""
    if not 0 <= old <= new <= MAX_SIZE or not _hashes([old_root, new_root, *path]):
        return False
    if old == 0:
        return not path and old_root == EMPTY_ROOT
    if old == new:
        return not path and old_root == new_root
    steps = [old_root, *path] if old & (old - 1) == 0 else list(path)
    return bool(steps) and _folded(steps, old - 1, new - 1) == (old_root, new_root)


def multi_root(size: int, leaves: Mapping[int, bytes], path: Sequence[bytes]) -> bytes | None:
    """The root of `size` leaves of which some are known, `path` being the nodes that cover the others, left to right.

    None when the path has too few or too many nodes, or an index lies outside.
    """
    wanted = sorted(leaves)
    if not wanted or wanted[0] < 0 or wanted[-1] >= size or size > MAX_SIZE:
        return None
    if not _hashes([*leaves.values(), *path]):
        return None
    nodes = iter(path)
    root = _subtree(0, size, wanted, leaves, nodes)
    return root if next(nodes, None) is None else None


def split(size: int) -> int:
    """The number of leaves in the left half of a tree: the largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def _folded(steps: list[bytes], number: int, last: int) -> tuple[bytes, bytes] | None:
    while number & 1:
        number, last = number >> 1, last >> 1
    first = second = steps[0]
    for step in steps[1:]:
        if last == 0:
            return None
        if number & 1 or number == last:
            first, second = node_hash(step, first), node_hash(step, second)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            second = node_hash(second, step)
        number, last = number >> 1, last >> 1
    return (first, second) if last == 0 else None


def _subtree(
    first: int, size: int, wanted: Sequence[int], leaves: Mapping[int, bytes], nodes: Iterator[bytes]
) -> bytes | None:
    """Depth is that of the tree, 62 at most."""
    if not wanted:
        return next(nodes, None)
    if size == 1:
        return leaves[first]
    middle = first + split(size)
    left = _subtree(first, middle - first, [index for index in wanted if index < middle], leaves, nodes)
    right = _subtree(middle, first + size - middle, [index for index in wanted if index >= middle], leaves, nodes)
    return None if left is None or right is None else node_hash(left, right)


def _hashes(values: Sequence[bytes]) -> bool:
    return all(isinstance(value, bytes) and len(value) == HASH_BYTES for value in values)
