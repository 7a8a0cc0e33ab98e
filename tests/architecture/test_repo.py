"""What a visitor of the repository must find."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer.main

from catalog.cli.app import app
from ingest.cli import main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "pyproject.toml",
        "uv.lock",
        ".gitignore",
        ".ci/run",
        "catalog/log/FORMAT.md",
        "storage/packs/FORMAT.md",
        "storage/chunks/FORMAT.md",
        "storage/lake/FORMAT.md",
    ],
)
def test_required_files_are_there(name: str) -> None:
    """The files that others rely on exist and say something."""
    assert (ROOT / name).stat().st_size > 0


def test_the_readme_knows_every_command() -> None:
    """Each command is mentioned, so that nobody must read code to find it."""
    readme = (ROOT / "README.md").read_text()
    assert callable(main)
    for name, command in typer.main.get_group(app).commands.items():
        names = [f"{name} {sub}" for sub in getattr(command, "commands", {})] or [name]
        for full in names:
            assert re.search(rf"\b{name}\b", readme), full


def test_the_documents_name_files_that_exist() -> None:
    """Paths in README and ARCHITECTURE lead somewhere."""
    for document in ("README.md", "ARCHITECTURE.md"):
        for path in re.findall(
            r"`((?:adapters|catalog|ingest|storage|tests)/[\w./-]+)`", (ROOT / document).read_text()
        ):
            assert (ROOT / path).exists(), f"{document}: {path}"


def test_the_console_script_is_ours() -> None:
    """`holdfast` is the name of the program."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"holdfast": "ingest.cli:main"}
