"""`holdfast export-tables` and `holdfast share-lake`: the index for programs that read Parquet or DuckLake themselves.

Imports `catalog.exports` and `storage.lake`. Both are for people who may see everything: neither knows of scopes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catalog.cli.app import JsonOption, app, home_of
from catalog.cli.output import human_bytes, print_record, print_rows, say
from catalog.exports import ExportedView, export_views
from catalog.runtime import Catalog
from storage.lake.share import share_lake


@app.command("export-tables")
def export_tables(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    view: Annotated[list[str] | None, typer.Option("--view", help="Only this view; may be repeated.")] = None,
    as_of: Annotated[int | None, typer.Option(metavar="POSITION", help="As the catalog stood there.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an earlier export.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the views as Parquet files, with a manifest that describes them."""
    with Catalog.opened(home_of(context)) as catalog:
        catalog.catch_up()
        manifest = export_views(
            catalog.lake,
            folder,
            clock=catalog.clock,
            names=view or (),
            as_of=as_of,
            replace=replace,
            on_view=_tell,
        )
    rows = [{"file": str(folder / one.file), "rows": one.rows, "size_bytes": one.size_bytes} for one in manifest.views]
    print_rows(rows, ["file", "rows", "size_bytes"], as_json=as_json)
    say(f"as of event {manifest.position}")


def _tell(view: ExportedView) -> None:
    say(f"{view.view}: {view.rows} rows, {human_bytes(view.size_bytes)}")


@app.command("share-lake")
def share_lake_command(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    as_json: JsonOption = False,
) -> None:
    """Lay out a read-only twin of the lake for DuckLake readers, or renew it."""
    with Catalog.opened(home_of(context)) as catalog:
        position = catalog.catch_up()
        report = share_lake(catalog.lake.catalog, folder)
    record = {
        "attach": f"ducklake:sqlite:{folder.absolute() / 'lake.sqlite'}",
        "position": position,
        "files": report.files,
        "size_bytes": report.size_bytes,
        "added": report.added,
        "removed": report.removed,
    }
    print_record(record, as_json=as_json)
