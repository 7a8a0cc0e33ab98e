"""Exported views: whole, described, as of one position, and never mixed with anything else."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from catalog import exports
from catalog.projections.tables import TABLES
from catalog.runtime import utc_now
from catalog.sql.views import VIEWS
from storage.lake import Lake
from tests.support.lab import MIB, Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """One machine with one point."""
    lab = Lab(tmp_path)
    (lab.images / "web.raw").write_bytes(b"\1" * MIB)
    lab.ok("source", "add", "lab", "--kind", "image", "--path", lab.images)
    lab.ok("backup", "lab")
    return lab


def test_every_view_is_written_and_described(lab: Lab) -> None:
    """An export has each view with the rows that SQL shows, its digest, and a comment for each column."""
    folder = lab.root / "tables"
    lab.ok("export-tables", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [view["view"] for view in manifest["views"]] == [view.name for view in VIEWS]
    assert {path.name for path in folder.iterdir()} == {"manifest.json", *(one["file"] for one in manifest["views"])}
    for view in manifest["views"]:
        data = (folder / view["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == view["sha256"]
        assert all(column["comment"] for column in view["columns"]), view["view"]
        rows = pq.read_table(folder / view["file"])
        assert rows.schema.names == [column["name"] for column in view["columns"]]
        assert [{"n": rows.num_rows}] == _rows(lab.json("sql", f"SELECT count(*) AS n FROM {view['view']}"))  # noqa: S608 - our own names
        assert view["rows"] == rows.num_rows


def test_an_export_of_the_past_does_not_change(lab: Lab) -> None:
    """As of a position, later events make no difference to any row."""
    lab.ok("export-tables", lab.root / "before")
    position = json.loads((lab.root / "before" / "manifest.json").read_text())["position"]
    (lab.images / "web.raw").write_bytes(b"\2" * MIB)
    lab.ok("backup", "lab")
    lab.ok("export-tables", lab.root / "after", "--as-of", str(position))
    for view in VIEWS:
        before, after = (pq.read_table(lab.root / name / f"{view.name}.parquet") for name in ("before", "after"))
        assert sorted(map(str, before.to_pylist())) == sorted(map(str, after.to_pylist())), view.name


def test_only_an_export_is_replaced_and_only_when_told(lab: Lab) -> None:
    """A folder with anything else in it is left alone; an export goes when its replacement was asked for."""
    folder = lab.root / "tables"
    lab.ok("export-tables", folder)
    assert lab.fails(8, "export-tables", folder)["code"] == "export-folder"
    lab.ok("export-tables", folder, "--view", "machines", "--replace")
    assert sorted(path.name for path in folder.iterdir()) == ["machines.parquet", "manifest.json"]
    (lab.root / "other").mkdir()
    (lab.root / "other" / "diary").write_text("mine")
    assert lab.fails(8, "export-tables", lab.root / "other", "--replace")["code"] == "export-folder"
    assert [path.name for path in (lab.root / "other").iterdir()] == ["diary"]


def test_an_export_that_was_interrupted_is_begun_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stops an export leaves no manifest, and the next one to that folder is whole."""
    folder = lab.root / "tables"
    lab.ok("export-tables", folder)

    def stopped(path: Path, data: bytes) -> None:
        raise KeyboardInterrupt

    with closing(Lake.open(lab.home.lake_dir, TABLES)) as lake, monkeypatch.context() as patched:
        patched.setattr(exports, "_publish", stopped)
        with pytest.raises(KeyboardInterrupt):
            exports.export_views(lake, folder, clock=utc_now, names=["machines"], replace=True)
    (folder / "disks.partial").write_bytes(b"half")
    assert not (folder / "manifest.json").exists()
    lab.ok("export-tables", folder, "--view", "disks")
    assert sorted(path.name for path in folder.iterdir()) == ["disks.parquet", "manifest.json"]


def test_a_manifest_of_something_else_is_no_export(lab: Lab) -> None:
    """A folder with somebody else's manifest.json is told as such, and left alone, whatever is asked."""
    folder = lab.root / "extension"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"manifest_version": 3}')
    assert lab.fails(8, "export-tables", folder, "--replace")["code"] == "export-folder"
    assert (folder / "manifest.json").exists()


def test_unknown_views_are_named(lab: Lab) -> None:
    """A view that does not exist is an error that lists those that do."""
    problem = lab.fails(2, "export-tables", lab.root / "tables", "--view", "secrets")
    assert problem["code"] == "view-unknown"
    assert "restore_points" in problem["hint"]


def _rows(answer: object) -> object:
    return answer["rows"] if isinstance(answer, dict) else answer
