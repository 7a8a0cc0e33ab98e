"""Exchanges with a real server on a small home, one or more for each operation. No simulator.

`python -m tests.support.api_examples` writes them to openapi/examples/; a test compares those with new ones.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.access.caller import Role
from catalog.api.settings import Limits, ServeSettings
from tests.support.api_home import ApiHome, clock, counted_bytes, counted_ids
from tests.support.api_server import ApiServer, served

FOLDER = Path(__file__).parents[2] / "openapi" / "examples"
KEPT = ("catalog-position", "catalog-truncated", "etag", "link", "location", "www-authenticate")
SETTINGS = ServeSettings(limits=Limits(follow_seconds=3600))
"""Nothing is projected between requests but where a request waits for it, so that positions are always the same."""
JSON_TYPES = ("application/json", "application/problem+json")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request; with `unknown` nobody's."""

    operation: str
    method: str
    path: str
    body: Any = None
    name: str = "example"
    headers: dict[str, str] = field(default_factory=dict)
    unknown: bool = False


def requests(home: ApiHome) -> Iterator[Asked]:
    """One or more requests for each operation; those that change something come last."""
    web, point, disk = home.machines[0], home.points[3], home.disk
    span = "from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z"
    yield Asked("whoami", "GET", "/v1/whoami")
    yield Asked("whoami", "GET", "/v1/whoami", name="unknown", unknown=True)
    yield Asked("get_status", "GET", "/v1/status")
    yield Asked("search", "GET", "/v1/search?q=web")
    yield Asked("list_machines", "GET", "/v1/machines?limit=2")
    yield Asked("list_machines", "GET", "/v1/machines", headers={"Accept": "text/csv"}, name="csv")
    yield Asked("list_machines", "GET", "/v1/machines?as_of=4", name="as_of")
    yield Asked("list_machines", "GET", "/v1/machines?nmae=web", name="misspelt")
    yield Asked("get_machine", "GET", f"/v1/machines/{web}")
    yield Asked("get_machine", "GET", "/v1/machines/00000000-0000-4000-8000-000000000000", name="missing")
    yield Asked("list_machine_disks", "GET", f"/v1/machines/{web}/disks")
    yield Asked("get_coverage", "GET", f"/v1/machines/{web}/coverage?{span}&rpo=24h")
    yield Asked("get_coverage", "GET", f"/v1/machines/{web}/coverage?{span}&rpo=1h&accept_left_out=cd", name="gaps")
    yield Asked("get_coverage_grid", "GET", "/v1/coverage?from=2026-01-01&to=2026-01-02")
    yield Asked("list_restore_points", "GET", f"/v1/restore-points?machine_id={web}&limit=2")
    yield Asked("get_restore_point", "GET", f"/v1/restore-points/{point}")
    yield Asked("get_restore_point", "GET", "/v1/restore-points/latest:web-1", name="latest")
    yield Asked("list_restore_point_disks", "GET", f"/v1/restore-points/{point}/disks")
    yield Asked("list_left_out", "GET", f"/v1/restore-points/{point}/left-out")
    yield Asked("list_provenance", "GET", f"/v1/restore-points/{point}/provenance")
    yield Asked("list_restore_point_events", "GET", f"/v1/restore-points/{point}/events")
    yield Asked("stream_extents", "GET", f"/v1/restore-points/{point}/disks/{disk}/extents")
    yield Asked("stream_blocks", "GET", f"/v1/restore-points/{point}/disks/{disk}/blocks?first_block=1&count=3")
    yield Asked("list_references", "GET", f"/v1/chunks/{home.digest}/references?inherited=true")
    yield Asked("list_events", "GET", "/v1/events?after=2&limit=2")
    yield Asked("get_event", "GET", "/v1/events/3")
    yield Asked("stream_events", "GET", "/v1/events/stream?after=26")
    yield Asked("get_ledger", "GET", "/v1/ledger")
    yield Asked("get_ledger_key", "GET", "/v1/ledger/key")
    yield Asked("get_latest_checkpoint", "GET", "/v1/ledger/checkpoints/latest")
    yield Asked("get_consistency", "GET", "/v1/ledger/consistency?from=5&to=12")
    yield Asked("get_event_proof", "GET", "/v1/events/3/proof")
    wish: Json = {"machine_id": str(web), "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    yield Asked("prove_coverage", "POST", "/v1/proofs/coverage", {**wish, "rpo_seconds": 86400})
    yield Asked("list_sql_views", "GET", "/v1/sql/views")
    yield Asked("list_sql_questions", "GET", "/v1/sql/questions")
    query = "SELECT machine, count(*) AS points FROM restore_points GROUP BY machine ORDER BY machine"
    yield Asked("ask_sql", "POST", "/v1/sql", {"query": query})
    yield Asked("ask_sql", "POST", "/v1/sql", {"query": query, "as_of": 14}, name="as_of")
    yield Asked("ask_sql", "POST", "/v1/sql", {"query": "DROP TABLE machines"}, name="refused")
    key = {"Idempotency-Key": "nightly-2026-01-02"}
    yield Asked("request_backup", "POST", "/v1/backups", {"machine_id": str(web)}, headers=key)
    yield Asked("request_backup", "POST", "/v1/backups", {"source": "lab"}, headers=key, name="mismatch")
    yield Asked("request_synthetic", "POST", "/v1/synthetics", {"restore_point_id": str(point)})
    yield Asked("request_restore", "POST", "/v1/restores", {"restore_point_id": str(point), "to": "web-1/monday"})
    yield Asked("request_verification", "POST", "/v1/verifications", {"restore_point_id": str(point)})
    yield Asked("list_tasks", "GET", "/v1/tasks?limit=1")
    task = counted_ids()
    first = [str(task()) for _ in range(2)][1]
    yield Asked("get_task", "GET", f"/v1/tasks/{first}")
    yield Asked("stream_task", "GET", f"/v1/tasks/{first}/progress")
    yield Asked("cancel_task", "POST", f"/v1/tasks/{first}/cancel")
    yield Asked(
        "create_token", "POST", "/v1/tokens", {"name": "aud-2026", "role": "auditor", "machines": ["lab/web-*"]}
    )
    yield Asked("list_tokens", "GET", "/v1/tokens")
    yield Asked("delete_restore_point", "DELETE", f"/v1/restore-points/{home.points[0]}?reason=superseded")
    yield Asked("get_health", "GET", "/healthz")
    yield Asked("get_readiness", "GET", "/readyz")
    yield Asked("get_metrics", "GET", "/metrics")
    yield Asked("get_document", "GET", "/openapi.json")


def exchanges() -> dict[str, Json]:
    """Ask it all of a new server; the exchanges of each operation."""
    found: dict[str, Json] = {}
    parts = {"clock": clock, "random": counted_bytes("api"), "new_id": counted_ids()}
    with tempfile.TemporaryDirectory() as folder:
        home = ApiHome.made(Path(folder))
        with served(home.home, SETTINGS, **parts) as server:
            token_id, secret = server.services.tokens.create("examples", Role.ADMIN, None, None, "examples")
            asked = [*requests(home), Asked("revoke_token", "DELETE", f"/v1/tokens/{token_id}")]
            for one in asked:
                kept = found.setdefault(one.operation, {"operation": one.operation, "exchanges": []})
                kept["exchanges"].append(_exchange(server, one, secret))
    return found


def _exchange(server: ApiServer, asked: Asked, secret: str) -> Json:
    headers = dict(asked.headers) if asked.unknown else {**asked.headers, "Authorization": f"Bearer {secret}"}
    data = None if asked.body is None else json.dumps(asked.body).encode()
    if data is not None:
        headers["Content-Type"] = "application/json"
    connection = server.connect()
    try:
        connection.request(asked.method, asked.path, data, headers)
        answer = connection.getresponse()
        kind = answer.headers["Content-Type"]
        response: Json = {"status": answer.status, "content_type": kind}
        told = {name: answer.headers[name] for name in KEPT if name in answer.headers}
        if told:
            response["headers"] = told
        if kind.startswith("text/event-stream"):
            response["body"] = "".join(answer.readline().decode() for _ in range(4))
        else:
            body = answer.read()
            if kind.partition(";")[0] in JSON_TYPES and asked.operation != "get_document":
                response["body"] = json.loads(body)
            elif kind.startswith("text/") and asked.operation != "get_metrics":
                response["body"] = body.decode()
    finally:
        connection.close()
    shown = {name: value for name, value in headers.items() if name != "Authorization"}
    if not asked.unknown:
        shown["Authorization"] = "Bearer ..."
    request: Json = {"method": asked.method, "path": asked.path, "headers": dict(sorted(shown.items()))}
    if asked.body is not None:
        request["body"] = asked.body
    return {"name": asked.name, "request": request, "response": response}


def write() -> None:
    """Write the examples anew."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for operation, found in exchanges().items():
        text = json.dumps(found, indent=2, ensure_ascii=False, sort_keys=True)
        (FOLDER / f"{operation}.json").write_text(text + "\n")


if __name__ == "__main__":
    write()
