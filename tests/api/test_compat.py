"""Nothing that a client of the last released document relies on is taken away."""

from __future__ import annotations

import copy
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types

from catalog.api.app import bare_app
from tests.support.api_changes import breaking

ROOT = Path(__file__).parents[2]
ROW = {"type": "object", "required": ["id"], "properties": {"id": {}, "next": {"$ref": "#/components/schemas/Row"}}}
SMALL: dict[str, Any] = {
    "paths": {
        "/rows": {
            "get": {
                "parameters": [{"name": "limit", "in": "query"}],
                "responses": {
                    "200": {
                        "content": {
                            "application/json": {
                                "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Row"}}
                            }
                        }
                    }
                },
            },
            "post": {
                "requestBody": {"content": {"application/json": {"schema": {"properties": {"name": {}, "size": {}}}}}},
                "responses": {"201": {}},
            },
        }
    },
    "components": {"schemas": {"Row": ROW}},
}


def _body(document: Any) -> Any:
    return document["paths"]["/rows"]["post"]["requestBody"]["content"]["application/json"]["schema"]


def _get(document: Any) -> Any:
    return document["paths"]["/rows"]["get"]


def _row(document: Any) -> Any:
    return document["components"]["schemas"]["Row"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda new: new["paths"].clear(), ["GET /rows: gone", "POST /rows: gone"]),
        (lambda new: new["paths"]["/rows"].pop("post"), ["POST /rows: gone"]),
        (lambda new: _get(new)["parameters"].clear(), ["GET /rows: parameter limit in query gone"]),
        (
            lambda new: _get(new)["parameters"].append({"name": "q", "in": "query", "required": True}),
            ["GET /rows: parameter q in query required"],
        ),
        (lambda new: _get(new)["responses"].pop("200"), ["GET /rows: answer 200 gone"]),
        (
            lambda new: _get(new)["responses"]["200"]["content"].clear(),
            ["GET /rows: 200 as application/json gone"],
        ),
        (lambda new: _row(new)["properties"].pop("id"), ["GET /rows: 200[]: field id gone"]),
        (lambda new: _row(new)["required"].clear(), ["GET /rows: 200[]: field id not always there"]),
        (lambda new: _body(new)["properties"].pop("size"), ["POST /rows: body field size gone"]),
        (lambda new: _body(new).update(required=["name"]), ["POST /rows: body field name required"]),
    ],
)
def test_what_would_break_a_client_is_found(change: Callable[[Any], object], found: list[str]) -> None:
    """What is removed from paths, parameters, answers and bodies, or newly required of requests, is told."""
    new = copy.deepcopy(SMALL)
    change(new)
    assert breaking(SMALL, new) == found


def test_what_is_added_breaks_nobody() -> None:
    """New operations, optional parameters and fields are no changes that a client must know of."""
    new = copy.deepcopy(SMALL)
    new["paths"]["/more"] = {"get": {"responses": {}}}
    _get(new)["parameters"].append({"name": "q", "in": "query"})
    _row(new)["properties"]["more"] = {}
    _row(new)["required"].append("more")
    _body(new)["properties"]["more"] = {}
    assert breaking(SMALL, new) == []


def test_clients_of_the_last_release_are_not_broken() -> None:
    """The document serves who was written for the last release; there may be none yet."""
    named = re.findall(r"^## \[?v?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    tags = _git("tag", "--list", "v*").split()
    released = [version for version in named if f"v{version}" in tags]
    # A version that is being released is named before it is tagged.
    assert released or len(named) <= 1, "fetch the tags"
    new = bare_app().state.document
    for version in released[:1]:
        assert breaking(yaml.safe_load(_git("show", f"v{version}:openapi/openapi.yaml")), new) == []
    # The real document is compared in depth: it has what it has, and a field that it loses is missed.
    assert breaking(new, new) == []
    less = copy.deepcopy(new)
    del less["components"]["schemas"]["PointRow"]["properties"]["position"]
    assert "GET /v1/restore-points/{restore_point}: 200: field position gone" in breaking(new, less)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, cwd=ROOT, check=True, text=True).stdout
