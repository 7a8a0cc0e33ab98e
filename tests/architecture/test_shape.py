"""Small files, small functions, and a word at the top of each file: so that a newcomer can read it all."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("adapters", "catalog", "ingest", "storage")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 70


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_modules_are_small_and_explained(path: Path) -> None:
    """A module has a docstring, at most 400 lines, and functions of at most 70."""
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "no docstring"
    assert len(text.splitlines()) <= MAX_FILE_LINES
    for function in _functions(tree):
        lines = (function.end_lineno or 0) - function.lineno + 1
        assert lines <= MAX_FUNCTION_LINES, f"{function.name} has {lines} lines"


@pytest.mark.parametrize("path", TESTS, ids=_name)
def test_every_test_states_its_guarantee(path: Path) -> None:
    """A test's docstring says what holds."""
    for function in _functions(ast.parse(path.read_text())):
        if function.name.startswith("test_"):
            assert ast.get_docstring(function), f"{function.name} has no docstring"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_nothing_is_left_for_later(path: Path) -> None:
    """No marks of unfinished work, and no exception to a check without its reason."""
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        assert not re.search(r"\b(TODO|FIXME|XXX)\b", line), number
        for mark in ("# noqa", "# type: ignore"):
            if mark in line:
                assert re.search(re.escape(mark) + r"[^#]*(- | {2}# )\w", line), f"{number}: {mark} without a reason"
