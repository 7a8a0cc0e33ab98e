"""The scripts that run on hosts, as they lie in the package. Imports nothing of ours.

A script's header says who it is and whether it changes anything: that is the one place where it is said.
`scripts/README.md` describes the format.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

Effect = Literal["none", "changes"]

_HEADER = re.compile(
    r"# holdfast-script: (?P<id>[a-z][a-z0-9-]*)\n"
    r"# version: (?P<version>[1-9][0-9]*)\n"
    r"# effect: (?P<effect>none|changes)\n"
)


@dataclass(frozen=True, slots=True)
class Script:
    """One script; `effect` says whether it may be run again when its answer was lost."""

    id: str
    version: int
    effect: Effect
    body: str


@cache
def load(script: str) -> Script:
    """Read a script of the package by its id. Raises LookupError for one that is not there, or is not one."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*", script):
        raise LookupError(f"{script!r} is no name of a script")
    try:
        body = (files("adapters.hyperv") / "scripts" / f"{script}.ps1").read_text("ascii")
    except FileNotFoundError:
        raise LookupError(f"there is no script {script}") from None
    return parse(body)


def parse(body: str) -> Script:
    """Read a script's header. Raises LookupError for a text without one."""
    found = _HEADER.match(body)
    if found is None:
        raise LookupError("the text does not begin with a script's header")
    effect: Effect = "changes" if found["effect"] == "changes" else "none"
    return Script(found["id"], int(found["version"]), effect, body)


def names() -> list[str]:
    """The ids of all scripts of the package, the bootstrap left out."""
    found = (entry.name for entry in (files("adapters.hyperv") / "scripts").iterdir())
    return sorted(name.removesuffix(".ps1") for name in found if name.endswith(".ps1") and name != "bootstrap.ps1")


@cache
def bootstrap_line() -> str:
    """The bootstrap as it goes in a command line: without comments and indentation."""
    lines = (line.strip() for line in load("bootstrap").body.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))
