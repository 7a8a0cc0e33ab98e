"""The two ways that a pool's calls travel, and the difference between them: XML-RPC carries integers as strings."""

from __future__ import annotations

import json
from typing import Any
from xmlrpc.client import DateTime, dumps, loads

from tests.support.xapi.published import XapiFailure


def for_xml(value: Any) -> Any:
    """A value as XML-RPC carries it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, dict):
        return {name: for_xml(item) for name, item in value.items()}
    if isinstance(value, list):
        return [for_xml(item) for item in value]
    return "" if value is None else value


def xml(value: Any) -> str:
    """`<value>…</value>` as xapi writes it: without white space, strings without a tag of their own."""
    text = dumps((for_xml(value),)).partition("<param>")[2].partition("</param>")[0].strip()
    return text.replace(">\n<", "><").replace("<string>", "").replace("</string>", "")


class XmlRpc:
    content_type = "text/xml"

    @staticmethod
    def read(body: bytes) -> tuple[str, list[Any], Any]:
        """The method, the parameters, and what the answer must repeat."""
        parameters, method = loads(body)
        return method or "", list(parameters), method

    @staticmethod
    def success(value: Any, call: Any) -> bytes:
        return _response(value if call == "system.listMethods" else {"Status": "Success", "Value": value})

    @staticmethod
    def failure(failure: XapiFailure, _call: Any) -> bytes:
        return _response({"Status": "Failure", "ErrorDescription": failure.details})


class JsonRpc:
    content_type = "application/json"

    @staticmethod
    def read(body: bytes) -> tuple[str, list[Any], Any]:
        call = json.loads(body)
        return call["method"], list(call["params"]), call["id"]

    @staticmethod
    def success(value: Any, call: Any) -> bytes:
        return _json({"jsonrpc": "2.0", "id": call, "result": value})

    @staticmethod
    def failure(failure: XapiFailure, call: Any) -> bytes:
        error = {"code": 1, "message": failure.details[0], "data": failure.details[1:]}
        return _json({"jsonrpc": "2.0", "id": call, "error": error})


def _response(reply: Any) -> bytes:
    said = f"<methodResponse><params><param>{xml(reply)}</param></params></methodResponse>"
    return f'<?xml version="1.0"?>{said}'.encode()


def _json(value: Any) -> bytes:
    def date(item: Any) -> str:
        assert isinstance(item, DateTime)
        return str(item)

    return json.dumps(value, default=date).encode()
