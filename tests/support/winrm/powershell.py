"""What the simulated host does with a command line. There is no PowerShell here: scripts are answered by their ids.

A call of our bootstrap is taken apart as the bootstrap itself would do it, and answered in its format; whatever else is
started is one of two commands that every Windows has, or is not found.
"""

from __future__ import annotations

import base64
import binascii
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adapters.hyperv.control.scripts import bootstrap_line, parse

Answer = Callable[[str, str, dict[str, Any]], object]
"""The world behind the host: from host name, script id and arguments to a script's answer."""

_LONGEST_LINE = 8191
PROGRESS = (
    b'#< CLIXML\r\n<Objs Version="1.1.0.1" xmlns="http://schemas.microsoft.com/powershell/2004/04">'
    b'<Obj S="progress" RefId="0"><TN RefId="0"><T>System.Management.Automation.PSCustomObject</T></TN><MS>'
    b'<I64 N="SourceId">1</I64><PR N="Record"><AV>Preparing modules for first use.</AV><AI>0</AI><Nil /><PI>-1</PI>'
    b"<PC>-1</PC><T>Completed</T><SR>-1</SR><SD> </SD></PR></MS></Obj></Objs>"
)


class ScriptFailure(Exception):
    """What a script ends with. Without a kind and a code it is an error of Windows, told by `hresult` or `native`."""

    def __init__(
        self, code: str | None, message: str, *, kind: str | None = "invalid", hresult: int = 0, native: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.kind = kind if code is not None else None
        self.hresult = hresult
        self.native = native


@dataclass(frozen=True)
class ScriptCall:
    """One script as it arrived."""

    script: str
    version: int
    arguments: dict[str, Any]
    nonce: str


@dataclass(frozen=True)
class Outcome:
    """What a process leaves behind."""

    stdout: bytes
    stderr: bytes = b""
    code: int = 0


def too_long(line: str) -> bool:
    """Whether cmd.exe refuses a line."""
    return len(line) > _LONGEST_LINE


def read_call(line: str, stdin: bytes) -> ScriptCall | None:
    """The script that a command line and its standard input start; None for something else. AssertionError if wrong."""
    words = line.split()
    if not words or words[0].lower() not in ("powershell", "powershell.exe"):
        return None
    options = [word.lower() for word in words[1:-2]]
    assert words[-2].lower() == "-encodedcommand", "the simulator knows encoded commands only"
    assert {"-noprofile", "-noninteractive"} <= set(options)
    assert base64.b64decode(words[-1]).decode("utf-16-le") == bootstrap_line(), "this is not the bootstrap"
    try:
        sent = json.loads(base64.b64decode("".join(stdin.decode("ascii").split()), validate=True))
    except (binascii.Error, ValueError) as error:
        raise AssertionError("the bootstrap cannot read what it was sent") from error
    script = parse(sent["body"])
    assert (script.id, script.version) == (sent["script"], sent["version"])
    return ScriptCall(script.id, script.version, sent["arguments"], sent["nonce"])


def run_call(call: ScriptCall, host: str, answer: Answer) -> Outcome:
    """Answer a script as the bootstrap would."""
    try:
        document: object = {"result": answer(host, call.script, call.arguments)}
        code = 0
    except ScriptFailure as failure:
        document = {
            "error": {
                "kind": failure.kind,
                "code": failure.code,
                "message": failure.message,
                "native": failure.native,
                "hresult": failure.hresult,
                "line": 7,
            }
        }
        code = 1
    text = base64.b64encode(json.dumps(document).encode())
    nonce = call.nonce.encode()
    return Outcome(b"HOLDFAST-BEGIN %s %d:%s:HOLDFAST-END %s" % (nonce, len(text), text, nonce), code=code)


def run_other(line: str, host: str) -> Outcome:
    """Run one of the other commands that are known."""
    words = shlex.split(line)
    match words:
        case ["echo", *rest]:
            return Outcome((" ".join(rest) + "\r\n").encode())
        case ["hostname"]:
            return Outcome(f"{host}\r\n".encode())
        case _:
            return Outcome(b"", f"'{line}' is not recognized as an internal or external command\r\n".encode(), 1)
