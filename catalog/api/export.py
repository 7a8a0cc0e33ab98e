"""`python -m catalog.api.export`: writes openapi/openapi.yaml, the document with its examples.

Imports `catalog.api` and PyYAML. The same code and examples give the same bytes. Examples are exchanges with a real
server, kept in openapi/examples/, a file for each operation.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import yaml  # type: ignore[import-untyped]  # it has no types

from catalog.api.app import bare_app
from catalog.api.document import METHODS

FOLDER = Path("openapi")
FILE = FOLDER / "openapi.yaml"
EXAMPLES = FOLDER / "examples"

Json = dict[str, Any]


def exported(examples: Path) -> bytes:
    """The document as YAML, with the examples of a folder."""
    document = copy.deepcopy(bare_app().state.document)
    for path, method, operation in _operations(document):
        file = examples / f"{operation['operationId']}.json"
        if file.exists():
            for exchange in json.loads(file.read_bytes())["exchanges"]:
                add_example(operation, path, exchange)
        elif operation.get("security") != []:
            raise FileNotFoundError(f"no example of {method} {path}: {file}")
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    return text.encode()


def add_example(operation: Json, path: str, exchange: Mapping[str, Any]) -> None:
    """Put an exchange into the description of its operation: parameters, body and answer."""
    request, response, name = exchange["request"], exchange["response"], exchange["name"]
    given = _parameters(path, request["path"])
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in given and response["status"] < 400:
            parameter.setdefault("examples", {})[name] = {"value": given[parameter["name"]]}
    if "body" in request:
        for content in operation["requestBody"]["content"].values():
            content.setdefault("examples", {})[name] = {"value": request["body"]}
    if "body" in response:
        media = response["content_type"].partition(";")[0]
        described = operation["responses"].get(str(response["status"])) or operation["responses"]["4XX"]
        described["content"][media].setdefault("examples", {})[name] = {"value": response["body"]}


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def _parameters(template: str, target: str) -> dict[str, str]:
    """The parameters of a request by name: of its path, and of its query."""
    parts = urlsplit(target)
    names = re.findall(r"{(\w+)}", template)
    pattern = re.sub(r"{\w+}", "([^/]+)", template)
    found = re.fullmatch(pattern, parts.path)
    values = [unquote(value) for value in found.groups()] if found else []
    return dict(zip(names, values, strict=False)) | dict(parse_qsl(parts.query))


if __name__ == "__main__":
    FILE.write_bytes(exported(EXAMPLES))
