"""The notebooks run from the first cell to the last, on the history of a small real repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.support import lake_readers
from tests.support.lab import MIB, REPOSITORY, Lab

NOTEBOOKS = REPOSITORY / "notebooks"
TOURS = sorted(path.name for path in NOTEBOOKS.glob("*.py"))
HOLDFAST = Path(sys.executable).with_name("holdfast")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Two machines that share data, three points each, one verified, one synthetic full."""
    lab = Lab(tmp_path_factory.mktemp("notebooks"))
    shared = Random(1).randbytes(MIB)
    for name in ("web", "db"):
        (lab.images / f"{name}.raw").write_bytes(shared + Random(name).randbytes(MIB))
    lab.ok("source", "add", "lab", "--kind", "image", "--path", lab.images)
    for salt in range(3):
        lab.ok("backup", "lab")
        for name in ("web", "db"):
            with (lab.images / f"{name}.raw").open("r+b") as file:
                file.seek(salt * 256 * 1024)
                file.write(Random(f"{name}{salt}").randbytes(100_000))
    lab.ok("verify", "latest:web")
    lab.ok("synth", "web")
    return lab


@pytest.mark.slow
@pytest.mark.parametrize("name", TOURS)
def test_a_marimo_notebook_runs(name: str, lab: Lab) -> None:
    """Every cell of the notebook runs; run as a script, it fails as soon as one does."""
    _run(lab, {}, str(NOTEBOOKS / name))


@pytest.mark.slow
@pytest.mark.skipif(lake_readers.missing() is not None, reason=lake_readers.missing() or "")
def test_the_cookbook_runs(lab: Lab, tmp_path: Path) -> None:
    """DuckDB attaches the shared lake with the official extension, Polars reads it, and neither can write it."""
    path = NOTEBOOKS / "sql_cookbook.ipynb"
    assert not any(cell.get("outputs") for cell in json.loads(path.read_text())["cells"]), "outputs are not committed"
    variables = {
        "HOLDFAST_TWIN": str(tmp_path / "twin"),
        "HOLDFAST": str(HOLDFAST),
        "JUPYTER_RUNTIME_DIR": str(tmp_path),
    }
    text = _run(lab, variables, "-m", "tests.support.run_notebook", str(path), str(lake_readers.PYTHON))
    assert "restore_points" in text
    assert "InvalidInputException" in text


def _run(lab: Lab, variables: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "HOLDFAST_HOME": str(lab.home.root), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
