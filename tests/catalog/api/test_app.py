"""The API over HTTP, of a real server: conventions that hold for all operations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from catalog.access.caller import Role
from catalog.api.opening import check_reach
from catalog.api.settings import Limits, ServeSettings
from catalog.domain.access import AccessRecorded
from storage.errors import Denied
from tests.support.api_home import HOSTILE, ApiHome
from tests.support.api_server import ApiServer, served


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> ApiHome:
    """A home that no test changes but by asking."""
    return ApiHome.made(tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="module")
def server(home: ApiHome) -> Iterator[ApiServer]:
    """Its server, without the SQL door."""
    with served(home.home, with_door=False) as running:
        yield running


def accesses(server: ApiServer) -> list[AccessRecorded]:
    """All calls that were recorded."""
    log = server.services.catalog.log
    return [found.event for found in log.follow_only((AccessRecorded,)) if isinstance(found.event, AccessRecorded)]


def test_one_thing_is_not_sent_again(server: ApiServer, home: ApiHome) -> None:
    """A thing that did not change is answered with 304 to whoever has it, for HEAD as for GET."""
    path = f"/v1/machines/{home.machines[0]}"
    got = server.get(path)
    assert not got.headers["etag"].startswith("W/")
    again = server.get(path, If_None_Match=f'"other", {got.headers["etag"]}')
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", got.headers["etag"])
    head = server.ask("HEAD", path)
    assert (head.status, head.body, head.headers["etag"]) == (200, b"", got.headers["etag"])


def test_a_list_is_not_sent_again(server: ApiServer) -> None:
    """A list whose rows are the same is answered with 304, though its lag moved with the record of the call."""
    got = server.get("/v1/machines?as_of=10")
    again = server.get("/v1/machines?as_of=10", If_None_Match=got.headers["etag"])
    assert (got.status, again.status) == (200, 304)
    assert again.headers["catalog-position"] == "10"


def test_pages_do_not_shift(server: ApiServer) -> None:
    """Pages follow each other through the cursor and the Link header, at the position of the first one."""
    whole = server.get("/v1/events?limit=20").items()
    path: str | None = "/v1/events?limit=3"
    found: list[object] = []
    positions = set()
    while path and len(found) < len(whole):
        got = server.get(path)
        found += got.items()
        positions.add(got.json()["position"])
        path = got.headers["link"].partition("<")[2].partition(">")[0] if "link" in got.headers else None
    assert found[: len(whole)] == whole
    assert len(positions) == 1


def test_a_cursor_is_of_its_query_only(server: ApiServer) -> None:
    """A cursor that was changed, or that comes with another query, is refused and says so."""
    cursor = server.get("/v1/machines?limit=1").json()["next"]
    server.problem(400, "cursor-query", "GET", f"/v1/machines?limit=1&name=web&cursor={cursor}")
    server.problem(400, "cursor-query", "GET", f"/v1/restore-points?limit=1&cursor={cursor}")
    changed = ("A" if cursor[0] != "A" else "B") + cursor[1:]
    for text in (changed, cursor[:-1], "x", "%00"):
        server.problem(400, "cursor-tampered", "GET", f"/v1/machines?limit=1&cursor={text}")
    assert server.get(f"/v1/machines?limit=5&cursor={cursor}").status == 200


def test_what_is_not_documented_is_refused(server: ApiServer) -> None:
    """Unknown and repeated parameters, unknown fields and wrong values are refused, and their values not repeated."""
    server.problem(400, "parameter-unknown", "GET", "/v1/machines?nmae=web")
    server.problem(400, "parameter-repeated", "GET", "/v1/machines?limit=1&limit=2")
    problem = server.problem(400, "parameter-invalid", "GET", "/v1/machines?limit=canary")
    assert "canary" not in str(problem)
    assert problem["errors"][0]["pointer"] == "/limit"
    problem = server.problem(422, "body-invalid", "POST", "/v1/tokens", body={"name": "x", "secret": "canary"})
    assert "canary" not in str(problem)


def test_failures_of_the_framework_are_problems(server: ApiServer) -> None:
    """Unknown paths, methods, broken bodies, long URLs and large bodies get problem documents as well."""
    server.problem(404, "path-unknown", "GET", "/v1/nothing")
    server.problem(404, "path-unknown", "GET", "/assets/../../etc/passwd")
    server.problem(405, "method-not-allowed", "PUT", "/v1/machines")
    assert server.ask("PUT", "/v1/tokens").headers["allow"] == "GET, HEAD, POST"
    server.problem(422, "body-invalid", "POST", "/v1/tokens", body=b"{", Content_Type="application/json")
    server.problem(414, "url-length", "GET", "/v1/machines?name=" + "x" * 9000)
    server.problem(413, "body-size", "POST", "/v1/sql", body=b" " * (1 << 20) + b" ")
    server.problem(406, "not-acceptable", "GET", "/v1/machines", Accept="image/png")
    server.problem(406, "not-acceptable", "GET", "/v1/machines", Accept="application/json;q=0")


def test_a_fault_of_ours_tells_nothing(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is a 500 problem without its text or traceback, and the service goes on."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the canary")

    monkeypatch.setattr(server.services.reads, "machines", broken)
    problem = server.problem(500, "internal", "GET", "/v1/machines")
    assert "canary" not in str(problem)
    monkeypatch.undo()
    assert server.get("/v1/machines").status == 200


def test_other_hosts_and_origins_are_refused(server: ApiServer) -> None:
    """On loopback neither a name that was rebound to it nor a page of another origin gets an answer."""
    server.problem(421, "host-unknown", "GET", "/v1/machines", Host="evil.example")
    server.problem(403, "origin-foreign", "POST", "/v1/tokens", Origin="http://evil.example", body={})
    assert server.get("/v1/machines", Origin=server.url).status == 200


def test_every_answer_has_the_security_headers(server: ApiServer) -> None:
    """Answers, problems and the page forbid framing, sniffing, referrers and other hosts' content."""
    for path in ("/v1/machines", "/v1/nothing", "/healthz", "/"):
        headers = server.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers


def test_names_stay_data(server: ApiServer) -> None:
    """Markup and terminal escapes in a machine's name come back as JSON text, never as markup."""
    got = server.get("/v1/machines")
    assert got.headers["content-type"] == "application/json"
    assert HOSTILE in [row["name"] for row in got.items()]
    assert b"\x1b" not in got.body


def test_lists_come_in_five_forms(server: ApiServer) -> None:
    """A list has the same rows in JSON, NDJSON, CSV, Arrow and Parquet, chosen by weight."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [row["name"] for row in server.get("/v1/machines").items()]
    accept = "text/csv;q=0.5, application/x-ndjson, */*;q=0.1"
    lines = server.get("/v1/machines", Accept=accept)
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert lines.body.endswith(b'{"row_count":3,"truncated":false}\n')
    assert server.get("/v1/machines", Accept="text/*").body.startswith(b"machine_id,")
    arrow = server.get("/v1/machines", Accept="application/vnd.apache.arrow.stream").body
    assert pa.ipc.open_stream(arrow).read_all()["name"].to_pylist() == names
    parquet = server.get("/v1/machines", Accept="application/vnd.apache.parquet").body
    assert pq.read_table(io.BytesIO(parquet))["name"].to_pylist() == names
    events = server.get("/v1/events?limit=4", Accept="application/vnd.apache.arrow.stream").body
    assert pa.ipc.open_stream(events).read_all().num_rows == 4


def test_calls_are_recorded_before_they_are_answered(server: ApiServer) -> None:
    """An answer's lag counts its own record: who asked what, from where, with which outcome."""
    got = server.get("/v1/machines?name=web")
    last = accesses(server)[-1]
    assert (last.operation, last.target, last.status) == ("list_machines", "/v1/machines?name=web", 200)
    assert (last.caller_kind, last.role, last.address) == ("local", "admin", "127.0.0.1")
    assert int(got.headers["catalog-lag"]) > 0
    server.get("/v1/machines/00000000-0000-4000-8000-000000000001")
    assert accesses(server)[-1].status == 404


def test_no_record_no_answer(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that cannot be recorded is not answered, an error no more than a list."""
    from storage.errors import Unavailable

    def full(*_: object, **__: object) -> int:
        raise Unavailable("no", code="access-unrecorded")

    monkeypatch.setattr(type(server.services.journal), "_save_events", full)
    for path in ("/v1/machines", "/v1/machines/00000000-0000-4000-8000-000000000001"):
        server.problem(503, "access-unrecorded", "GET", path)


def test_positions_and_times(server: ApiServer) -> None:
    """`as_of` takes positions and times that are known; what the log does not have yet is refused."""
    earlier = server.get("/v1/machines?as_of=4")
    assert (len(earlier.items()), earlier.headers["catalog-position"]) == (2, "4")
    assert server.get("/v1/machines?as_of=2026-01-01T00:03:30%2B00:00").items() == earlier.items()
    server.problem(400, "position-future", "GET", "/v1/machines?as_of=900000")
    server.problem(400, "position-future", "GET", "/v1/machines?min_position=900000")
    server.problem(400, "as-of-future", "GET", "/v1/machines?as_of=2999-01-01T00:00:00Z")
    server.problem(400, "as-of-invalid", "GET", "/v1/machines?as_of=yesterday")
    server.problem(400, "as-of-invalid", "GET", "/v1/machines?as_of=2026-01-01T00:00:00")


def test_what_was_just_recorded_can_be_read(server: ApiServer) -> None:
    """`min_position` waits until the index has what the caller was told of."""
    position = server.services.catalog.log.position()
    got = server.get(f"/v1/events/{position}?min_position={position}")
    assert got.json()["position"] == position
    assert int(got.headers["catalog-position"]) >= position


def test_measurements(server: ApiServer) -> None:
    """Prometheus is told requests by operation and status, latency, position and lag."""
    server.get("/v1/machines")
    text = server.get("/metrics").body.decode()
    assert 'holdfast_requests_total{operation="list_machines",status="200"}' in text
    for name in ("request_seconds_bucket", "index_position", "index_lag", "index_trouble", "ledger_age_seconds"):
        assert f"holdfast_{name}" in text, name


def test_an_index_that_is_behind_says_so(home: ApiHome, tmp_path: Path) -> None:
    """When the index cannot follow, readiness, status and measurements say so, and waiting for it ends with 503."""
    limits = Limits(wait_seconds=0.1, follow_seconds=0.02)
    with served(ApiHome.made(tmp_path).home, ServeSettings(limits=limits), with_door=False) as server:
        assert server.get("/readyz").status == 200
        assert server.get("/v1/whoami").status == 200
        follower = server.services.follower

        def broken() -> int:
            raise Denied("no", code="disk-gone")

        follower._project = broken
        position = server.services.catalog.log.position()
        server.problem(503, "projection-behind", "GET", f"/v1/machines?min_position={position}")
        problem = server.problem(503, "not-ready", "GET", "/readyz")
        assert "disk-gone" in problem["detail"]
        assert server.get("/v1/status").json()["trouble"]["code"] == "disk-gone"
        assert b"holdfast_index_trouble 1.0" in server.get("/metrics").body


def test_strangers_are_asked_who_they_are(tmp_path: Path) -> None:
    """Once there is a token, nobody is answered without one; roles and scopes hold, revocation counts at once."""
    with served(ApiHome.made(tmp_path).home, with_door=False) as server:
        tokens = server.services.tokens
        token_id, secret = tokens.create("a", Role.ANALYST, ["lab/web-*"], None, "test")
        assert server.ask("GET", "/v1/machines").headers["www-authenticate"].startswith("Bearer")
        server.problem(401, "credential-missing", "GET", "/v1/machines")
        assert [row["name"] for row in server.get("/v1/machines", token=secret).items()] == ["web-1"]
        server.problem(403, "role-permission", "GET", "/v1/events", token=secret)
        cursor = server.get("/v1/restore-points?limit=1", token=secret).json()["next"]
        _, other = tokens.create("b", Role.ANALYST, ["lab/*"], None, "test")
        server.problem(400, "cursor-scope", "GET", f"/v1/restore-points?limit=1&cursor={cursor}", token=other)
        tokens.revoke(token_id, "test")
        server.problem(401, "token-revoked", "GET", "/v1/machines", token=secret)
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/"):
            assert server.get(path).status == 200


def test_measurements_beyond_loopback_need_a_credential(tmp_path: Path) -> None:
    """Where other machines can connect /metrics asks for a token of any role, unless the settings open it."""
    home = ApiHome.made(tmp_path).home
    with served(home, with_door=False) as server:
        _, secret = server.services.tokens.create("prometheus", Role.ANALYST, ["lab/none"], None, "test")
    closed = ServeSettings(host="192.0.2.1", plain_http=True)
    with served(home, closed, with_door=False) as server:
        server.problem(401, "credential-missing", "GET", "/metrics")
        assert server.get("/metrics", token=secret).status == 200
        assert server.get("/healthz").status == 200
    with served(home, msgspec.structs.replace(closed, metrics_open=True), with_door=False) as server:
        assert server.get("/metrics").status == 200


def test_only_loopback_without_identities() -> None:
    """Without anybody to know, or without encryption, other machines cannot connect."""
    open_to_all = ServeSettings(host="0.0.0.0")  # noqa: S104 - refused
    with pytest.raises(Denied, match="loopback only"):
        check_reach(open_to_all, configured=False)
    with pytest.raises(Denied, match="unencrypted"):
        check_reach(open_to_all, configured=True)
    check_reach(ServeSettings(host="0.0.0.0", plain_http=True), configured=True)  # noqa: S104 - behind a proxy
    check_reach(ServeSettings(host="::1"), configured=False)
