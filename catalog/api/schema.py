"""What operations answer with, for the document: JSON Schemas from the very types that are encoded.

Imports msgspec and `catalog.answers`. `shows...` describe a successful answer where its route is declared.
"""

from __future__ import annotations

from typing import Any

import msgspec

from catalog.answers import MEDIA_TYPES, AnswerFormat
from catalog.api.negotiate import media_type

REF = "#/components/schemas/{name}"
Responses = dict[int | str, dict[str, Any]]

_SHOWN: dict[str, type] = {}

INDEX_HEADERS: dict[str, Any] = {
    "Catalog-Position": {
        "description": "The log position that the answer is of.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Catalog-Lag": {
        "description": "How many events the index was behind the log, the record of this call included.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Catalog-Time": {
        "description": "When the event at that position was recorded; absent at position 0.",
        "schema": {"type": "string", "format": "date-time"},
    },
    "ETag": {"description": "Entity tag; send it back as If-None-Match.", "schema": {"type": "string"}},
}
LINK_HEADER: dict[str, Any] = {
    "Link": {"description": 'The next page, rel="next"; absent on the last.', "schema": {"type": "string"}}
}
NOT_MODIFIED: dict[str, Any] = {"description": "The client has this answer already (If-None-Match)."}


def shows(answer: type, description: str, *, status: int = 200, tagged: bool = True) -> Responses:
    """One thing as JSON."""
    content = {media_type(AnswerFormat.JSON): {"schema": reference(answer)}}
    shown: Responses = {status: {"description": description, "content": content}}
    if tagged:
        shown[status]["headers"] = INDEX_HEADERS
        shown[304] = NOT_MODIFIED
    return shown


def shows_list(row: type, description: str) -> Responses:
    """A page of rows: JSON with `items`, `next`, `position` and `lag`; the other forms hold the rows alone."""
    schema = {
        "type": "object",
        "required": ["items", "next", "position", "lag"],
        "properties": {
            "items": {"type": "array", "items": reference(row)},
            "next": {"type": ["string", "null"], "description": "Pass it as `cursor` to go on."},
            "position": {"type": "integer", "minimum": 0},
            "lag": {"type": "integer", "minimum": 0},
        },
    }
    content = {media_type(AnswerFormat.JSON): {"schema": schema}, **_other_forms()}
    headers = INDEX_HEADERS | LINK_HEADER
    return {200: {"description": description, "content": content, "headers": headers}, 304: NOT_MODIFIED}


def shows_bulk(description: str, *, tagged: bool = True) -> Responses:
    """Rows as a stream; all forms but CSV end with the number of rows, so that a cut answer is seen."""
    schema = {
        "type": "object",
        "required": ["columns", "rows", "row_count", "truncated"],
        "properties": {
            "columns": {"type": "array", "items": {"type": "string"}},
            "rows": {"type": "array", "items": {"type": "object"}},
            "row_count": {"type": "integer", "minimum": 0},
            "truncated": {"type": "boolean", "description": "Whether there are more rows, which were not sent."},
        },
    }
    content = {media_type(AnswerFormat.JSON): {"schema": schema}, **_other_forms()}
    shown: Responses = {200: {"description": description, "content": content}}
    if tagged:
        shown[200]["headers"] = INDEX_HEADERS
        shown[304] = NOT_MODIFIED
    return shown


def shows_text(description: str, media: str = "text/plain") -> Responses:
    """Text, or a stream of server-sent events."""
    return {200: {"description": description, "content": {media: {"schema": {"type": "string"}}}}}


def reference(shown: type) -> dict[str, str]:
    """A reference to the schema of a type, which enters the document."""
    _SHOWN[shown.__name__] = shown
    return {"$ref": REF.format(name=shown.__name__)}


def components() -> dict[str, Any]:
    """The schemas of all types that were referred to."""
    _, found = msgspec.json.schema_components(list(_SHOWN.values()), ref_template=REF)
    return found


def _other_forms() -> dict[str, Any]:
    binary = {"type": "string", "format": "binary"}
    forms = {
        AnswerFormat.NDJSON: {"type": "string"},
        AnswerFormat.CSV: {"type": "string"},
        AnswerFormat.ARROW: binary,
        AnswerFormat.PARQUET: binary,
    }
    return {MEDIA_TYPES[form].partition(";")[0]: {"schema": schema} for form, schema in forms.items()}
