"""The documented views as plain Parquet files, for whoever wants the data without the service.

May import `catalog.sql` and `storage`. A folder is an export when its `manifest.json` is there: it is written last,
and names each file with its rows, its digest and what its columns mean. What was interrupted is begun again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import file_digest
from pathlib import Path

import msgspec
import pyarrow.parquet as pq

from catalog.sql.runner import run_sql
from catalog.sql.views import VIEWS, View
from storage.errors import Conflict, Invalid
from storage.lake import Lake

MANIFEST = "manifest.json"
UNFINISHED = ".exporting"
"""Marks a folder whose export did not end."""
SCHEMA = 1


class ExportedColumn(msgspec.Struct, frozen=True):
    """A column: its name, its Arrow type, and what it means."""

    name: str
    type: str
    comment: str


class ExportedView(msgspec.Struct, frozen=True):
    """One file of an export."""

    view: str
    file: str
    rows: int
    size_bytes: int
    sha256: str
    comment: str
    columns: tuple[ExportedColumn, ...]


class Manifest(msgspec.Struct, frozen=True):
    """What an export holds, and the log position that it is as of."""

    schema: int
    position: int
    exported_at: datetime
    views: tuple[ExportedView, ...]


def export_views(
    lake: Lake,
    folder: Path,
    *,
    clock: Callable[[], datetime],
    names: Sequence[str] = (),
    as_of: int | None = None,
    replace: bool = False,
    on_view: Callable[[ExportedView], None] = lambda view: None,
) -> Manifest:
    """Write the views called `names` (all if none) to `folder`; an earlier export only goes with `replace`."""
    chosen = _chosen(names)
    _make_room(folder, replace=replace)
    position = lake.position() if as_of is None else as_of
    written = []
    for view in chosen:
        written.append(_export(lake, view, folder, position))
        on_view(written[-1])
    manifest = Manifest(SCHEMA, position, clock(), tuple(written))
    _publish(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    (folder / UNFINISHED).unlink()
    return manifest


def _chosen(names: Sequence[str]) -> list[View]:
    known = {view.name: view for view in VIEWS}
    for name in names:
        if name not in known:
            raise Invalid(f"there is no view {name}", code="view-unknown", hint=f"one of: {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)] or list(known.values())


def _make_room(folder: Path, *, replace: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    unfinished, manifest = folder / UNFINISHED, folder / MANIFEST
    if any(folder.iterdir()) and (manifest.exists() or not unfinished.exists()):
        earlier = _earlier(manifest)
        if earlier is None or not replace:
            raise Conflict(
                f"{folder} holds {'something else' if earlier is None else 'an export already'}",
                code="export-folder",
                hint="choose an empty folder" if earlier is None else "replace it with --replace",
            )
        unfinished.touch()
        manifest.unlink()
        for written in earlier.views:
            (folder / Path(written.file).name).unlink(missing_ok=True)
    unfinished.touch()
    for view in VIEWS:
        for suffix in (".parquet", ".partial"):
            (folder / f"{view.name}{suffix}").unlink(missing_ok=True)


def _earlier(manifest: Path) -> Manifest | None:
    """The manifest of an export; None when there is none, or what is there is no manifest of ours."""
    try:
        return msgspec.json.decode(manifest.read_bytes(), type=Manifest)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _export(lake: Lake, view: View, folder: Path, position: int) -> ExportedView:
    path = folder / f"{view.name}.parquet"
    partial = path.with_suffix(".partial")
    rows = 0
    reader = run_sql(lake, f"SELECT * FROM {view.name}", as_of=position)  # noqa: S608 - one of our own names
    with pq.ParquetWriter(partial, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
    with partial.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    partial.replace(path)
    columns = tuple(
        ExportedColumn(field.name, str(field.type), view.columns.get(field.name, "")) for field in reader.schema
    )
    return ExportedView(view.name, path.name, rows, path.stat().st_size, digest, view.comment, columns)


def _publish(path: Path, data: bytes) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
