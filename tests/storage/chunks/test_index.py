"""The chunk index as a whole: recent entries, publication, several processes, damage."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from storage.chunks import index as index_module
from storage.chunks.index import ChunkIndex, Location
from storage.chunks.merging import run_of
from tests.support.faults import PowerCut, PowerLost
from tests.support.index_entries import made_entries, pack_id


def known(index: ChunkIndex, *numbers: int) -> set[int]:
    """Which of the made-up packs the index finds wholly; none may be found in part."""
    found = set()
    for number in numbers:
        entries = made_entries(number)
        expected = [Location(pack_id(number), int(e["offset"]), int(e["stored"])) for e in entries]
        locations = index.lookup(np.ascontiguousarray(entries["digest"]))
        assert locations in (expected, [None] * len(entries))
        if locations == expected:
            found.add(number)
    return found


def fill(folder: Path, *numbers: int) -> ChunkIndex:
    """Publish packs, one by one."""
    index = ChunkIndex(folder)
    for number in numbers:
        index.add(pack_id(number), made_entries(number))
        index.publish()
    return index


def test_an_added_pack_is_found_at_once(tmp_path: Path) -> None:
    """What is added is found before it is published, after it is, and after a reopening, at the same places."""
    index = ChunkIndex(tmp_path)
    index.add(pack_id(1), made_entries(1))
    assert known(index, 1, 2) == {1}
    assert index.recent(made_entries(1)[0]["digest"].tobytes()) is not None
    assert known(ChunkIndex(tmp_path), 1) == set()
    index.publish()
    assert known(index, 1, 2) == {1}
    again = ChunkIndex(tmp_path)
    assert known(again, 1, 2) == {1}
    assert (again.packs(), len(again), again.problems) == ({pack_id(1)}, 50, ())


def test_it_publishes_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once enough is new the index publishes without being asked, and keeps few files."""
    monkeypatch.setattr(index_module, "_PUBLISH_AT_ENTRIES", 150)
    index = ChunkIndex(tmp_path)
    for number in range(40):
        index.add(pack_id(number), made_entries(number))
    assert len(known(ChunkIndex(tmp_path), *range(40))) >= 38
    assert known(index, *range(40)) == set(range(40))
    assert len(list(tmp_path.glob("*.run"))) <= 4
    assert list((tmp_path / ".partial").iterdir()) == []


def test_other_processes_see_what_is_published(tmp_path: Path) -> None:
    """A reader goes on with its maps while runs are merged away under it, and sees the new ones on refresh."""
    reader = fill(tmp_path, 1)
    fill(tmp_path, 2, 3, 4)
    assert known(reader, 1, 2) == {1}
    reader.refresh()
    assert known(reader, 1, 2, 3, 4) == {1, 2, 3, 4}
    assert reader.problems == ()


def test_publishers_do_not_lose_each_others_packs(tmp_path: Path) -> None:
    """Processes that publish at the same time end with the union of their packs."""
    command = [sys.executable, "-m", "tests.support.index_entries", str(tmp_path)]
    started = [subprocess.Popen([*command, str(first), "8"]) for first in (0, 100, 200)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    numbers = [first + offset for first in (0, 100, 200) for offset in range(8)]
    index = ChunkIndex(tmp_path)
    assert known(index, *numbers) == set(numbers)
    assert index.problems == ()


def test_a_pack_that_two_processes_load_counts_once(tmp_path: Path) -> None:
    """A pack that another process has published meanwhile is not published again."""
    index = ChunkIndex(tmp_path)
    index.add(pack_id(1), made_entries(1))
    fill(tmp_path, 1)
    index.publish()
    assert len(index) == 50
    assert known(index, 1) == {1}


def test_packs_can_be_left_out(tmp_path: Path) -> None:
    """After `keep_only` other packs are not cited, also when recent or merged later; new ones are."""
    index = fill(tmp_path, 1, 2)
    index.add(pack_id(3), made_entries(3))
    index.keep_only({pack_id(2)})
    assert known(index, 1, 2, 3) == {2}
    assert index.packs() == {pack_id(2)}
    index.add(pack_id(4), made_entries(4))
    index.publish()
    assert known(index, 1, 2, 3, 4) == {2, 4}
    assert known(ChunkIndex(tmp_path), 1, 2, 4) == {1, 2, 4}


def test_packs_of_other_processes_stay_out_until_allowed(tmp_path: Path) -> None:
    """After `keep_only` a pack that another process published is not cited on its word alone."""
    index = fill(tmp_path, 1)
    index.keep_only({pack_id(1)})
    fill(tmp_path, 2)
    index.refresh()
    assert known(index, 1, 2) == {1}
    index.keep_only({pack_id(1), pack_id(2)})
    assert known(index, 1, 2) == {1, 2}


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "empty"])
def test_a_damaged_run_is_left_out_and_named(tmp_path: Path, damage: str) -> None:
    """A run that does not verify gives no entries, is named, and the next publication drops it."""
    fill(tmp_path, 1)
    run = next(tmp_path.glob("*.run"))
    content = bytearray(run.read_bytes())
    content[-1] ^= 1
    {
        "flip": lambda: run.write_bytes(content),
        "cut": lambda: run.write_bytes(content[:-1]),
        "empty": lambda: run.write_bytes(b""),
        "remove": run.unlink,
    }[damage]()
    index = ChunkIndex(tmp_path)
    assert known(index, 1) == set()
    assert len(index.problems) == 1
    assert run.name in index.problems[0]
    index.add(pack_id(2), made_entries(2))
    index.publish()
    assert len(index.problems) == 1
    assert ChunkIndex(tmp_path).problems == ()


@pytest.mark.parametrize("damage", [b"", b"holdfast chunk index 1\n", b"garbage\n", None])
def test_a_damaged_manifest_is_named(tmp_path: Path, damage: bytes | None) -> None:
    """A manifest that does not verify means an empty index and a named problem."""
    fill(tmp_path, 1)
    manifest = tmp_path / "MANIFEST"
    text = bytearray(manifest.read_bytes())
    text[30] ^= 1
    manifest.write_bytes(text if damage is None else damage)
    index = ChunkIndex(tmp_path)
    assert known(index, 1) == set()
    assert index.problems == ("the chunk index manifest does not verify",)


def test_a_power_cut_leaves_the_old_or_the_new_index(tmp_path: Path) -> None:
    """Wherever the power goes during a publication, the index opens sound, with or without what was new."""
    outcomes = set()
    for at in range(1, 200):
        folder = tmp_path / str(at)
        index = fill(folder, 1)
        with PowerCut(at) as machine:
            with suppress(PowerLost):
                index.add(pack_id(2), made_entries(2))
                index.publish()
            finished = machine.operations < at
        after = ChunkIndex(folder)
        outcomes.add(frozenset(known(after, 1, 2)))
        assert after.problems == ()
        assert known(fill(folder, 3), 1, 3) == {1, 3}
        if finished:
            break
    assert finished
    assert outcomes == {frozenset({1}), frozenset({1, 2})}


def test_all_is_on_disk_before_the_manifest_names_it(tmp_path: Path) -> None:
    """After a publication no file and no name of the index waits for an fsync."""
    index = ChunkIndex(tmp_path)
    with PowerCut() as machine:
        index.add(pack_id(1), made_entries(1))
        index.publish()
        index.add(pack_id(2), made_entries(2))
        index.publish()
        assert {path for path in machine.dirty if path.exists() and path.name != ".partial"} == set()


def test_replace_forgets_what_was(tmp_path: Path) -> None:
    """A replaced index holds the given runs only, cites all of their packs, and has no problems left."""
    index = fill(tmp_path, 1, 2)
    index.keep_only(set())
    index.problems = ("something",)
    index.replace([run_of([(pack_id(3), made_entries(3))], index.staging)])
    assert known(index, 1, 2, 3) == {3}
    assert index.problems == ()
    assert known(ChunkIndex(tmp_path), 1, 2, 3) == {3}
