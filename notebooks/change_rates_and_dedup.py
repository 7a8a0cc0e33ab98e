"""How much changes, and how much deduplication saves: plots over exported tables, with Polars.

Run `make demo` first, or name another home with HOLDFAST_HOME; then `marimo edit notebooks/change_rates_and_dedup.py`.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Change rates and deduplication")


@app.cell
def _():
    import os
    import subprocess
    import sys
    import tempfile
    from pathlib import Path

    import altair as alt
    import marimo as mo
    import polars as pl

    return Path, alt, mo, os, pl, subprocess, sys, tempfile


@app.cell
def _(mo):
    mo.md("""
    # Change rates and deduplication

    `holdfast export-tables` writes the documented views as Parquet files. Nothing here asks the service or can
    change it: the files are a copy, as of one event.
    """)
    return


@app.cell
def _(Path, os, subprocess, sys, tempfile):
    home = os.environ.get("HOLDFAST_HOME", "build/demo/home")
    tables = Path(tempfile.mkdtemp(prefix="holdfast-tables-"))
    start = "from ingest.cli import main; main()"
    subprocess.run([sys.executable, "-c", start, "--home", home, "export-tables", str(tables)], check=True)
    return (tables,)


@app.cell
def _(pl, tables):
    def view(name):
        return pl.scan_parquet(tables / f"{name}.parquet")

    points = view("disk_points").sort("disk_id", "seq").collect()
    points.select("label", "seq", "level", "cause", "size_bytes", "changed_bytes", "stored_bytes", "recorded_at")
    return points, view


@app.cell
def _(mo):
    mo.md("""
    ## How much of a disk changes from one point to the next

    Fulls are left out: what they read is not change. The rate is changed bytes over the size of the disk.
    """)
    return


@app.cell
def _(alt, mo, pl, points):
    rates = points.filter(pl.col("level") == "incremental").with_columns(
        (pl.col("changed_bytes") / pl.col("size_bytes") * 100).alias("changed_percent")
    )
    rate_chart = (
        alt.Chart(rates.select("label", "seq", "changed_percent"))
        .mark_line(point=True)
        .encode(
            x=alt.X("seq:O", title="point"),
            y=alt.Y("changed_percent:Q", title="changed, % of the disk"),
            color=alt.Color("label:N", title="disk"),
            tooltip=["label", "seq", "changed_percent"],
        )
        .properties(width=600, height=240, title="Change rate")
    )
    mo.ui.altair_chart(rate_chart)
    return rate_chart, rates


@app.cell
def _(mo):
    mo.md("""
    ## What arrives, and what it costs

    Changed bytes are what the source had to give; stored bytes are what new chunks take in packs, after deduplication
    and compression. A synthetic full stores nothing.
    """)
    return


@app.cell
def _(alt, mo, pl, points):
    volumes = (
        points.select("seq", "label", changed="changed_bytes", stored="stored_bytes")
        .unpivot(index=["label", "seq"], variable_name="kind", value_name="bytes")
        .with_columns((pl.col("bytes") / 2**20).alias("mib"))
    )
    volume_chart = (
        alt.Chart(volumes)
        .mark_bar()
        .encode(
            x=alt.X("seq:O", title="point"),
            xOffset="kind:N",
            y=alt.Y("mib:Q", title="MiB"),
            color=alt.Color("kind:N", title=None),
            tooltip=["label", "seq", "kind", "mib"],
        )
        .properties(width=600, height=240, title="Changed and stored")
    )
    mo.ui.altair_chart(volume_chart)
    return (volume_chart,)


@app.cell
def _(mo):
    mo.md("""
    ## Deduplication

    Each row of `chunks` is a block that a point wrote; blocks with one digest share one chunk. The ratio is blocks over
    distinct chunks, by machine: what a machine shares with others counts for each of them.
    """)
    return


@app.cell
def _(pl, view):
    owners = view("disks").select("disk_id", "machine_id").join(view("machines"), on="machine_id")
    dedup = (
        view("chunks")
        .join(owners.select("disk_id", pl.col("name").alias("machine")), on="disk_id")
        .group_by("machine")
        .agg(
            pl.len().alias("blocks"),
            pl.col("digest").n_unique().alias("chunks"),
        )
        .with_columns((pl.col("blocks") / pl.col("chunks")).round(2).alias("ratio"))
        .sort("ratio", descending=True)
        .collect()
    )
    dedup
    return (dedup,)


@app.cell
def _(mo):
    mo.md("""
    ## The chunks that most blocks share

    A chunk that many points cite is the one whose loss would hurt most; `holdfast refs DIGEST` lists all that cite it.
    """)
    return


@app.cell
def _(pl, view):
    popular = (
        view("chunks")
        .group_by("digest")
        .agg(pl.len().alias("blocks"), pl.col("disk_id").n_unique().alias("disks"))
        .sort("blocks", "digest", descending=[True, False])
        .head(10)
        .with_columns(pl.col("digest").bin.encode("hex"))
        .collect()
    )
    popular
    return (popular,)


if __name__ == "__main__":
    app.run()
