"""The official DuckLake extension, in its own environment because it fits one DuckDB release only."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = REPOSITORY / "build" / "lake-readers"
PYTHON = ENVIRONMENT / "bin" / "python"

_RUN = """
import datetime, glob, json, os, sys
import duckdb
packages = os.path.dirname(os.path.dirname(duckdb.__file__))
con = duckdb.connect()
for name in ("sqlite_scanner", "ducklake"):
    pattern = f"{packages}/duckdb_extension_{name}/extensions/*/{name}.duckdb_extension"
    con.execute(f"LOAD '{glob.glob(pattern)[0]}'")
con.execute(f"ATTACH 'ducklake:sqlite:{sys.argv[1]}' AS lake")
con.execute("USE lake")
def plain(value):
    return {"hex": value.hex()} if isinstance(value, bytes) else str(value)
out = [con.execute(sql).fetchall() for sql in json.load(sys.stdin)]
json.dump(out, sys.stdout, default=plain)
"""


@cache
def missing() -> str | None:
    """Why the extension cannot be used here; None when it can. Creates its environment when uv is there."""
    if PYTHON.exists():
        return None
    if not (uv := os.environ.get("UV") or shutil.which("uv")):
        return "no build/lake-readers environment, and no uv to make it"
    done = subprocess.run(
        [uv, "sync", "--locked", "--only-group", "lake-readers", "--quiet"],
        cwd=REPOSITORY,
        env={**os.environ, "UV_PROJECT_ENVIRONMENT": str(ENVIRONMENT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return None if done.returncode == 0 else f"build/lake-readers could not be made: {done.stderr.strip()[:200]}"


def ask(catalog: Path, statements: Sequence[str]) -> list[list[list[Any]]]:
    """Attach the lake in a fresh process, run the statements, return their rows; blobs come as {"hex": ...}."""
    done = subprocess.run(
        [str(PYTHON), "-c", _RUN, str(catalog)],
        input=json.dumps(list(statements)),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    answers: list[list[list[Any]]] = json.loads(done.stdout)
    return answers
