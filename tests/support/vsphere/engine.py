"""The QEMU process behind the simulator's disks: its devices take the guests' writes, its bitmaps tell where.

Every disk is a filter node of its own name above a chain of layers; the filter stays while snapshots come and go
below it, and so do the dirty bitmaps on it. One process serves all machines and is ended by its handle.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import RLock

from adapters.errors import SourceUnavailable
from adapters.qemu.qmp import Json, Qmp
from tests.support.eventually import eventually

GRANULARITY_BYTES = 65536
Area = tuple[int, int]
"""First byte and length in bytes."""

_GROUP = "filters"
_EXPORT = "changes"
_SECONDS = 240.0
"""A machine that is starved, or whose disk is, is no failure of QEMU; one that died is heard at once."""


class DiskEngine:
    """QEMU without a machine (`-M none`) in `directory`, spoken to over QMP."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._log = directory / "qemu.log"
        self._data = directory / "data"
        self._nbd = directory / "nbd"
        self._lock = RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._qmp: Qmp | None = None

    @property
    def pid(self) -> int:
        """The process, for tests that look for what is left of it."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start QEMU and its NBD server."""
        socket = self._directory / "qmp"
        command = ["qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none", "-S"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "-qmp", f"unix:{socket},server=on,wait=off"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._qmp = eventually(lambda: self._connect(socket), "QEMU answers", seconds=_SECONDS)
        self._qmp.execute("object-add", {"qom-type": "throttle-group", "id": _GROUP})
        self._qmp.execute("nbd-server-start", {"addr": {"type": "unix", "data": {"path": str(self._nbd)}}})

    def end(self) -> None:
        """End QEMU; ending twice is harmless."""
        if self._qmp is not None:
            self._qmp.close()
            self._qmp = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def scratch(self, name: str) -> Path:
        """A file for something that passes by."""
        return self._directory / f"{name}.scratch"

    # --- the block graph ---

    def attach(self, disk: str, node: str, flat: Path) -> None:
        """Open a raw file as `node`, and the disk's filter above it."""
        with self._lock:
            self._execute("blockdev-add", {"driver": "raw", "node-name": node, **_on_file(flat)})
            self._execute("blockdev-add", _filter(disk, node))

    def detach(self, disk: str, nodes: Sequence[str]) -> None:
        """Close the disk and its layers, from the top one down; its bitmaps go with it."""
        with self._lock:
            for name in (disk, *nodes):
                self._execute("blockdev-del", {"node-name": name})

    def open_overlay(self, node: str, path: Path, size_bytes: int, backing: str | None = None) -> None:
        """Create a qcow2 file and open it as `node`; without `backing` it is to be put on a disk by `transact`."""
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), str(size_bytes)], check=True)
        self._execute("blockdev-add", {"driver": "qcow2", "node-name": node, "backing": backing, **_on_file(path)})

    def transact(self, actions: Sequence[Json]) -> None:
        """Do several things at one moment: no guest's write comes between them."""
        self._execute("transaction", {"actions": list(actions)})

    def stand_on(self, disk: str, node: str, dropped: str) -> None:
        """Put the disk on another layer and close the one that it stood on: what was written there is lost."""
        with self._lock:
            self._execute("blockdev-reopen", {"options": [_filter(disk, node)]})
            self._execute("blockdev-del", {"node-name": dropped})

    def commit(self, disk: str, top: str, base: str) -> None:
        """Write what the layer `top` holds into the one below it, and close `top`."""
        with self._lock:
            job = {"job-id": "commit", "device": disk, "top-node": top, "base-node": base, "auto-dismiss": False}
            self._execute("block-commit", job)
            if self._wait_job("commit", "ready", "concluded") == "ready":
                self._execute("block-job-complete", {"device": "commit"})
                self._wait_job("commit", "concluded")
            self._execute("job-dismiss", {"id": "commit"})
            self._execute("blockdev-del", {"node-name": top})

    def resize(self, disk: str, size_bytes: int) -> None:
        """Resize the disk and the layer it stands on."""
        self._execute("block_resize", {"node-name": disk, "size": size_bytes})

    # --- what a guest does ---

    def write(self, disk: str, offset: int, data: bytes) -> None:
        """Write as a guest would."""
        with self._lock:
            self._data.write_bytes(data)
            printed = self._io(disk, f"write -s {self._data} {offset} {len(data)}")
        assert f"wrote {len(data)}/{len(data)}" in printed, printed

    def discard(self, disk: str, offset: int, length: int) -> None:
        """Discard as a guest would."""
        printed = self._io(disk, f"discard {offset} {length}")
        assert f"discard {length}/{length}" in printed, printed

    def flush(self, disk: str) -> None:
        """Bring the metadata of the disk's layers into their files."""
        self._io(disk, "flush")

    # --- dirty bitmaps ---

    def remove_bitmap(self, disk: str, name: str) -> None:
        """Forget a bitmap."""
        self._execute("block-dirty-bitmap-remove", {"node": disk, "name": name})

    def dirty(self, disk: str, bitmaps: Sequence[str]) -> list[Area]:
        """List what any of the bitmaps has as dirty, in order; QEMU merges them, and `qemu-img map` reads them."""
        if not bitmaps:
            return []
        with self._lock:
            added = {"node": disk, "name": _EXPORT, "granularity": GRANULARITY_BYTES, "disabled": True}
            self._execute("block-dirty-bitmap-add", added)
            self._execute("block-dirty-bitmap-merge", {"node": disk, "target": _EXPORT, "bitmaps": list(bitmaps)})
            export = {"type": "nbd", "id": _EXPORT, "node-name": disk, "name": _EXPORT, "bitmaps": [_EXPORT]}
            self._execute("block-export-add", export)
            try:
                image = f"driver=nbd,export={_EXPORT},server.type=unix,server.path={self._nbd}"
                shown = _map("--image-opts", f"{image},x-dirty-bitmap=qemu:dirty-bitmap:{_EXPORT}")
            finally:
                self._execute("block-export-del", {"id": _EXPORT, "mode": "hard"})
                self._wait_event("BLOCK_EXPORT_DELETED", lambda data: data.get("id") == _EXPORT)
                self.remove_bitmap(disk, _EXPORT)
        return [(entry["start"], entry["length"]) for entry in shown if not entry["data"]]

    def _connect(self, socket: Path) -> Qmp | None:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        try:
            return Qmp(socket, greeting_seconds=_SECONDS, command_seconds=_SECONDS)
        except SourceUnavailable:
            return None

    def _execute(self, command: str, arguments: Json) -> None:
        assert self._qmp is not None
        self._qmp.execute(command, arguments)

    def _io(self, disk: str, command: str) -> str:
        """Run a qemu-io command; QEMU prints its outcome to its own output."""
        assert self._qmp is not None
        with self._lock:
            before = self._log.stat().st_size
            answer = self._qmp.query("human-monitor-command", str, {"command-line": f'qemu-io {disk} "{command}"'})
            with self._log.open() as log:
                log.seek(before)
                return answer + log.read()

    def _wait_event(self, name: str, accept: Callable[[Json], bool]) -> None:
        assert self._qmp is not None
        self._qmp.wait_event(name, accept, _SECONDS)

    def _wait_job(self, job: str, *statuses: str) -> str:
        """Wait for one of the statuses; return the one that came."""
        seen: list[str] = []

        def accept(data: Json) -> bool:
            if data.get("id") == job and data.get("status") in statuses:
                seen.append(str(data["status"]))
            return bool(seen)

        self._wait_event("JOB_STATUS_CHANGE", accept)
        return seen[0]


def allocated(image: Json) -> list[Area]:
    """List what an image (its block driver's options) holds other than zeros, in order, as QEMU's map has it."""
    shown = _map("-U", "json:" + json.dumps(image))
    return [(entry["start"], entry["length"]) for entry in shown if entry["data"] and not entry["zero"]]


def convert(image: Json, target: Path, *format_options: str) -> None:
    """Copy an image into a new file of the given format, beside the running QEMU."""
    command = ["qemu-img", "convert", "-U", *format_options, "json:" + json.dumps(image), str(target)]
    subprocess.run(command, check=True)


def _map(*image: str) -> list[dict[str, int]]:
    done = subprocess.run(["qemu-img", "map", "--output=json", *image], check=True, capture_output=True)
    shown: list[dict[str, int]] = json.loads(done.stdout)
    return shown


def _on_file(path: Path) -> dict[str, object]:
    file = {"driver": "file", "filename": str(path), "discard": "unmap", "cache": {"no-flush": True}}
    return {"discard": "unmap", "file": file}


def _filter(disk: str, node: str) -> dict[str, object]:
    return {"driver": "throttle", "throttle-group": _GROUP, "node-name": disk, "discard": "unmap", "file": node}
