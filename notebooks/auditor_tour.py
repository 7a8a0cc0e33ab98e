"""What an auditor asks: what is protected, where are gaps, was it read back, who looked, and can it be proven?

Run `make demo` first, or name another home with HOLDFAST_HOME; then `marimo edit notebooks/auditor_tour.py`.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="An auditor's tour")


@app.cell
def _():
    import json
    import os
    import subprocess
    import sys
    import tempfile
    from pathlib import Path

    import altair as alt
    import duckdb
    import marimo as mo

    return Path, alt, duckdb, json, mo, os, subprocess, sys, tempfile


@app.cell
def _(mo):
    mo.md("""
    # An auditor's tour

    The tables are a copy, exported as of one event; the proof at the end needs nothing but a file and a public key.
    """)
    return


@app.cell
def _(Path, duckdb, json, os, subprocess, sys, tempfile):
    home = os.environ.get("HOLDFAST_HOME", "build/demo/home")
    folder = Path(tempfile.mkdtemp(prefix="holdfast-audit-"))
    start = "from ingest.cli import main; main()"

    def holdfast(*arguments, accepted=(0,)):
        command = [sys.executable, "-c", start, "--home", home, *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode not in accepted:
            raise RuntimeError(done.stderr)
        return done

    holdfast("export-tables", str(folder / "tables"))
    manifest = json.loads((folder / "tables" / "manifest.json").read_text())
    con = duckdb.connect()
    for view in manifest["views"]:
        con.execute(f"CREATE VIEW {view['view']} AS FROM '{folder / 'tables' / view['file']}'")
    return con, folder, holdfast, manifest


@app.cell
def _(manifest, mo):
    mo.md(f"""
    **As of event {manifest["position"]}.** Each column is described in the manifest:
    {", ".join(view["view"] for view in manifest["views"])}.
    """)
    return


@app.cell
def _(mo):
    mo.md("""
    ## What is protected, and what is not

    A disk that cannot be protected is in the record with its reason and the way out: a proof that ignored it would lie.
    """)
    return


@app.cell
def _(con):
    con.sql("""
        SELECT m.source, m.name AS machine, d.label AS disk, d.size_bytes, d.tracking, d.excluded_reason, d.way_out
        FROM machines m JOIN disks d USING (machine_id) ORDER BY ALL
    """).pl()
    return


@app.cell
def _(mo):
    mo.md("""
    ## Coverage, day by day

    A day counts by when the catalog recorded the point, never by what a source claims.
    """)
    return


@app.cell
def _(alt, con, mo):
    days = con.sql("SELECT machine, day, state, points, gap_hours FROM coverage ORDER BY machine, day").pl()
    grid = (
        alt.Chart(days)
        .mark_rect()
        .encode(
            x=alt.X("yearmonthdate(day):O", title="day"),
            y=alt.Y("machine:N", title=None),
            color=alt.Color("state:N", title="state"),
            tooltip=["machine", "day", "state", "points", "gap_hours"],
        )
        .properties(width=600)
    )
    mo.ui.altair_chart(grid)
    return (days,)


@app.cell
def _(days):
    days
    return


@app.cell
def _(mo):
    mo.md("""
    ## Was it read back?

    A restore point that was never verified is a promise, not evidence.
    """)
    return


@app.cell
def _(con):
    con.sql("""
        SELECT machine, recorded_at, origin, result, verified_level, verified_result, verified_at
        FROM restore_points ORDER BY verified_at NULLS FIRST, recorded_at
    """).pl()
    return


@app.cell
def _(mo):
    mo.md("""
    ## What was deleted, by whom, and why?
    """)
    return


@app.cell
def _(con):
    con.sql("SELECT * FROM deletions ORDER BY position").pl()
    return


@app.cell
def _(mo):
    mo.md("""
    ## Who looked?

    Every call that changed or revealed something is an event of its own.
    """)
    return


@app.cell
def _(con):
    con.sql("""
        SELECT recorded_at, body->>'caller' AS caller, body->>'role' AS role, body->>'operation' AS operation,
            body->>'address' AS address, body->>'status' AS status
        FROM events WHERE topic LIKE 'AccessRecorded/%' ORDER BY position
    """).pl()
    return


@app.cell
def _(mo):
    mo.md("""
    ## Proof

    The log is a Merkle tree; a signed checkpoint fixes all of it. The bundle holds the machine's events of the period,
    their proofs and the checkpoint. Whoever has the public key checks it, without this catalog.

    It passes only when a later event of the machine closes the period: until then the last ones could be missing.
    """)
    return


@app.cell
def _(con, folder, holdfast, json):
    machine = con.sql("SELECT source || '/' || name FROM machines ORDER BY 1 LIMIT 1").fetchall()[0][0]
    days_of = "SELECT min(recorded_at)::DATE::VARCHAR, max(recorded_at)::DATE::VARCHAR FROM restore_points"
    first, last = con.sql(days_of).fetchall()[0]
    bundle, key = folder / "proof.bundle", holdfast("ledger", "key").stdout.strip()
    period = ["--from", first, "--to", last, "--rpo", "24h"]
    holdfast("prove", "coverage", "--machine", machine, *period, "-o", str(bundle), accepted=(0, 1))
    verdict = json.loads(holdfast("prove", "check", str(bundle), "--key", key, "--json", accepted=(0, 1)).stdout)
    verdict
    return bundle, key, verdict


@app.cell
def _(mo):
    mo.md("""
    ## A changed proof does not verify

    One flipped bit anywhere in the file is found.
    """)
    return


@app.cell
def _(bundle, folder, holdfast, key):
    forged = folder / "forged.bundle"
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    forged.write_bytes(data)
    refused = holdfast("prove", "check", str(forged), "--key", key, accepted=(4,)).stderr
    refused
    return


if __name__ == "__main__":
    app.run()
