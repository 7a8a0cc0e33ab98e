"""The OpenAPI document: what the routes declare, with the schemas of the types that they encode.

Imports fastapi and `catalog.api.schema`. Made once, when the application is; what it declares is what is accepted.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from catalog.api.links import add_links
from catalog.api.problems import PROBLEM_TYPE, Problem
from catalog.api.schema import Responses, components, reference

VERSION = "1.0.0"
DESCRIPTION = (
    "Ask the backup catalog: machines, restore points, which chunk backs which block, what happened and the proof "
    "of it. Lists are of one log position; times are RFC 3339 UTC, sizes bytes, identifiers opaque. Clients ignore "
    "fields that they do not know; unknown parameters and body fields are refused."
)
OPEN: dict[str, Any] = {"security": []}
"""For routes that nobody needs to be known for."""
MAYBE_OPEN: dict[str, Any] = {"security": [{}, {"bearer": []}]}
"""For routes that ask who calls where other machines can connect."""
METHODS = ("get", "post", "delete", "put", "patch")

_CONTENT = {PROBLEM_TYPE: {"schema": reference(Problem)}}
PROBLEMS: Responses = {
    "4XX": {"description": "The request cannot be answered as it is (RFC 9457).", "content": _CONTENT},
    "5XX": {"description": "The server cannot answer (RFC 9457).", "content": _CONTENT},
}


def document_of(app: FastAPI) -> dict[str, Any]:
    """The document of an application, OpenAPI 3.1."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    parts = document.setdefault("components", {})
    parts["schemas"] = dict(sorted({**parts.get("schemas", {}), **components()}.items()))
    parts["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "A token made with `holdfast token create`, or one of the configured OIDC provider.",
        }
    }
    document["security"] = [{"bearer": []}]
    for operation in operations_of(document):
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = _given(parameter["schema"])
        add_links(operation)
    return document


def parameters_of(document: dict[str, Any]) -> dict[str, dict[str, bool]]:
    """Of each operation, the query parameters, and whether each may be repeated."""
    return {
        operation["operationId"]: {
            parameter["name"]: "array" in str(parameter["schema"].get("type", ""))
            for parameter in operation.get("parameters", ())
            if parameter["in"] == "query"
        }
        for operation in operations_of(document)
    }


def operations_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """All operations, in the order of the document."""
    return [item[method] for item in document["paths"].values() for method in METHODS if method in item]


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter that is given: a query has no null, it leaves the parameter out."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "title", "description")}
    return rest | kinds[0] if len(kinds) == 1 else rest
