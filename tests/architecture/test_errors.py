"""Every failure a person may meet has a kind and a code that scripts can rely on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import adapters.errors
import storage.errors
from adapters.errors import AdapterError
from storage.errors import EXIT_CODES, HoldfastError

ROOT = Path(__file__).parents[2]
PACKAGES = ("adapters", "catalog", "ingest", "storage")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def _all(base: type[Exception]) -> Iterator[type[Exception]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _all(kind)


ERRORS = {kind.__name__: kind for base in (HoldfastError, AdapterError) for kind in _all(base)}


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_every_error_has_a_kind(name: str) -> None:
    """A kind is one of the seven, so that it has an exit code."""
    assert ERRORS[name].kind in EXIT_CODES  # type: ignore[attr-defined]  # all have it: that is the test


def test_the_seven_kinds_are_the_same_on_both_sides() -> None:
    """Adapters import nothing of ours, so their kinds stand a second time; they must be the same seven."""
    ours = {kind.kind for kind in HoldfastError.__subclasses__() if kind.__module__ == storage.errors.__name__}
    theirs = {kind.kind for kind in AdapterError.__subclasses__() if kind.__module__ == adapters.errors.__name__}
    assert ours == theirs == set(EXIT_CODES)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_error_is_made_with_a_code(path: Path) -> None:
    """Wherever one of our errors is made it gets a code in kebab-case."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in ERRORS:
            continue
        codes = [keyword.value for keyword in node.keywords if keyword.arg in ("code", None)]
        assert codes, f"line {node.lineno}: {node.func.id} without a code"
        for code in codes:
            if isinstance(code, ast.Constant):
                assert CODE.fullmatch(str(code.value)), f"line {node.lineno}: {code.value!r} is not kebab-case"
