"""The same tests on the other major version of DuckDB, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import duckdb
import pytest

ROOT = Path(__file__).parents[3]
OTHER = ROOT / "build" / "duckdb-1" / "bin" / "python"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(duckdb.__version__.startswith("1."), reason="this is the other version")
def test_the_door_holds_on_the_other_major_version() -> None:
    """What holds on DuckDB 2 holds on DuckDB 1.5."""
    if not OTHER.exists():
        pytest.skip("make duckdb-1 sets the environment up")
    version = subprocess.run([OTHER, "-c", "import duckdb; print(duckdb.__version__)"], capture_output=True, check=True)
    assert version.stdout.startswith(b"1.5.")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [OTHER, "-m", "pytest", "-q", "-n", "2", "tests/security/sql"]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-20_000:]
