"""The data side of the simulated pool: NBD behind `nbd_proxy`, and the handlers of streams, over the disks' files.

VHDs and qcow2 files that are exported whole are made by QEMU, and VHDs that are imported are read by it. A handler
answers 200 before the first byte, as xapi does: whether a stream was the disk is told by its task alone.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

from tests.support.nbd_peers import need
from tests.support.xapi.api import HungUp
from tests.support.xapi.faults import CutStream, FailTask, StaySilent
from tests.support.xapi.nbd_proxy import NbdProxy
from tests.support.xapi.published import XapiFailure
from tests.support.xapi.server import HttpRequest
from tests.support.xapi.simulator import XapiSimulator
from tests.support.xapi.vhd_delta import delta
from tests.support.xapi.world import NbdServer

EXPORT, IMPORT = "/export_raw_vdi", "/import_raw_vdi"
_PIECE = 1 << 20


@contextmanager
def nbd_hosts(pool: XapiSimulator, folder: Path, *, purpose: str = "nbd", **options: Any) -> Iterator[list[NbdProxy]]:
    """Serve the pool's disks over NBD at each host; an `insecure_nbd` network speaks no TLS."""
    with ExitStack() as running:
        proxies = []
        for number, address in enumerate(pool.addresses):
            settings = {"address": address, "subject": f"host{number}.test", "plain": purpose != "nbd", **options}
            host = NbdProxy(folder / f"nbd{number}", partial(_served, pool), attach=partial(_attach, pool), **settings)
            proxies.append(running.enter_context(host))
            tell_of(pool, host, number, purpose)
        yield proxies


def tell_of(pool: XapiSimulator, proxy: NbdProxy, host: int, purpose: str = "nbd") -> None:
    """Let the pool tell of a host's NBD server as it is now: its certificate may have changed."""
    pool.serve_nbd(NbdServer(proxy.port, proxy.certificate, proxy.subject), purpose=purpose, host=host)


def serve_streams(pool: XapiSimulator) -> None:
    """Serve `/export_raw_vdi` and `/import_raw_vdi` at each host from now on.

    Faults are of `GET /export_raw_vdi` and `PUT /import_raw_vdi`: CutStream, StaySilent, and FailTask, which comes
    after all bytes.
    """
    pool.http[EXPORT] = partial(_handle, pool, _export)
    pool.http[IMPORT] = partial(_handle, pool, _import)


def _served(pool: XapiSimulator, uuid: str, session: str) -> Path | None:
    with pool.records.lock, suppress(XapiFailure):
        pool.world.assert_session(session)
        vdi = pool.records.by_uuid("VDI", uuid)
        if pool.records.get("VDI", vdi)["type"] != "cbt_metadata" and not _written(pool, vdi):
            return pool.disks.path(vdi)
    return None


def _require_free(pool: XapiSimulator, vdi: str) -> None:
    with pool.records.lock:
        if _written(pool, vdi):
            raise XapiFailure("VDI_IN_USE", vdi, "attach")


def _written(pool: XapiSimulator, vdi: str) -> bool:
    """Whether a machine runs on the disk: then it cannot be attached elsewhere, read-only or not."""
    return bool(pool.records.find("VBD", VDI=vdi, mode="RW", currently_attached=True))


def _attach(pool: XapiSimulator, uuid: str) -> Any:
    vbd = pool.attach_to_control_domain(pool.records.by_uuid("VDI", uuid))

    def detach() -> None:
        with suppress(XapiFailure):  # it went with its disk
            pool.detach(vbd)

    return detach


def _handle(pool: XapiSimulator, serve: Any, request: HttpRequest) -> None:
    cookie: SimpleCookie = SimpleCookie(request.headers.get("Cookie", ""))
    session = cookie["session_id"].value if "session_id" in cookie else request.query.get("session_id", "")
    try:
        with pool.records.lock:
            pool.world.assert_session(session)
    except XapiFailure:
        request.send(401, {})
        return
    task = request.query.get("task_id", "")
    try:
        with pool.records.lock:
            vdi = pool.records.by_uuid("VDI", request.query["vdi"])
            sr = pool.records.get("VDI", vdi)["SR"]
            hosts = [pool.records.get("PBD", pbd)["host"] for pbd in pool.records.find("PBD", SR=sr)]
        if request.host not in hosts:
            address = f"{pool.world.address_of(hosts[0])}:{pool.port}"
            told = "&".join(f"{name}={value}" for name, value in request.query.items())
            request.send(302, {"Location": f"https://{address}{request.path}?{told}"})
            return
        serve(pool, request, vdi)
        if failing := pool.faults.take(f"{request.method} {request.path}", FailTask):
            raise XapiFailure(failing.name, *failing.parameters)
        _end(pool, task, status="success", result=f"<value>{vdi}</value>")
    except XapiFailure as failure:
        _end(pool, task, status="failure", error_info=failure.details)


def _end(pool: XapiSimulator, task: str, **outcome: Any) -> None:
    with pool.records.lock, suppress(XapiFailure):
        pool.records.set("task", task, **outcome, progress=1.0)


def _export(pool: XapiSimulator, request: HttpRequest, vdi: str) -> None:
    form = request.query.get("format", "raw")
    known = {"raw", "vhd"}.union(
        *(pool.record("SM", ref)["supported_image_formats"] for ref in pool.records.find("SM"))
    )
    if form not in known:
        request.send(404, {})
        raise XapiFailure("INTERNAL_ERROR", f"Unknown format {form}")
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        path = pool.disks.path(vdi)
        base = request.query.get("base")
        if form == "raw":
            stream = _pieces(path)
        elif form == "qcow2":
            stream = _pieces(_converted(path, "raw", Path(folder) / "qcow2", "qcow2"))
        elif base is not None:
            stream = delta(pool.disks.path(pool.records.by_uuid("VDI", base)), path)
        else:
            stream = _pieces(_converted(path, "raw", Path(folder) / "vhd", "vpc", "-o", "subformat=dynamic,force_size"))
        request.send(200, {"Content-Type": "application/octet-stream"}, _spoiled(pool, request, vdi, stream))


def _spoiled(pool: XapiSimulator, request: HttpRequest, vdi: str, stream: Iterator[bytes]) -> Iterator[bytes]:
    place = f"{request.method} {request.path}"
    if pool.faults.take(place, StaySilent):
        pool.closing.wait()
        raise HungUp
    cut = pool.faults.take(place, CutStream)
    left = cut.after_bytes if cut else None
    _require_free(pool, vdi)
    for piece in stream:
        yield piece if left is None else piece[:left]
        if left is not None and (left := left - len(piece)) <= 0:
            raise XapiFailure("VDI_IO_ERROR", "Device I/O errors")


def _import(pool: XapiSimulator, request: HttpRequest, vdi: str) -> None:
    """Write as xapi's helper does: of a VHD the sectors that it has, and nothing between them."""
    form, length = request.query.get("format", "raw"), int(request.headers.get("Content-Length") or 0)
    request.send(200, {})
    _require_free(pool, vdi)
    cut = pool.faults.take(f"{request.method} {request.path}", CutStream)
    with tempfile.TemporaryDirectory(prefix="import-") as folder:
        got = Path(folder) / "got"
        with open(got, "wb") as file:
            wanted = length if cut is None else cut.after_bytes
            while wanted and (piece := request.body.read(min(_PIECE, wanted))):
                file.write(piece)
                wanted -= len(piece)
        if cut is not None or got.stat().st_size != length:
            raise XapiFailure("VDI_IO_ERROR", "Device I/O errors")
        raw = got if form == "raw" else _converted(got, "vpc", Path(folder) / "raw", "raw")
        present = [(0, length)] if form == "raw" else _present(got)
        size = pool.records.get("VDI", vdi)["virtual_size"]
        with open(raw, "rb") as reading:
            for start, count in present:
                reading.seek(start)
                for at in range(start, min(start + count, size), _PIECE):
                    pool.disks.write(vdi, at, reading.read(min(_PIECE, start + count - at, size - at)))


def _present(vhd: Path) -> list[tuple[int, int]]:
    told = subprocess.run(["qemu-img", "map", "--output=json", "-f", "vpc", vhd], check=True, capture_output=True)
    return [(part["start"], part["length"]) for part in json.loads(told.stdout) if part["data"]]


def _converted(path: Path, form: str, target: Path, wanted: str, *options: str) -> Path:
    need("qemu-img")
    command = ["qemu-img", "convert", "-f", form, "-O", wanted, *options, str(path), str(target)]
    subprocess.run(command, check=True, capture_output=True)
    return target


def _pieces(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            yield piece
