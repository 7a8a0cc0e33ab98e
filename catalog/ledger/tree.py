"""The Merkle tree over the log: roots and proofs at any size, from the chain's leaves and a cache of subtrees.

Imports `catalog.ledger` and `storage.errors`. A root is never taken from the cache on trust: either all leaves went
into it, or the cached part folds to a root known from elsewhere (an anchor). Proofs are verified before they leave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Lock
from typing import TypeVar

from catalog.ledger.proofs import (
    EMPTY_ROOT,
    HASH_BYTES,
    consistency_holds,
    inclusion_holds,
    multi_root,
    node_hash,
    split,
)
from catalog.ledger.tiles import STEP, Tiles
from storage.errors import Corrupt, NotFound

WIDTH = 1 << STEP
MAX_ROOTS = 64
T = TypeVar("T")


Leaves = Callable[[int, int], Iterator[bytes]]
"""The chain's leaves of positions above the first number, up to the second."""


class Frontier:
    """The peaks of a tree that grows: enough to append to it and to know its root."""

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self._peaks = list(peaks)

    def append(self, leaf: bytes) -> None:
        """Add one leaf."""
        node, number = leaf, self.size
        while number & 1:
            node, number = node_hash(self._peaks.pop(), node), number >> 1
        self._peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """The root as it is now."""
        return _fold(self._peaks)


class MerkleTree:
    """Roots and proofs. Safe to use from several threads and processes."""

    def __init__(self, leaves: Leaves, tiles: Tiles) -> None:
        self._leaves = leaves
        self._tiles = tiles
        self._lock = Lock()
        self._roots: dict[int, bytes] = {}

    def root(self, size: int, anchor: tuple[int, bytes] = (0, EMPTY_ROOT)) -> bytes:
        """The root of the first `size` leaves; `anchor` is a smaller size whose root is known.

        Corrupt when the log does not have that root, NotFound when the log is shorter.
        """
        with self._lock:
            known = self._roots.get(size)
            if known is None:
                known = self._computed(size, anchor if anchor[0] <= size else (0, EMPTY_ROOT))
                if len(self._roots) >= MAX_ROOTS:
                    self._roots.clear()
                self._roots[size] = known
            return known

    def inclusion(self, index: int, size: int, root: bytes) -> list[bytes]:
        """The path that proves leaf `index` in the tree with this root."""
        leaf = self._range(index, 1)
        return self._sound(
            size, lambda: list(self._path(index, 0, size)), lambda path: inclusion_holds(leaf, index, size, path, root)
        )

    def consistency(self, old: tuple[int, bytes], new: tuple[int, bytes]) -> list[bytes]:
        """The path that proves that the new tree begins with the old one; both are sizes with their roots."""
        return self._sound(
            new[0],
            lambda: [] if old[0] in (0, new[0]) else list(self._growth(old[0], 0, new[0], whole=True)),
            lambda path: consistency_holds(old[0], new[0], old[1], new[1], path),
        )

    def multiproof(self, indexes: Sequence[int], size: int, root: bytes) -> list[bytes]:
        """The nodes that, with these leaves, make up the root: one proof for all of them."""
        wanted = sorted(set(indexes))
        leaves = {index: self._range(index, 1) for index in wanted}
        return self._sound(
            size, lambda: list(self._others(0, size, wanted)), lambda path: multi_root(size, leaves, path) == root
        )

    def _computed(self, size: int, anchor: tuple[int, bytes]) -> bytes:
        at, root = anchor
        peaks = self._sound(at, lambda: self._peaks(at), lambda found: _fold(found) == root)
        frontier = Frontier(at, peaks)
        for leaf in self._leaves(at, size):
            frontier.append(leaf)
        if frontier.size != size:
            raise NotFound(f"the log has {frontier.size} events, not {size}", code="ledger-size")
        self._grow(size)
        return frontier.root()

    def _sound(self, size: int, make: Callable[[], T], holds: Callable[[T], bool]) -> T:
        """What `make` makes of `size` leaves, if it holds; otherwise it is made once more, with a new cache."""
        self._grow(size)
        made = make()
        if holds(made):
            return made
        self._tiles.drop()
        self._grow(size)
        made = make()
        if not holds(made):
            raise Corrupt(
                "the log is not the one that was signed",
                code="ledger-fork",
                why="its tree does not have the root that an earlier checkpoint has",
                hint="find where it departs with: holdfast ledger check",
            )
        return made

    def _grow(self, size: int) -> None:
        """Bring the cache up to the complete subtrees of `size` leaves."""
        level = STEP
        while count := size >> level:
            known = self._tiles.count(level)
            if known < count:
                added = b"".join(self._folded_children(level, number) for number in range(known, count))
                self._tiles.extend(level, known, added)
            level += STEP

    def _folded_children(self, level: int, number: int) -> bytes:
        return _complete(self._kept(level - STEP, number * WIDTH, WIDTH))

    def _kept(self, level: int, first: int, count: int) -> bytes:
        """Hashes of a level that has a file (or of leaves), computed where the file does not reach."""
        if level == 0:
            found = b"".join(self._leaves(first, first + count))
            if len(found) != count * HASH_BYTES:
                raise NotFound(f"the log does not reach position {first + count}", code="ledger-size")
            return found
        return self._tiles.read(level, first, count) or b"".join(
            self._folded_children(level, number) for number in range(first, first + count)
        )

    def _node(self, level: int, number: int) -> bytes:
        base = level - level % STEP
        return _complete(self._kept(base, number << (level - base), 1 << (level - base)))

    def _range(self, first: int, size: int) -> bytes:
        """The root over `size` leaves from `first` on, as a subtree of RFC 6962's tree has them."""
        if size & (size - 1) == 0:
            level = size.bit_length() - 1
            return self._node(level, first >> level)
        left = split(size)
        return node_hash(self._range(first, left), self._range(first + left, size - left))

    def _peaks(self, size: int) -> list[bytes]:
        first, found = 0, []
        while first < size:
            width = 1 << (size - first).bit_length() - 1
            found.append(self._range(first, width))
            first += width
        return found

    def _path(self, index: int, first: int, size: int) -> Iterator[bytes]:
        if size == 1:
            return
        left = split(size)
        if index < first + left:
            yield from self._path(index, first, left)
            yield self._range(first + left, size - left)
        else:
            yield from self._path(index, first + left, size - left)
            yield self._range(first, left)

    def _growth(self, old: int, first: int, size: int, *, whole: bool) -> Iterator[bytes]:
        if old == size:
            if not whole:
                yield self._range(first, size)
            return
        left = split(size)
        if old <= left:
            yield from self._growth(old, first, left, whole=whole)
            yield self._range(first + left, size - left)
        else:
            yield from self._growth(old - left, first + left, size - left, whole=False)
            yield self._range(first, left)

    def _others(self, first: int, size: int, wanted: Sequence[int]) -> Iterator[bytes]:
        if not wanted:
            yield self._range(first, size)
        elif size > 1:
            middle = first + split(size)
            yield from self._others(first, middle - first, [index for index in wanted if index < middle])
            yield from self._others(middle, first + size - middle, [index for index in wanted if index >= middle])


def _complete(hashes: bytes) -> bytes:
    """The root over a power of two of hashes."""
    nodes = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
    while len(nodes) > 1:
        nodes = [node_hash(left, right) for left, right in zip(nodes[::2], nodes[1::2], strict=True)]
    return nodes[0]


def _fold(peaks: Sequence[bytes]) -> bytes:
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root
