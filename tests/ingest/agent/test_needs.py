"""What an agent must have installed: no server, no database, no repository."""

from __future__ import annotations

import subprocess
import sys

from tests.support.lab import REPOSITORY

HEAVY = (
    "duckdb",
    "pyarrow",
    "fastapi",
    "starlette",
    "uvicorn",
    "httpx",
    "eventsourcing",
    "catalog.log",
    "storage.chunks",
)


def test_the_command_loads_little() -> None:
    """The agent's command loads neither what serves nor what stores."""
    program = "import sys; from ingest.cli.main import register; register(['agent']); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "ingest.agent.session" in loaded
    assert loaded.isdisjoint(HEAVY)
