"""Puts the stand-in for nbdkit's vddk plugin in the place of the real one: `nbdkit vddk …` runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.nbd_peers import need

PLUGINS = Path("/usr/lib/x86_64-linux-gnu/nbdkit/plugins")
STAND_IN = Path(__file__).with_name("vddk_stand_in.py")
SHIM = """#!/bin/sh
for word; do
    shift
    case $word in
        vddk) set -- "$@" python {script} stand_in={folder} ;;
        *) set -- "$@" "$word" ;;
    esac
done
exec {nbdkit} "$@"
"""


class VddkStandIn:
    """What the stand-in serves (`disk`) and was told (`told`). Real nbdkit, real NBD, no VDDK."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        need("nbdkit")
        if not (PLUGINS / "nbdkit-python-plugin.so").exists():
            pytest.skip("nbdkit's Python plugin is not installed")
        self.folder = folder
        self.vddk_dir = folder / "vmware-vix-disklib-distrib"
        self.vddk_dir.mkdir(parents=True)
        (folder / "bin").mkdir()
        shim = folder / "bin" / "nbdkit"
        shim.write_text(SHIM.format(script=STAND_IN, folder=folder, nbdkit=shutil.which("nbdkit")))
        shim.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder / "bin"), prepend=":")
        self.knobs()

    def disk(self, content: bytes) -> None:
        """Serve this."""
        (self.folder / "disk").write_bytes(content)

    def knobs(self, **knobs: Any) -> None:
        """Set what goes otherwise than well."""
        (self.folder / "knobs.json").write_text(json.dumps(knobs))

    def told(self) -> dict[str, Any]:
        """Return the arguments of the last opening."""
        told: dict[str, Any] = json.loads((self.folder / "told.json").read_text())
        return told
