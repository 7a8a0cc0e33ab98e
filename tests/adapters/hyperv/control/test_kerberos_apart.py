"""The tests with Kerberos, in an environment that has its packages (`make kerberos`)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support import kdc

ROOT = Path(__file__).parents[4]
PYTHON = ROOT / "build" / "kerberos" / "bin" / "python"


def test_all_of_it_holds() -> None:
    """The tests of `test_kerberos` are run and pass there."""
    if not PYTHON.exists():
        pytest.skip("make kerberos sets the environment up")
    if absent := kdc.missing():
        pytest.skip(f"not installed: {', '.join(absent)}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [PYTHON, "-m", "pytest", "-q", "tests/adapters/hyperv/control/test_kerberos.py"]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-20_000:]
    assert "passed" in result.stdout, result.stdout[-20_000:]
