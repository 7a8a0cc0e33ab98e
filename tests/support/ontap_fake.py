"""A fake of ONTAP's REST API, which answers in the shapes of NetApp's public documentation. No array was recorded.

It keeps volumes, snapshots, LUNs and maps, and refuses what the documentation says is refused. NetApp's own Python
client works with it in the tests.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import uuid
from collections import deque
from collections.abc import Callable
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.support.certificates import Authority

Record = dict[str, Any]
USER, PASSWORD = "backup", "filer-password"


class OntapFake(ThreadingHTTPServer):
    """One storage VM `svm1` with the volume `vol1`, the LUN `/vol/vol1/lun1` and the igroup `proxies`.

    Each entry of `faults` spoils one acting call: `lost-reply` (done, but nobody hears), `job-fails`, or a status.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.authority = Authority(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority.issue("server", ["localhost"]), folder / "server-key.pem")
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.volumes = [self._named("vol1"), self._named("vol2")]
        self.snapshots: list[Record] = []
        self.luns = [self._named("/vol/vol1/lun1")]
        self.maps: list[Record] = []
        self.jobs: dict[str, Record] = {}
        self.igroup = self._named("proxies")
        self.faults: deque[str] = deque()
        self.calls: list[str] = []
        self.on_clone: Callable[[str], int] = lambda name: len(self.maps)
        self.target = "iqn.1992-08.com.netapp:sn.fake:vs.4"
        self._thread = Thread(target=self.serve_forever, args=(0.02,))

    def _named(self, name: str) -> Record:
        return {"uuid": str(uuid.uuid4()), "name": name, "svm": {"name": "svm1"}}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    @property
    def port(self) -> int:
        """Where it listens, on loopback."""
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away."""

    def get(self, path: str, query: dict[str, str]) -> Record | None:
        """Answer a question."""
        if job := re.fullmatch(r"/api/cluster/jobs/(\S+)", path):
            return self.jobs.get(job[1])
        tables: dict[str, list[Record]] = {
            "/api/storage/volumes": self.volumes,
            "/api/storage/luns": self.luns,
            "/api/protocols/san/lun-maps": self.maps,
            "/api/protocols/san/iscsi/services": [{"svm": {"name": "svm1"}, "target": {"name": self.target}}],
        }
        if inside := re.fullmatch(r"/api/storage/volumes/([^/]+)/snapshots", path):
            tables[path] = [found for found in self.snapshots if found["volume"]["uuid"] == inside[1]]
        if path not in tables:
            return None
        wanted = {key: value for key, value in query.items() if key not in {"fields", "max_records"}}
        records = [record for record in tables[path] if _matches(record, wanted)]
        return {"records": records, "num_records": len(records)}

    def post(self, path: str, body: Record) -> str | None:
        """Make something; return why not."""
        if inside := re.fullmatch(r"/api/storage/volumes/([^/]+)/snapshots", path):
            if any(found["name"] == body["name"] and found["volume"]["uuid"] == inside[1] for found in self.snapshots):
                return "Snapshot already exists"
            self.snapshots.append({**self._named(body["name"]), "volume": {"uuid": inside[1], "name": "vol1"}})
        elif path == "/api/storage/luns":
            source = re.fullmatch(r"/vol/(\S+?)/\.snapshot/([^/]+)/(\S+)", body["clone"]["source"]["name"])
            if source is None or source[2] not in {found["name"] for found in self.snapshots}:
                return "The specified source LUN does not exist"
            self.luns.append(self._named(body["name"]))
        elif path == "/api/protocols/san/lun-maps":
            (lun,) = [found for found in self.luns if found["name"] == body["lun"]["name"]]
            number = self.on_clone(lun["name"])
            self.maps.append({"svm": body["svm"], "lun": lun, "igroup": self.igroup, "logical_unit_number": number})
        else:
            return "API not found"
        return None

    def delete(self, path: str) -> str | None:
        """Remove something; return why not."""
        *_, kind, owner, thing = ["", "", *path.split("/")]
        if kind == "lun-maps":
            self.maps = [m for m in self.maps if (m["lun"]["uuid"], m["igroup"]["uuid"]) != (owner, thing)]
        elif owner == "luns":
            if any(m["lun"]["uuid"] == thing for m in self.maps):
                return "LUN is mapped"
            self.luns = [lun for lun in self.luns if lun["uuid"] != thing]
        elif owner == "snapshots":
            self.snapshots = [found for found in self.snapshots if found["uuid"] != thing]
        else:
            return "API not found"
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OntapFake

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self._known():
            parts = urlsplit(self.path)
            found = self.server.get(unquote(parts.path), dict(parse_qsl(parts.query)))
            self._answer(404 if found is None else 200, found or _error("entry doesn't exist"))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._act(lambda path: self.server.post(path, body))

    def do_DELETE(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._act(self.server.delete)

    def _act(self, act: Callable[[str], str | None]) -> None:
        if not self._known():
            return
        fault = self.server.faults.popleft() if self.server.faults else ""
        job = str(uuid.uuid4())
        if fault.isdigit():
            self._answer(int(fault), _error("refused on request"))
            return
        if fault != "job-fails":
            refused = act(unquote(urlsplit(self.path).path))
            if refused is not None:
                self._answer(409, _error(refused))
                return
        job_link = {"_links": {"self": {"href": f"/api/cluster/jobs/{job}"}}}
        self.server.jobs[job] = {**job_link, "uuid": job, "state": "failure" if fault == "job-fails" else "success"}
        if fault == "job-fails":
            self.server.jobs[job]["message"] = "the aggregate is offline"
        if fault == "lost-reply":
            self.close_connection = True
            return
        if not self.path.startswith("/api/storage/volumes/") and fault != "job-fails":  # LUNs and maps are done at once
            self._answer(201 if self.command == "POST" else 200, {})
            return
        self._answer(202, {"job": {"uuid": job, **job_link}})

    def _known(self) -> bool:
        self.server.calls.append(f"{self.command} {self.path}")
        wanted = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") == f"Basic {wanted}":
            return True
        self._answer(401, _error("not authorized"))
        return False

    def _answer(self, status: int, body: Record) -> None:
        packed = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/hal+json")
        self.send_header("Content-Length", str(len(packed)))
        self.end_headers()
        self.wfile.write(packed)


def _error(message: str) -> Record:
    return {"error": {"message": message, "code": "4"}}


def _matches(record: Record, wanted: dict[str, str]) -> bool:
    for key, pattern in wanted.items():
        found: Any = record
        for step in key.split("."):
            found = found.get(step) if isinstance(found, dict) else None
        if not fnmatchcase(str(found), pattern):
            return False
    return True
