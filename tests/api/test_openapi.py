"""The committed document and its examples are what the code serves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from openapi_spec_validator import validate

from catalog.api.app import bare_app
from catalog.api.document import operations_of
from catalog.api.export import exported
from catalog.api.links import LINKS
from tests.support import api_examples

FOLDER = Path(__file__).parents[2] / "openapi"


def test_the_committed_document_is_the_served_one() -> None:
    """openapi.yaml has, byte for byte, what the code and the examples make; run `python -m catalog.api.export`."""
    assert (FOLDER / "openapi.yaml").read_bytes() == exported(FOLDER / "examples")


def test_the_document_is_valid() -> None:
    """The document is OpenAPI 3.1."""
    document = yaml.safe_load((FOLDER / "openapi.yaml").read_bytes())
    assert document["openapi"].startswith("3.1.")
    validate(document)


def test_every_operation_has_an_example() -> None:
    """No operation is without an example, and no example without its operation."""
    operations = {operation["operationId"] for operation in operations_of(bare_app().state.document)}
    assert {path.stem for path in (FOLDER / "examples").glob("*.json")} == operations


def test_links_lead_to_operations() -> None:
    """Each link is of an operation that is there, and gives parameters that its target has."""
    operations = {operation["operationId"]: operation for operation in operations_of(bare_app().state.document)}
    assert LINKS.keys() <= operations.keys()
    for links in LINKS.values():
        for target, parameters in links.items():
            known = {parameter["name"] for parameter in operations[target]["parameters"]}
            assert parameters.keys() <= known, target


@pytest.mark.slow
def test_examples_are_what_the_server_answers() -> None:
    """Each example gets the answer that it shows; else run `python -m tests.support.api_examples`."""
    for operation, found in api_examples.exchanges().items():
        assert json.loads((FOLDER / "examples" / f"{operation}.json").read_bytes()) == found, operation
