"""What is sent to the bootstrap, and what comes back. Imports `adapters.errors` and this package.

Arguments go as base64 of UTF-8 JSON, so that no code page and no quoting touches them. An answer stands between two
marks with the nonce of its call and says how long it is: it is read whole, or not at all.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.hyperv.control.failures import clean, script_error
from adapters.hyperv.control.scripts import Script, bootstrap_line

_ERROR_RECORD = re.compile(r'<S S="Error">(.*?)</S>', re.DOTALL)


class Unreadable(Exception):
    """No whole answer is there; the text says what is there instead."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a process wrote, and its exit code."""

    stdout: bytes
    stderr: bytes
    code: int


def command_line() -> tuple[str, tuple[str, ...]]:
    """The program and its arguments: the same for every script."""
    encoded = base64.b64encode(bootstrap_line().encode("utf-16-le")).decode()
    return "powershell.exe", ("-NoProfile", "-NonInteractive", "-EncodedCommand", encoded)


def standard_input(script: Script, arguments: Mapping[str, object], nonce: str) -> bytes:
    """What the bootstrap reads."""
    call = {
        "script": script.id,
        "version": script.version,
        "nonce": nonce,
        "body": script.body,
        "arguments": dict(arguments),
    }
    return base64.b64encode(json.dumps(call).encode())


def read_answer(output: Output, script: Script, nonce: str, host: str) -> Any:
    """The result of a call. Raises the script's failure as an AdapterError, and Unreadable."""
    document = _document(output.stdout, nonce.encode())
    if document is None:
        raise Unreadable(_instead(output))
    if "result" in document:
        return document["result"]
    error = document.get("error")
    raise script_error(error if isinstance(error, dict) else {}, script.id, host)


def _document(stdout: bytes, nonce: bytes) -> dict[str, Any] | None:
    """The JSON object between the marks; None when it is not there, cut off, or no JSON."""
    begin = re.search(rb"HOLDFAST-BEGIN %s (\d{1,12}):" % re.escape(nonce), stdout)
    if begin is None:
        return None
    end = begin.end() + int(begin[1])
    if not stdout.startswith(b":HOLDFAST-END " + nonce, end):
        return None
    try:
        found = json.loads(base64.b64decode(stdout[begin.end() : end], validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _instead(output: Output) -> str:
    """What a process wrote in the place of an answer, in a few words; progress records are no words."""
    errors = output.stderr.decode("utf-8", "replace")
    if errors.startswith("#< CLIXML"):
        records = "".join(_ERROR_RECORD.findall(errors)).replace("_x000D__x000A_", "\n")
        errors = html.unescape(records)
    said = clean(errors) or clean(output.stdout[:1000].decode("utf-8", "replace"))
    return f"exit code {output.code}" + (f": {said}" if said else "")
