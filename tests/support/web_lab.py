"""A real home with something of everything that the page shows, and a real server over it. No simulator."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from tests.support.lab import KIB, MIB, Lab, make_image, write_at

HOSTILE = "<img src=x onerror=alert(1)>\u202e\u200bgpj"
"""What a machine's owner may call it: markup, a change of direction, and something unseen."""
ESCAPE = "\x1b[2J"


class WebLab:
    """Machines `web` (an incremental chain), `files` (a disk left out) and a hostile one; tokens by role."""

    def __init__(self, root: Path) -> None:
        self.lab = Lab(root)
        random = Random(11)
        self.web = self.lab.images / "web.raw"
        make_image(self.web, 4 * MIB, [(0, random.randbytes(MIB))])
        make_image(self.lab.images / f"{HOSTILE}.raw", MIB, [(0, random.randbytes(100 * KIB))])
        files = self.lab.images / "files"
        files.mkdir()
        make_image(files / "data.raw", MIB, [(0, random.randbytes(100 * KIB))])
        (files / "broken.qcow2").write_bytes(b"QFI\xfb" + bytes(60))
        self.lab.add_images()
        self.points: dict[str, list[str]] = {}
        for start in (0, MIB, 2 * MIB):
            write_at(self.web, start, random.randbytes(200 * KIB))
            for record in self.lab.run("backup", "lab", "--json").json():
                self.points.setdefault(record["machine"], []).append(record["restore_point"])
        self.lab.ok("verify", self.points["web"][0])
        self.lab.ok("forget", self.points["files"][0], "--reason", f"older than 90 days{ESCAPE}", "--yes")
        self.tokens = {role: self.token(role) for role in ("admin", "auditor", "analyst")}
        self.tokens["scoped"] = self.token("auditor", "--machines", "lab/web", name="scoped")

    def token(self, role: str, *options: str, name: str | None = None) -> str:
        """The secret of a new token."""
        return str(self.lab.json("token", "create", "--name", name or role, "--role", role, *options)["secret"])

    def point(self, machine: str = "web", number: int = -1) -> str:
        """The identifier of a restore point."""
        return self.points[machine][number]


@contextmanager
def serving(lab: Lab, port: int = 0) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A `holdfast serve` process: its address, and the process."""
    process = lab.start("serve", "--port", str(port), "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        head = b""
        while not head.rstrip().endswith(b"}"):
            line = process.stdout.readline()
            assert line, process.stderr.read().decode()
            head += line
        url: Any = json.loads(head)["url"]
        yield str(url).rstrip("/"), process
    finally:
        process.terminate()
        process.communicate(timeout=30)
