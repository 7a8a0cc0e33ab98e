"""What a snapshot puts into QEMU: scratch files, frozen views, block jobs, exports, the NBD server.

Imports `adapters.errors`, `adapters.port`, `adapters.nbd.wire` and this package. Parts are found again by
their mark alone, so one function removes them after success, failure or a crash of ours at any step.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from adapters.errors import SourceInvalid, SourceLimit, SourceUnavailable
from adapters.nbd.wire import MAX_UNIX_PATH
from adapters.port import Leftover
from adapters.qemu.marks import MARK, Marks, Place
from adapters.qemu.qmp import Json, Qmp
from adapters.qemu.views import Bitmap, Export, Job, Node, RunState

T = TypeVar("T", Job, Export)
_SETTLE_SECONDS = 30.0


def add_frozen_view(qmp: Qmp, place: Place, marks: Marks, node: str, size_bytes: int) -> None:
    """Create the scratch overlay on `node`; it shows the disk as it is until a job saves old data into it."""
    path = str(place.scratch_file(marks.nonce))
    _create(qmp, marks.create_job, {"driver": "file", "filename": path, "size": 0})
    qmp.execute("blockdev-add", {"driver": "file", "node-name": marks.file_node, "filename": path})
    _create(qmp, marks.create_job, {"driver": "qcow2", "file": marks.file_node, "size": size_bytes})
    overlay = {"driver": "qcow2", "node-name": marks.node, "file": marks.file_node, "backing": node}
    qmp.execute("blockdev-add", overlay)


def _create(qmp: Qmp, job: str, options: dict[str, object]) -> None:
    qmp.execute("blockdev-create", {"job-id": job, "options": options})
    qmp.wait_event("JOB_STATUS_CHANGE", _job_is(job, "concluded"), _SETTLE_SECONDS)
    ended = next(entry for entry in _ours(qmp, "query-jobs", list[Job]) if entry.id == job)
    qmp.execute("job-dismiss", {"id": job})
    qmp.wait_event("JOB_STATUS_CHANGE", _job_is(job, "null"), _SETTLE_SECONDS)
    if ended.error:
        raise SourceLimit("QEMU could not create a scratch file", code="scratch-create", why=ended.error)


def start_server(qmp: Qmp, place: Place) -> None:
    """Start QEMU's one NBD server on our private socket. Raises SourceConflict when somebody else runs it."""
    path = place.nbd_socket
    if len(str(path).encode()) > MAX_UNIX_PATH:
        raise SourceInvalid(
            "No path for a unix socket is short enough",
            code="socket-path-long",
            why=f"{path} has more than {MAX_UNIX_PATH} bytes",
            hint="Put the QMP socket into a directory with a shorter path.",
        )
    qmp.execute("nbd-server-start", {"addr": {"type": "unix", "data": {"path": str(path)}}})


def add_export(qmp: Qmp, marks: Marks, *, with_bitmap: bool) -> None:
    """Export the frozen view read-only, with the bitmap of what changed since the base."""
    bitmaps = [marks.export_bitmap] if with_bitmap else []
    view = {"node-name": marks.node, "name": marks.export, "bitmaps": bitmaps}
    qmp.execute("block-export-add", {"type": "nbd", "id": marks.export, **view})


def marked_bitmaps(qmp: Qmp) -> Iterator[tuple[str, Bitmap]]:
    """List our bitmaps with the node that carries each; images opened read-only keep theirs."""
    for node in qmp.query("query-named-block-nodes", list[Node], {"flat": True}):
        for bitmap in node.dirty_bitmaps if not node.ro else ():
            if bitmap.name.startswith(MARK):
                yield node.node_name, bitmap


def remove_bitmaps(qmp: Qmp, unwanted: Callable[[str, Bitmap], bool]) -> list[Leftover]:
    """Remove those of our bitmaps that are `unwanted(node, bitmap)`."""
    removed = []
    for node, bitmap in list(marked_bitmaps(qmp)):
        if unwanted(node, bitmap):
            qmp.execute("block-dirty-bitmap-remove", {"node": node, "name": bitmap.name})
            removed.append(Leftover(f"dirty bitmap {bitmap.name}", "removed"))
    return removed


def remove_parts(qmp: Qmp, place: Place) -> list[Leftover]:
    """Remove everything marked but bitmaps; readers lose their connection first, so none reads a thawed view.

    No thread of ours may be connecting to the NBD server meanwhile.
    """
    removed: list[Leftover] = []
    try:
        serving = _serves(place.nbd_socket)
        removed += _remove_exports(qmp)
        if serving:
            qmp.execute("nbd-server-stop")
            removed.append(Leftover("the NBD server on our socket", "stopped"))
        removed += _end_jobs(qmp)
        removed += _remove_nodes(qmp)
    finally:
        removed += remove_files(place)
    return removed


def remove_files(place: Place) -> list[Leftover]:
    """Delete our scratch files and socket."""
    place.nbd_socket.unlink(missing_ok=True)
    removed = []
    for path in place.scratch_files():
        path.unlink(missing_ok=True)
        removed.append(Leftover(f"scratch file {path.name}", "deleted"))
    return removed


def _remove_exports(qmp: Qmp) -> Iterator[Leftover]:
    for export in _ours(qmp, "query-block-exports", list[Export]):
        qmp.execute("block-export-del", {"id": export.id, "mode": "hard"})
        qmp.wait_event("BLOCK_EXPORT_DELETED", _of(export.id), _SETTLE_SECONDS)
        yield Leftover(f"NBD export {export.id}", "removed")


def _end_jobs(qmp: Qmp) -> Iterator[Leftover]:
    ended = 0
    for job in _ours(qmp, "query-jobs", list[Job]):
        if job.status == "concluded":
            qmp.execute("job-dismiss", {"id": job.id})
        else:
            qmp.execute("job-cancel", {"id": job.id})
        qmp.wait_event("JOB_STATUS_CHANGE", _job_is(job.id, "null"), _SETTLE_SECONDS)
        ended += 1
        yield Leftover(f"block job {job.id}", "cancelled")
    if ended and qmp.query("query-status", RunState).status == "io-error":
        qmp.execute("cont")
        yield Leftover("the guest, paused by a write that our full scratch space refused", "resumed")


def _remove_nodes(qmp: Qmp) -> Iterator[Leftover]:
    nodes = [n.node_name for n in qmp.query("query-named-block-nodes", list[Node], {"flat": True})]
    for name in sorted(name for name in nodes if name.startswith(MARK)):  # a view sorts before its file node
        qmp.execute("blockdev-del", {"node-name": name})
        yield Leftover(f"block node {name}", "removed")


def _ours(qmp: Qmp, command: str, shape: type[list[T]]) -> list[T]:
    return [entry for entry in qmp.query(command, shape) if entry.id.startswith(MARK)]


def _of(identifier: str) -> Callable[[Json], bool]:
    return lambda data: data.get("id") == identifier


def _job_is(job: str, status: str) -> Callable[[Json], bool]:
    return lambda data: data.get("id") == job and data.get("status") == status


def _serves(path: Path) -> bool:
    """Whether our NBD server runs; when it does, no client that came before us is left in its handshake.

    QEMU 7.2 (as of the fix of CVE-2024-7409) hangs in nbd-server-stop, and its guest with it, while a client is in
    its handshake. We come last, say nothing, and wait until QEMU has shown us out: by its next command but one it
    has then dealt with all connections that were closed before.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_SETTLE_SECONDS)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        try:
            probe.shutdown(socket.SHUT_WR)
            while probe.recv(1024):
                pass
        except TimeoutError:
            raise SourceUnavailable("QEMU's NBD server does not answer", code="nbd-stalled") from None
        except OSError:
            return True
    return True
