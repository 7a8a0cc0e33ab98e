"""Proofs against trees computed by the definition."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.ledger.proofs import EMPTY_ROOT, consistency_holds, inclusion_holds, multi_root
from catalog.ledger.tiles import Tiles
from catalog.ledger.tree import Frontier, MerkleTree
from catalog.merkle import merkle_root
from storage.errors import Corrupt, NotFound

LEAVES = [sha256(str(number).encode()).digest() for number in range(1400)]
FOLDER = TemporaryDirectory()
TREE = MerkleTree(lambda after, until: iter(LEAVES[after:until]), Tiles(Path(FOLDER.name)))


@pytest.fixture(scope="module", autouse=True)
def folder() -> Iterator[None]:
    """Remove the shared cache in the end."""
    yield
    FOLDER.cleanup()


def root(size: int) -> bytes:
    """The root by the definition of RFC 6962, section 2.1."""
    if size == 0:
        return EMPTY_ROOT
    return by_definition(LEAVES[:size])


def by_definition(leaves: list[bytes]) -> bytes:
    """The recursive definition."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + by_definition(leaves[:half]) + by_definition(leaves[half:])).digest()


def flip(path: list[bytes], random: Random) -> list[bytes]:
    """The same path with one bit of it changed."""
    at = random.randrange(len(path))
    changed = bytearray(path[at])
    changed[random.randrange(32)] ^= 1 << random.randrange(8)
    return [*path[:at], bytes(changed), *path[at + 1 :]]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 31, 33])
def test_inclusion_everywhere(size: int) -> None:
    """Each leaf of small trees is proven, and nowhere else, and not for another leaf or root."""
    for index in range(size):
        path = TREE.inclusion(index, size, root(size))
        assert inclusion_holds(LEAVES[index], index, size, path, root(size))
        assert not inclusion_holds(LEAVES[index + 1], index, size, path, root(size))
        assert not inclusion_holds(LEAVES[index], index, size, path, root(size + 1))
        assert not inclusion_holds(LEAVES[index], index, size, [*path, path[-1] if path else LEAVES[0]], root(size))
        assert not inclusion_holds(LEAVES[index], size, size, path, root(size))
        for other in range(size):
            assert other == index or not inclusion_holds(LEAVES[index], other, size, path, root(size))


@pytest.mark.parametrize("new", range(1, 34))
def test_consistency_everywhere(new: int) -> None:
    """A small tree is proven to begin with each smaller one, and not with another of that size."""
    for old in range(new + 1):
        path = TREE.consistency((old, root(old)), (new, root(new)))
        assert consistency_holds(old, new, root(old), root(new), path)
        assert not consistency_holds(old, new, sha256(root(old)).digest(), root(new), path)
        assert old == 0 or not consistency_holds(old, new, root(old), sha256(root(new)).digest(), path)
        assert not consistency_holds(old, new, root(old), root(new), [*path, LEAVES[0]])
        assert not path or not consistency_holds(old, new, root(old), root(new), path[:-1])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_large_trees(data: st.DataObject) -> None:
    """Proofs of every kind hold in trees with several levels of cache, and no changed proof does."""
    size = data.draw(st.integers(2, len(LEAVES)))
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size - 1))
    wanted = data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=20))
    random = Random(size)
    path = TREE.inclusion(index, size, root(size))
    assert not inclusion_holds(LEAVES[index], index, size, flip(path, random), root(size))
    growth = TREE.consistency((old, root(old)), (size, root(size)))
    assert not consistency_holds(old, size, root(old), root(size), flip(growth, random))
    nodes = TREE.multiproof(list(wanted), size, root(size))
    leaves = {number: LEAVES[number] for number in wanted}
    assert multi_root(size, leaves, nodes) == root(size)
    assert multi_root(size, leaves, [*nodes, LEAVES[0]]) is None
    if nodes:
        assert multi_root(size, leaves, flip(nodes, random)) != root(size)
        assert multi_root(size, leaves, nodes[:-1]) is None
    assert len(nodes) <= len(wanted) * size.bit_length()


@given(st.integers(0, 600))
def test_frontier(size: int) -> None:
    """A tree that grows leaf by leaf has the same root."""
    frontier = Frontier()
    for leaf in LEAVES[:size]:
        frontier.append(leaf)
    assert frontier.root() == merkle_root(LEAVES[:size]) == root(size)


@given(
    st.binary(max_size=40),
    st.integers(-5, 70),
    st.integers(-5, 70),
    st.lists(st.binary(min_size=30, max_size=33), max_size=8),
)
def test_garbage_never_holds(text: bytes, one: int, other: int, path: list[bytes]) -> None:
    """Random bytes are no proof, and raise nothing."""
    assert not inclusion_holds(text, one, other, path, LEAVES[0])
    assert not consistency_holds(one, other, text, LEAVES[0], path)
    assert multi_root(other, {one: text}, path) != LEAVES[0]


def counted(folder: Path, leaves: list[bytes]) -> tuple[MerkleTree, list[int]]:
    """A tree with a cache, and the number of leaves that it asked for."""
    asked = [0]

    def read(after: int, until: int) -> object:
        asked[0] += until - after
        return iter(leaves[after:until])

    return MerkleTree(read, Tiles(folder)), asked  # type: ignore[arg-type]


def test_cache_saves_reading(tmp_path: Path) -> None:
    """With the cache a proof reads a few hundred leaves, and growing reads only what is new."""
    tree, asked = counted(tmp_path / "tiles", LEAVES)
    known = tree.root(1300)
    asked[0] = 0
    tree.inclusion(700, 1300, known)
    assert asked[0] < 3 * 256
    again, asked = counted(tmp_path / "tiles", LEAVES)
    assert again.root(1310, (1300, known)) == root(1310)
    assert asked[0] < 3 * 256


@pytest.mark.parametrize("at", [0, 33, 100, 4 * 32])
def test_wrong_cache_is_noticed(tmp_path: Path, at: int) -> None:
    """A changed byte in the cache never makes a wrong root or proof: it is dropped and made anew."""
    folder = tmp_path / "tiles"
    tree, _ = counted(folder, LEAVES)
    known = tree.root(1300)
    for use in (
        lambda tree: tree.root(1310, (1300, known)) == root(1310),
        lambda tree: tree.root(1310) == root(1310),
        lambda tree: inclusion_holds(LEAVES[1290], 1290, 1300, tree.inclusion(1290, 1300, known), known),
        lambda tree: consistency_holds(900, 1300, root(900), known, tree.consistency((900, root(900)), (1300, known))),
        lambda tree: multi_root(1300, {1299: LEAVES[1299]}, tree.multiproof([1299], 1300, known)) == known,
    ):
        content = bytearray((folder / "level-08").read_bytes())
        content[at] ^= 1
        (folder / "level-08").write_bytes(content)
        fresh, _ = counted(folder, LEAVES)
        assert use(fresh)
        fresh.root(1300)


def test_a_cache_cut_short(tmp_path: Path) -> None:
    """A cache that lost its end is completed."""
    folder = tmp_path / "tiles"
    tree, _ = counted(folder, LEAVES)
    known = tree.root(1300)
    (folder / "level-08").write_bytes((folder / "level-08").read_bytes()[:70])
    fresh, _ = counted(folder, LEAVES)
    assert fresh.root(1310, (1300, known)) == root(1310)
    assert (folder / "level-08").stat().st_size == 5 * 32


def test_another_log_is_corrupt(tmp_path: Path) -> None:
    """A log that does not have the root it once had is Corrupt, and one that is shorter is refused."""
    changed = [*LEAVES[:50], LEAVES[60], *LEAVES[51:]]
    tree, _ = counted(tmp_path / "tiles", changed)
    with pytest.raises(Corrupt, match="not the one"):
        tree.root(1310, (1300, root(1300)))
    with pytest.raises(NotFound):
        tree.root(1401)
