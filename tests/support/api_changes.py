"""What would break a client between two OpenAPI documents: things removed, and things newly required. No simulator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

METHODS = ("get", "post", "delete", "put", "patch")
Json = dict[str, Any]


def breaking(old: Json, new: Json) -> list[str]:
    """One line for each operation, answer or field of `old` that `new` lacks, and for each new demand on requests."""
    return list(_paths(old, new))


def _paths(old: Json, new: Json) -> Iterator[str]:
    for path, item in old["paths"].items():
        for method in METHODS:
            if method not in item:
                continue
            here = f"{method.upper()} {path}"
            now = new["paths"].get(path, {}).get(method)
            if now is None:
                yield f"{here}: gone"
            else:
                yield from _operation(here, (old, item[method]), (new, now))


def _operation(here: str, old: tuple[Json, Json], new: tuple[Json, Json]) -> Iterator[str]:
    was, now = _parameters(old[1]), _parameters(new[1])
    for name in was.keys() - now.keys():
        yield f"{here}: parameter {name} gone"
    for name, required in now.items():
        if required and not was.get(name):
            yield f"{here}: parameter {name} required"
    for status, answer in old[1]["responses"].items():
        if status not in new[1]["responses"]:
            yield f"{here}: answer {status} gone"
            continue
        then = new[1]["responses"][status].get("content", {})
        for media, shown in answer.get("content", {}).items():
            if media not in then:
                yield f"{here}: {status} as {media} gone"
            else:
                place = f"{here}: {status}"
                yield from _answered(place, (old[0], shown["schema"]), (new[0], then[media]["schema"]), ())
    yield from _asked(here, (old[0], _body(old[1])), (new[0], _body(new[1])))


def _answered(here: str, old: tuple[Json, Json], new: tuple[Json, Json], inside: tuple[str, ...]) -> Iterator[str]:
    """Fields of an answer that are gone, or not promised any more."""
    name = old[1].get("$ref", "")
    if name and name in inside:
        return
    was, now = _resolved(*old), _resolved(*new)
    for field, schema in was.get("properties", {}).items():
        if field not in now.get("properties", {}):
            yield f"{here}: field {field} gone"
        else:
            yield from _answered(
                f"{here} {field}", (old[0], schema), (new[0], now["properties"][field]), (*inside, name)
            )
    for field in set(was.get("required", ())) & now.get("properties", {}).keys() - set(now.get("required", ())):
        yield f"{here}: field {field} not always there"
    if "items" in was and "items" in now:
        yield from _answered(f"{here}[]", (old[0], was["items"]), (new[0], now["items"]), (*inside, name))


def _asked(here: str, old: tuple[Json, Json], new: tuple[Json, Json]) -> Iterator[str]:
    """Fields of a body that are gone, or required now."""
    was, now = _resolved(*old), _resolved(*new)
    for field in was.get("properties", {}).keys() - now.get("properties", {}).keys():
        yield f"{here}: body field {field} gone"
    for field in set(now.get("required", ())) - set(was.get("required", ())):
        yield f"{here}: body field {field} required"


def _parameters(operation: Json) -> dict[str, bool]:
    return {f"{one['name']} in {one['in']}": one.get("required", False) for one in operation.get("parameters", ())}


def _body(operation: Json) -> Json:
    content: Json = operation.get("requestBody", {}).get("content", {})
    schema: Json = content.get("application/json", {}).get("schema", {})
    return schema


def _resolved(document: Json, schema: Json) -> Json:
    if "$ref" not in schema:
        return schema
    found: Json = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found
