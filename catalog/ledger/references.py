"""Secrets by reference: `env:NAME`, `file:PATH` or `command:PROGRAM ARGUMENTS`; imports `storage.errors` of ours.

Settings and events hold the reference, never the secret; no error shows what a reference led to.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from storage.errors import Denied, Invalid

MAX_SECRET_BYTES = 4096
COMMAND_SECONDS = 20
FORMS = ("env:", "file:", "command:")


def check_reference(text: str) -> str:
    """Return a reference. Raises Invalid `secret-reference` for anything else, a bare secret above all."""
    if not text.startswith(FORMS) or not text.partition(":")[2].strip():
        raise Invalid(
            "a secret is given by reference only",
            code="secret-reference",
            hint="env:NAME, file:PATH or command:PROGRAM ARGUMENTS",
        )
    return text


def resolve(reference: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the secret. Raises Denied `secret-missing`."""
    kind, _, rest = check_reference(reference).partition(":")
    try:
        if kind == "env":
            found = environ[rest].encode()
        elif kind == "file":
            with Path(rest).open("rb") as file:
                found = file.read(MAX_SECRET_BYTES + 1)
        else:
            found = _of_command(rest)
        secret = found.decode().strip()
    except (KeyError, OSError, ValueError, subprocess.SubprocessError) as error:
        raise _missing(reference, type(error).__name__) from None
    if not secret or len(found) > MAX_SECRET_BYTES:
        raise _missing(reference, "it is empty or too long")
    return secret


def _of_command(line: str) -> bytes:
    done = subprocess.run(shlex.split(line), capture_output=True, timeout=COMMAND_SECONDS, check=True)
    return done.stdout


def _missing(reference: str, why: str) -> Denied:
    return Denied(f"there is no secret behind {reference}", code="secret-missing", why=why)
