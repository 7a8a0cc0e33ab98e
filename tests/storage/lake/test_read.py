"""Plans and reads: no row lost, none too many, no damaged byte returned."""

from __future__ import annotations

import random
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import Corrupt, Invalid, NotFound
from storage.lake import Lake
from storage.lake import plan as planning
from tests.support.lake import SPECS, START, add, all_rows, blocks, data_files, fill, notes


def test_plans_prune_by_range_equality_and_part(lake: Lake) -> None:
    """Files whose statistics exclude a range are not planned; open bounds and several columns combine."""
    fill(lake, 20)
    count = {
        name: len(lake.plan("blocks", where=where))
        for name, where in {
            "all": {},
            "part": {"part": (3, 3)},
            "parts": {"part": (4, 9)},
            "no part": {"part": (4, 4)},
            "text": {"disk": ("disk-a", "disk-a")},
            "numbers": {"seq": (3, 5), "part": (5, 5)},
            "open": {"seq": (19, None), "disk": (None, "disk-a")},
            "none": {"seq": (21, None)},
        }.items()
    }
    assert count == {
        "all": 40, "part": 20, "parts": 20, "no part": 0, "text": 20, "numbers": 3, "open": 2, "none": 0
    }  # fmt: skip


def test_plans_travel_in_time(lake: Lake) -> None:
    """At an old snapshot exactly the files of that time are planned; an unknown one is not found."""
    fill(lake, 5)
    assert [len(lake.plan("blocks", snapshot=s.id)) for s in lake.snapshots()] == [0, 2, 4, 6, 8, 10]
    with pytest.raises(NotFound):
        lake.plan("blocks", snapshot=99)


def test_a_plan_sees_one_state(filled: Lake, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan made while another process compacts and expires is of one snapshot, without a gap."""
    before, find = len(all_rows(filled, "notes")), planning.existing_snapshot

    def interrupted(*args: Any) -> int:
        monkeypatch.setattr(planning, "existing_snapshot", find)
        snapshot = find(*args)
        other = Lake.open(root, SPECS)
        assert other.compact("notes", min_files=2).replaced == 10
        assert other.expire_snapshots([]).files == 10
        other.close()
        return snapshot

    monkeypatch.setattr(planning, "existing_snapshot", interrupted)
    assert len(all_rows(filled, "notes")) == before


def test_wrong_questions_are_invalid(lake: Lake) -> None:
    """Unknown tables, columns and values of another type are refused, not ignored."""
    fill(lake, 1)
    for ask in (
        lambda: lake.plan("nothing"),
        lambda: lake.plan("blocks", where={"nothing": (1, 2)}),
        lambda: lake.plan("blocks", where={"disk": (1, 2)}),
        lambda: lake.plan("notes", where={"seen_at": (START.replace(tzinfo=None), None)}),
        lambda: list(lake.read("blocks", ["nothing"])),
        lambda: list(lake.read("blocks", where={"digest": (b"short", b"short")})),
    ):
        with pytest.raises(Invalid):
            ask()


def test_reads_give_the_columns_asked_in_that_order(lake: Lake) -> None:
    """Filter columns are not returned unless asked, and digests compare by equality."""
    fill(lake, 2)
    row = all_rows(lake, "blocks")[3]
    found = list(lake.read("blocks", ["stored", "block"], where={"digest": (row["digest"], row["digest"])}))  # type: ignore[dict-item]  # bytes
    assert [batch.schema.names for batch in found if batch.num_rows] == [["stored", "block"]]
    assert [r for batch in found for r in batch.to_pylist()] == [{"stored": row["stored"], "block": row["block"]}]


times = st.timedeltas(timedelta(), timedelta(days=20)).map(lambda after: START + after)
bounds = {
    "id": st.integers(0, 2**64 - 1) | st.integers(0, 120) | st.integers(2**64 - 120, 2**64 - 1),
    "seq": st.integers(-1, 12),
    "disk": st.sampled_from(["", "dïsk 011", "dïsk 055", "zz"]) | st.text(max_size=3),
    "seen_at": times,
    "good": st.booleans(),
}


@given(
    st.dictionaries(st.sampled_from(sorted(bounds)), st.none(), max_size=3).flatmap(
        lambda names: st.fixed_dictionaries({n: st.tuples(*[st.none() | bounds[n]] * 2) for n in names})
    )
)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reads_equal_a_plain_filter(filled: Lake, where: dict[str, tuple[Any, Any]]) -> None:
    """For any ranges the rows read are those that a loop over all rows keeps."""

    def inside(row: dict[str, Any]) -> bool:
        return all(
            row[name] is not None and (low is None or row[name] >= low) and (high is None or row[name] <= high)
            for name, (low, high) in where.items()
        )

    assert all_rows(filled, "notes", where=where) == [row for row in all_rows(filled, "notes") if inside(row)]


@pytest.fixture(name="filled")
def fixture_filled(lake: Lake) -> Lake:
    """A lake with ten commits."""
    fill(lake, 10)
    return lake


@pytest.fixture(name="small")
def fixture_small(lake: Lake) -> Lake:
    """A lake with one file of two row groups, dictionary, delta and plain columns."""
    with lake.writer("blocks", 3) as writer:
        for seq in (1, 2):
            writer.write(blocks(3, "disk-a", seq, range(30)))
            writer._flush(30)
        file = writer.close()
    lake.commit([file], expected=0, position=1)
    return lake


def test_any_flipped_bit_is_found_and_never_returned(small: Lake, root: Path) -> None:
    """A read returns the rows as written or raises Corrupt, whichever bit of the file is flipped."""
    (path,) = data_files(root)
    good, before = path.read_bytes(), all_rows(small, "blocks")
    dice = random.Random(5)
    for bit in dice.sample(range(8 * len(good)), 400):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        with pytest.raises(Corrupt):
            all_rows(small, "blocks")
        problems = [(p.path, p.code) for p in small.verify()]
        assert problems == [(path, "lake-file-corrupt")]
    path.write_bytes(good)
    assert (all_rows(small, "blocks"), list(small.verify())) == (before, [])


def test_damage_elsewhere_does_not_hinder_a_read(small: Lake, root: Path) -> None:
    """Only the row groups that a read uses are proven, so good rows stay readable."""
    (path,) = data_files(root)
    second = pq.read_metadata(path).row_group(1).column(0).dictionary_page_offset
    data = bytearray(path.read_bytes())
    data[second + 40] ^= 1
    path.write_bytes(data)
    assert len(all_rows(small, "blocks", where={"seq": (1, 1)})) == 30
    with pytest.raises(Corrupt, match="row group 1"):
        all_rows(small, "blocks", where={"seq": (2, 2)})


@pytest.mark.parametrize(("keep", "code"), [(None, "lake-file-missing"), (0, "lake-file-size")])
def test_missing_and_cut_files_are_named(filled: Lake, root: Path, keep: int | None, code: str) -> None:
    """A file that is gone or shorter is named by reads and by verification; others are not."""
    victim = data_files(root)[4]
    if keep is None:
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:keep])
    assert [(p.path, p.code) for p in filled.verify()] == [(victim, code)]
    with pytest.raises(Corrupt) as error:
        all_rows(filled, "blocks")
    assert error.value.code == code


def test_a_file_in_place_of_another_is_found(filled: Lake, root: Path) -> None:
    """A good Parquet file of the same size under another's name is not accepted."""
    one, *others = [path for path in data_files(root) if path.parent.name == "part=3"]
    two = next(path for path in others if path.stat().st_size == one.stat().st_size)
    shutil.copyfile(one, two)
    assert [p.path for p in filled.verify()] == [two]


def test_pages_carry_checksums_for_other_readers(small: Lake, root: Path) -> None:
    """A reader that knows nothing of seals but verifies page checksums finds a flipped digest too."""
    (path,) = data_files(root)
    data = bytearray(path.read_bytes())
    at = data.index(all_rows(small, "blocks")[7]["digest"])  # type: ignore[arg-type]  # bytes
    data[at] ^= 1
    path.write_bytes(data)
    pq.read_table(path, partitioning=None)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, partitioning=None, page_checksum_verification=True)


def test_batches_stream_in_the_files_order(lake: Lake) -> None:
    """Reading is lazy, file by file in commit order, and survives an expiry that starts meanwhile."""
    for position in (1, 2):
        add(lake, position, ("notes", None, notes(position, [position])))
    batches = lake.read("notes", ["seq"])
    first = next(batches)
    lake.compact("notes", min_files=2)
    lake.expire_snapshots([])
    assert pa.Table.from_batches([first, *batches]).column("seq").to_pylist() == [1, 2]


def test_times_compare_to_the_microsecond(lake: Lake) -> None:
    """A bound in another zone, and one microsecond more, decide as they should."""
    add(lake, 1, ("notes", None, notes(1, [1])))
    at = START + timedelta(days=1, microseconds=1)
    assert lake.plan("notes", where={"seen_at": (at, at)})
    assert not lake.plan("notes", where={"seen_at": (at + timedelta(microseconds=1), None)})
