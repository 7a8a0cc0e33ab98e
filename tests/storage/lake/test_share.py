"""The read-only twin: the same rows for the official readers, and no way back to the original."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storage.errors import Conflict
from storage.lake import Lake
from storage.lake.share import share_lake
from tests.support import lake_readers
from tests.support.lake import add, blocks, fill

pytestmark = pytest.mark.skipif(lake_readers.missing() is not None, reason=lake_readers.missing() or "")
COUNT = "SELECT count(*) FROM blocks"


def test_the_official_extension_reads_the_twin(lake: Lake, tmp_path: Path) -> None:
    """The twin has the same rows and snapshots, each file linked, none copied."""
    add(lake, 1, ("blocks", 1, blocks(1, "a", 1, range(100))))
    add(lake, 2, ("blocks", 2, blocks(2, "b", 1, range(50))))
    report = share_lake(lake.catalog, tmp_path / "twin")
    assert (report.files, report.added, report.removed) == (2, 2, 0)
    answers = lake_readers.ask(tmp_path / "twin" / "lake.sqlite", [COUNT, f"{COUNT} AT (VERSION => 2)"])
    assert answers == [[[150]], [[100]]]
    for path in (tmp_path / "twin" / "data").rglob("*.parquet"):
        assert path.stat().st_nlink == 2
        assert path.stat().st_mode & 0o222 == 0


def test_renewing_follows_and_cleans_up_one_renewal_later(lake: Lake, tmp_path: Path) -> None:
    """A renewed twin has what came since; files that went are kept for readers until the renewal after that."""
    twin = tmp_path / "twin"
    fill(lake, 8)
    assert share_lake(lake.catalog, twin).files == 24
    assert lake.compact("blocks").replaced == 16
    lake.expire_snapshots(())
    renewed = share_lake(lake.catalog, twin)
    assert (renewed.files, renewed.added, renewed.removed) == (10, 2, 0)
    assert share_lake(lake.catalog, twin).removed == 16
    assert lake_readers.ask(twin / "lake.sqlite", [COUNT]) == [[[8 * 25]]]


def test_a_broken_off_sharing_is_taken_up(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stops half-way leaves no catalog to read, and the next attempt completes it."""
    add(lake, 1, ("blocks", 1, blocks(1, "a", 1, range(10))))
    with monkeypatch.context() as patched:
        patched.setattr(os, "link", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            share_lake(lake.catalog, tmp_path / "twin")
    assert not (tmp_path / "twin" / "lake.sqlite").exists()
    assert share_lake(lake.catalog, tmp_path / "twin").files == 1


def test_one_at_a_time(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes while a twin is being renewed is told so, and the renewal is not disturbed."""
    add(lake, 1, ("blocks", 1, blocks(1, "a", 1, range(10))))
    link, met = os.link, []

    def linked(source: Path, target: Path) -> None:
        with pytest.raises(Conflict) as caught:
            share_lake(lake.catalog, tmp_path / "twin")
        met.append(caught.value.code)
        link(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", linked)
        assert share_lake(lake.catalog, tmp_path / "twin").files == 1
    assert met == ["share-busy"]
    assert lake_readers.ask(tmp_path / "twin" / "lake.sqlite", [COUNT]) == [[[10]]]


def test_a_folder_with_something_else_is_left_alone(lake: Lake, tmp_path: Path) -> None:
    """Only an empty folder or an earlier twin is written to."""
    (tmp_path / "twin").mkdir()
    (tmp_path / "twin" / "diary").write_text("mine")
    with pytest.raises(Conflict, match="something else"):
        share_lake(lake.catalog, tmp_path / "twin")
    assert [path.name for path in (tmp_path / "twin").iterdir()] == ["diary"]
