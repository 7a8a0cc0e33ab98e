"""Runs of the chunk index: look-ups, merging, damage."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from storage.chunks import merging
from storage.chunks.merging import due, merge, run_of
from storage.chunks.runs import Run, layout_for, prefixes_of
from storage.errors import Corrupt
from storage.packs.format import ENTRY, Entries
from tests.support.index_entries import made_entries, pack_id

Found = tuple[bytes, int, int] | None


def find(run: Run, digests: NDArray[np.uint8], alive: set[bytes] | None = None) -> list[Found]:
    """Look digests up and translate positions."""
    mask = np.array([alive is None or pack in alive for pack in run.packs], bool)
    at = run.find(digests, prefixes_of(digests), mask)
    tails = run.tails[at]
    return [
        (run.packs[tail["pack"]], int(tail["offset"]), int(tail["stored"])) if position >= 0 else None
        for position, tail in zip(at.tolist(), tails, strict=True)
    ]


def entries_of(digests: list[bytes]) -> Entries:
    """Entries whose offsets count."""
    entries = np.zeros(len(digests), ENTRY)
    entries["digest"] = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
    entries["offset"] = np.arange(len(digests)) + 64
    entries["stored"] = 65
    return entries


prefixes = st.sampled_from([bytes(8), b"\xff" * 8, b"\x80" + bytes(7), b"\x7f" + b"\xff" * 7, b"12345678"])
digests = st.builds(lambda head, tail: head + bytes(22) + tail, prefixes, st.binary(min_size=2, max_size=2))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(digests, min_size=1, unique=True, max_size=40), min_size=1, max_size=4), st.data())
def test_a_forged_prefix_is_no_hit(tmp_path: Path, packs: list[list[bytes]], data: st.DataObject) -> None:
    """With many digests that share their first 8 bytes, a look-up finds exactly those whose 32 bytes agree.

    Packs that may not be cited hide their copy, and no other pack's.
    """
    run = run_of([(pack_id(n), entries_of(held)) for n, held in enumerate(packs)], tmp_path)
    alive = data.draw(st.sets(st.sampled_from(run.packs)))
    asked = [*(digest for held in packs for digest in held), *data.draw(st.lists(digests, max_size=20))]
    table = np.frombuffer(b"".join(asked), np.uint8).reshape(-1, 32)
    for digest, found in zip(asked, find(run, table, alive), strict=True):
        holders = {(pack_id(n), held.index(digest) + 64, 65) for n, held in enumerate(packs) if digest in held}
        allowed = {holder for holder in holders if holder[0] in alive}
        assert found in allowed if allowed else found is None


def test_every_entry_of_a_large_run_is_found(tmp_path: Path) -> None:
    """In a run with a real directory every entry is found at its place, and no absent digest is."""
    packs = [(pack_id(n), made_entries(n, 20_000)) for n in range(3)]
    run = run_of(packs, tmp_path)
    assert run.layout.bucket_bits > 10
    for pack, entries in packs:
        expected = [(pack, int(entry["offset"]), int(entry["stored"])) for entry in entries]
        assert find(run, np.ascontiguousarray(entries["digest"])) == expected
    absent = np.random.default_rng(99).integers(0, 256, (5000, 32), np.uint8)
    assert find(run, absent) == [None] * 5000


def test_an_entry_costs_44_bytes(tmp_path: Path) -> None:
    """A run is 44 bytes an entry and a small directory."""
    run = run_of([(pack_id(0), made_entries(0, 100_000))], tmp_path)
    assert run.path.stat().st_size == run.layout.size_bytes
    assert 44 <= run.layout.size_bytes / 100_000 < 45
    assert layout_for(2**31, 1).bucket_bits == 24


def test_merging_keeps_every_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge in small slices holds the entries of all runs, each still in its own pack, in order."""
    monkeypatch.setattr(merging, "_SLICE_ENTRIES", 100)
    packs = [(pack_id(n), made_entries(n, 50 + 400 * n)) for n in range(4)]
    same = made_entries(2, 850)
    runs = [run_of([pack], tmp_path) for pack in packs] + [run_of([(pack_id(9), same)], tmp_path)]
    merged = merge(runs, tmp_path)
    assert set(merged.packs) == {pack_id(n) for n in (0, 1, 2, 3, 9)}
    assert (np.diff(merged.prefixes.astype(object)) >= 0).all()
    for pack, entries in [*packs, (pack_id(9), same)]:
        expected = [(pack, int(entry["offset"]), int(entry["stored"])) for entry in entries]
        assert find(merged, np.ascontiguousarray(entries["digest"]), {pack}) == expected


def test_small_runs_are_merged_before_large_ones(tmp_path: Path) -> None:
    """A run joins a merge only when it is under four times what the smaller ones come to."""
    big, middle, one, two = (run_of([(pack_id(n), made_entries(n, n))], tmp_path) for n in (900, 90, 10, 11))
    assert set(due([big, middle, one, two])) == {one, two}
    assert due([big, middle]) == []
    assert due([one]) == []
    assert len(due([run_of([(pack_id(n), made_entries(n, 80))], tmp_path) for n in (1, 2)] + [middle])) == 3


def test_merging_needs_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge holds a few slices in memory, not the runs: a tenth of what it writes here."""
    monkeypatch.setattr(merging, "_SLICE_ENTRIES", 1 << 13)
    runs = [run_of([(pack_id(n), made_entries(n, 100_000))], tmp_path) for n in range(6)]
    tracemalloc.start()
    try:
        merged = merge(runs, tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < merged.layout.size_bytes / 10


def test_a_damaged_run_is_refused(tmp_path: Path) -> None:
    """A run with any byte changed, cut anywhere, or under another name does not open."""
    run = run_of([(pack_id(0), made_entries(0, 4))], tmp_path)
    content = run.path.read_bytes()
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        run.path.write_bytes(damaged)
        with pytest.raises(Corrupt) as caught:
            Run(run.path)
        assert caught.value.code == "index-run"
        run.path.write_bytes(content[:at])
        with pytest.raises(Corrupt):
            Run(run.path)
    run.path.write_bytes(content)
    assert len(Run(run.path)) == 4
    with pytest.raises(Corrupt):
        Run(run.path.rename(tmp_path / f"{'0' * 32}.run"))
