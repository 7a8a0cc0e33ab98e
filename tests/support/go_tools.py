"""Programs in Go that tests compare us with, built once below `build/`. Skips when Go is not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
BUILD = REPOSITORY / "build" / "go"
VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"


def notecheck() -> Path:
    """The verifier of notes and proofs that uses the Go project's packages; see `notecheck/main.go`."""
    source = REPOSITORY / "tests" / "support" / "notecheck"
    return _built("notecheck", ["build", "-o", "{target}", "."], source)


def versitygw() -> Path:
    """An S3 server with object lock, over a directory."""
    return _built("versitygw", ["install", VERSITYGW], REPOSITORY)


def vcsim() -> Path:
    """The vCenter simulator of the govmomi project behind a command of ours; see `vcsim/main.go`."""
    return _built("vcsim", ["build", "-o", "{target}", "."], REPOSITORY / "tests" / "support" / "vcsim")


def _built(name: str, arguments: list[str], folder: Path) -> Path:
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed")
    target = BUILD / name
    if not target.exists():
        partial = BUILD / f".{name}.{os.getpid()}"
        partial.mkdir(parents=True, exist_ok=True)
        command = [go, *(argument.format(target=partial / name) for argument in arguments)]
        environment = {**os.environ, "GOBIN": str(partial)}
        for last in (False, False, True):  # the proxy of Go modules may hiccup, and Go does not ask again
            done = subprocess.run(command, cwd=folder, env=environment, check=last, stdout=subprocess.DEVNULL)
            if done.returncode == 0:
                break
        (partial / name).rename(target)
        partial.rmdir()
    return target
