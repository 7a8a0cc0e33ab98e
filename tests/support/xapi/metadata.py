"""`/export_metadata` at the simulated pool: an archive with one file, `ova.xml`, which is a value of XML-RPC."""

from __future__ import annotations

import io
import tarfile
from functools import partial
from http.cookies import SimpleCookie
from xmlrpc.client import dumps

from tests.support.xapi.published import XapiFailure
from tests.support.xapi.server import HttpRequest
from tests.support.xapi.simulator import XapiSimulator
from tests.support.xapi.wire import for_xml

PATH = "/export_metadata"
VTPM_STATE = "c3RhdGUgb2YgYSBUUE0gd2l0aCBrZXlz"


def serve_metadata(pool: XapiSimulator) -> None:
    """Serve it at each host from now on; every machine exports a virtual TPM, with its state."""
    pool.http[PATH] = partial(_export, pool)


def _export(pool: XapiSimulator, request: HttpRequest) -> None:
    cookie: SimpleCookie = SimpleCookie(request.headers.get("Cookie", ""))
    try:
        with pool.records.lock:
            pool.world.assert_session(cookie["session_id"].value if "session_id" in cookie else None)
            body = _archive(pool, pool.records.by_uuid("VM", request.query["uuid"]))
    except XapiFailure as failure:
        request.send(401 if failure.details[0] == "SESSION_INVALID" else 404, {"Content-Length": "0"})
        return
    request.send(200, {"Content-Length": str(len(body))}, [body])


def _archive(pool: XapiSimulator, vm: str) -> bytes:
    objects = [{"class": "VM", "id": "Ref:0", "snapshot": pool.records.shown("VM", vm)}]
    for kind in ("VBD", "VIF"):
        objects += [
            {"class": kind, "id": f"Ref:{kind}{number}", "snapshot": pool.records.shown(kind, ref)}
            for number, ref in enumerate(pool.records.find(kind, VM=vm))
        ]
    state = {"vTPM'_uuid": "0", "vTPM'_is_protected": False, "vTPM'_content": VTPM_STATE}
    objects.append({"class": "VTPM", "id": "Ref:9", "snapshot": state})
    value = for_xml({"version": {"hostname": "host0", "product_brand": "XCP-ng"}, "objects": objects})
    text = dumps((value,)).partition("<param>")[2].partition("</param>")[0].strip()
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w") as tar:
        entry = tarfile.TarInfo("ova.xml")
        entry.size = len(text.encode())
        tar.addfile(entry, io.BytesIO(text.encode()))
    return found.getvalue()
