"""Every operation of the API, asked by every role, of all machines or of some, about things in and out of its scope.

`OPERATIONS` says what each operation needs; an operation without a row fails. What a scope does not admit must look
like what does not exist, to the byte, and each call that has a caller leaves one record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from catalog.access.caller import EVERYTHING, Caller, Permission, Role, Scope
from catalog.api.app import bare_app
from catalog.api.document import operations_of
from tests.support.api_lab import FOREIGN, OWN, ApiLab, Server, Things, served

Request = tuple[str, str, Any]
SCOPE = (f"{OWN}/*",)
DAYS = "from=2026-01-01&to=2026-12-31"
TIMES = "from=2026-01-01T00:00:00Z&to=2026-12-31T00:00:00Z"
ABSENT = Things(
    source="nosuch",
    machine="nosuch",
    machine_id="00000000-0000-4000-8000-00000000dead",
    disk_id="00000000-0000-4000-8000-00000000beef",
    restore_point="00000000-0000-4000-8000-00000000cafe",
    digest="ab" * 32,
    position=10**9,
    task_id="00000000-0000-4000-8000-00000000f00d",
)


@dataclass(frozen=True, slots=True)
class Operation:
    """What an operation needs, and how to ask for it about some things.

    `names`: the request names a thing, and is answered with `absent` when there is none. `then`: what it also needs
    once the thing was found. Without `needs` it is for everybody.
    """

    needs: Permission | None
    request: Callable[[Things], Request]
    found: int = 200
    absent: int = 404
    names: bool = True
    then: Permission | None = None


def get(path: str, needs: Permission | None = Permission.READ, **rest: Any) -> Operation:
    """A GET of a path with the identifiers of things in it."""
    return Operation(needs, lambda things: ("GET", path.format(t=things), None), **{"names": "{" in path, **rest})


def post(path: str, needs: Permission, body: Callable[[Things], Any], **rest: Any) -> Operation:
    """A POST of a body about things."""
    return Operation(needs, lambda things: ("POST", path.format(t=things), body(things)), **rest)


def _coverage(things: Things) -> dict[str, Any]:
    span = {"from": "2026-01-01T00:00:00Z", "to": "2026-12-31T00:00:00Z"}
    return {"machine_id": things.machine_id, **span, "rpo_seconds": 86400}


POINT = "/v1/restore-points/{t.restore_point}"
DISK = POINT + "/disks/{t.disk_id}"
OPERATIONS: dict[str, Operation] = {
    "whoami": get("/v1/whoami"),
    "get_status": get("/v1/status"),
    "search": get("/v1/search?q={t.machine}", absent=200),
    "list_machines": get("/v1/machines?name={t.machine}", absent=200),
    "get_machine": get("/v1/machines/{t.machine_id}"),
    "list_machine_disks": get("/v1/machines/{t.machine_id}/disks"),
    "get_coverage": get("/v1/machines/{t.machine_id}/coverage?rpo=24h&" + TIMES),
    "get_coverage_grid": get("/v1/coverage?from=2026-11-01&to=2026-11-30"),
    "list_restore_points": get("/v1/restore-points?include_deleted=true&machine_id={t.machine_id}"),
    "get_restore_point": get(POINT),
    "delete_restore_point": Operation(
        Permission.DELETE, lambda things: ("DELETE", f"/v1/restore-points/{things.restore_point}?reason=test", None)
    ),
    "list_restore_point_disks": get(POINT + "/disks"),
    "list_left_out": get(POINT + "/left-out"),
    "list_provenance": get(POINT + "/provenance"),
    "list_restore_point_events": get(POINT + "/events", Permission.EVENTS),
    "stream_extents": get(DISK + "/extents"),
    "stream_blocks": get(DISK + "/blocks"),
    "list_references": get("/v1/chunks/{t.digest}/references", absent=200),
    "list_events": get("/v1/events?machine_id={t.machine_id}", Permission.EVENTS),
    "stream_events": get("/v1/events/stream?after=0", Permission.EVENTS),
    "get_event": get("/v1/events/{t.position}", Permission.EVENTS),
    "get_event_proof": get("/v1/events/{t.position}/proof", Permission.PROVE),
    "get_ledger": get("/v1/ledger"),
    "get_ledger_key": get("/v1/ledger/key", Permission.PROVE),
    "get_latest_checkpoint": get("/v1/ledger/checkpoints/latest", Permission.PROVE),
    "get_consistency": get("/v1/ledger/consistency?from=1&to=5", Permission.PROVE),
    "prove_coverage": post("/v1/proofs/coverage", Permission.PROVE, _coverage),
    "ask_sql": post(
        "/v1/sql",
        Permission.SQL,
        lambda things: {"query": f"FROM machines SELECT name, key WHERE machine_id = '{things.machine_id}'"},
        absent=200,
    ),
    "list_sql_views": get("/v1/sql/views", Permission.SQL),
    "list_sql_questions": get("/v1/sql/questions", Permission.SQL),
    "request_backup": post(
        "/v1/backups", Permission.BACKUP, lambda things: {"machine_id": things.machine_id}, found=202
    ),
    "request_synthetic": post(
        "/v1/synthetics", Permission.BACKUP, lambda things: {"restore_point_id": things.restore_point}, found=202
    ),
    "request_restore": post(
        "/v1/restores",
        Permission.RESTORE,
        lambda things: {"restore_point_id": things.restore_point, "to": "there"},
        found=202,
    ),
    "request_verification": post(
        "/v1/verifications", Permission.VERIFY, lambda things: {"restore_point_id": things.restore_point}, found=202
    ),
    "list_tasks": get("/v1/tasks?limit=1000"),
    "get_task": get("/v1/tasks/{t.task_id}"),
    "cancel_task": post(
        "/v1/tasks/{t.task_id}/cancel", Permission.READ, lambda things: None, found=202, then=Permission.BACKUP
    ),
    "stream_task": get("/v1/tasks/{t.task_id}/progress"),
    "list_tokens": get("/v1/tokens", Permission.MANAGE),
    "create_token": post(
        "/v1/tokens",
        Permission.MANAGE,
        lambda things: {"name": things.machine, "role": "auditor"},
        found=201,
        names=False,
    ),
    "revoke_token": Operation(Permission.MANAGE, lambda things: ("DELETE", f"/v1/tokens/{things.task_id}", None)),
    "get_health": get("/healthz", None),
    "get_readiness": get("/readyz", None),
    "get_metrics": get("/metrics", None),
    "get_document": get("/openapi.json", None),
}


# Said a second time, apart from the code: what a role may do is a promise.
READERS = frozenset(Role) - {Role.AGENT}
MAY: dict[Permission, frozenset[Role]] = {
    Permission.READ: READERS,
    Permission.EVENTS: READERS - {Role.ANALYST},
    Permission.SQL: frozenset({Role.AUDITOR, Role.ANALYST, Role.ADMIN}),
    Permission.PROVE: frozenset({Role.AUDITOR, Role.ADMIN}),
    Permission.BACKUP: frozenset({Role.OPERATOR, Role.ADMIN}),
    Permission.VERIFY: frozenset({Role.OPERATOR, Role.RESTORER, Role.ADMIN}),
    Permission.RESTORE: frozenset({Role.RESTORER, Role.ADMIN}),
    Permission.DELETE: frozenset({Role.ADMIN}),
    Permission.MANAGE: frozenset({Role.ADMIN}),
    Permission.SEND: frozenset({Role.AGENT}),
}


@dataclass(frozen=True, slots=True)
class Client:
    """A caller and its secret."""

    caller: Caller
    secret: str

    def may(self, permission: Permission) -> bool:
        """Whether it is promised this; tokens are made by who sees everything."""
        sees_enough = self.caller.scope.everything or permission is not Permission.MANAGE
        return sees_enough and self.caller.role in MAY[permission]


class Matrix:
    """What the tests ask with: lab, server, known callers and strangers."""

    def __init__(self, lab: ApiLab, server: Server) -> None:
        self.lab = lab
        self.server = server
        self.clients = [
            self._client(role, scope, "all" if scope.everything else "some")
            for role in Role
            for scope in (EVERYTHING, Scope(SCOPE))
            if not (role is Role.AGENT and scope.everything)  # there is no such token
        ]
        self.strangers = {
            "nobody": None,
            "garbage": "x",
            "guessed": f"hf_{'0' * 32}_{'A' * 43}",
            "unsigned": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
            "expired": lab.expired_token(),
            "revoked": lab.revoked_token(),
        }
        self._made = 0

    def _client(self, role: Role, scope: Scope, suffix: str) -> Client:
        name = f"{role}-{suffix}"
        globs = None if scope.globs is None else list(scope.globs)
        return Client(Caller(name, "token", role, scope), self.lab.token(name, role, globs))

    def named(self, name: str) -> Client:
        """The client called so."""
        return next(one for one in self.clients if one.caller.name == name)

    def fresh(self, name: str, things: Things, *, used_up: bool) -> Things:
        """The things to ask about; what the operation makes or uses up is another one each time."""
        self._made += 1
        if name == "create_token":
            return replace(things, machine=f"made-{self._made}")
        if name == "revoke_token" and things is not ABSENT:
            token_id, _ = self.lab.book.create(f"spare-{self._made}", Role.ANALYST, None, None, "ada")
            return replace(things, task_id=str(token_id))
        if name == "delete_restore_point" and used_up:
            return replace(things, restore_point=things.spare_points.pop())
        return things

    def ask(self, name: str, client: Client, things: Things, expected: int) -> httpx.Response:
        """Ask; check the status, and that exactly one record tells the call."""
        request = OPERATIONS[name].request(things)
        position = self.lab.log.position()
        answer = self.server.ask(*request[:2], client.secret, request[2])
        assert answer.status_code == expected, (name, client.caller, request, answer.text)
        records = self.lab.accesses(position)
        told = [(one.caller, one.caller_kind, one.role, one.operation, one.status) for one in records]
        operation, caller = OPERATIONS[name], client.caller
        assert told == ([(caller.name, "token", caller.role, name, expected)] if operation.needs else []), request
        return answer


def expected(operation: Operation, client: Client, things: Things, foreign: bool) -> int:
    """The status that the table says."""
    if operation.needs is None:
        return operation.found
    if not client.may(operation.needs):
        return 403
    hidden = foreign and not client.caller.scope.everything
    if operation.names and (things is ABSENT or hidden):
        return operation.absent
    return 403 if operation.then and not client.may(operation.then) else operation.found


def shape(answer: httpx.Response, things: Things) -> str:
    """An answer without what differs between any two calls: the things it names, and how far the log has come."""
    text = re.sub(r'"(position|lag)":\d+', "", answer.text)
    text = re.sub(rf"\b{things.position}\b", "<position>", text)
    for identifier in (things.machine, things.machine_id, things.disk_id, things.restore_point, things.digest):
        text = text.replace(identifier, "<thing>")
    return text.replace(things.task_id, "<thing>")


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    """The server, and a client for each role, of everything and of some machines."""
    root = tmp_path_factory.mktemp("matrix")
    with closing(ApiLab(root)) as lab, served(lab.lab.home.root, root) as server:
        yield Matrix(lab, server)


def test_every_operation_has_its_row() -> None:
    """An operation of the document without a row here, or a row without an operation, fails."""
    assert {one["operationId"] for one in operations_of(bare_app().state.document)} == set(OPERATIONS)


def test_what_needs_no_caller_says_so() -> None:
    """Open on loopback are exactly the operations that the document declares without security, or with it at will."""
    document = bare_app().state.document
    assert document["security"] == [{"bearer": []}]
    declared = {
        one["operationId"] for one in operations_of(document) if one.get("security") in ([], [{}, {"bearer": []}])
    }
    assert declared == {name for name, operation in OPERATIONS.items() if operation.needs is None}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_role_may_what_it_grants_and_a_scope_hides_the_rest(matrix: Matrix, name: str) -> None:
    """Each role, of all machines or of some, about a machine in its scope, one outside it, and one that is not there.

    What is outside a scope has the status and the very words of what does not exist, and nothing of it is told.
    """
    operation = OPERATIONS[name]
    for client in matrix.clients:
        hidden = []
        for things in (matrix.lab.own, matrix.lab.foreign, ABSENT):
            status = expected(operation, client, things, things is matrix.lab.foreign)
            asked = matrix.fresh(name, things, used_up=status == operation.found)
            answer = matrix.ask(name, client, asked, status)
            if operation.needs and not client.caller.scope.everything:
                tell_nothing(answer, matrix.lab.foreign)
                hidden.append(shape(answer, asked))
        if hidden and operation.names:
            assert hidden[1] == hidden[2], (name, client.caller)


def tell_nothing(answer: httpx.Response, foreign: Things) -> None:
    """Nothing of the foreign machine is in an answer, but for what its request named itself."""
    asked = f"{answer.request.url} {answer.request.content.decode()}"
    said = f"{answer.text} {dict(answer.headers)}"
    for identifier in foreign.identifiers():
        assert identifier in asked or identifier not in said, answer.request.url


@pytest.mark.parametrize("name", OPERATIONS)
def test_strangers_get_nothing(matrix: Matrix, name: str) -> None:
    """Without a good credential every operation but the open ones is 401, the same for things that are not there."""
    operation = OPERATIONS[name]
    for secret in matrix.strangers.values():
        told = []
        for things in (matrix.lab.own, ABSENT):
            position = matrix.lab.log.position()
            method, path, body = operation.request(things)
            answer = matrix.server.ask(method, path, secret, body)
            assert answer.status_code == (401 if operation.needs else operation.found)
            assert matrix.lab.accesses(position) == []
            if operation.needs:
                assert answer.headers["www-authenticate"].startswith("Bearer")
                assert answer.headers["content-type"] == "application/problem+json"
                told.append(shape(answer, things))
        assert len(set(told)) <= 1


@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if operation.needs is None])
def test_what_is_open_tells_nothing_of_the_catalog(matrix: Matrix, name: str) -> None:
    """No name and no identifier of any machine is in an answer that nobody must be known for."""
    said = matrix.server.ask(*OPERATIONS[name].request(ABSENT)[:2], None).text
    for identifier in matrix.lab.foreign.identifiers():
        assert identifier not in said or (identifier == FOREIGN and name == "get_document")


def test_sql_knows_nothing_outside_the_scope(matrix: Matrix) -> None:
    """Whatever view a scoped caller reads, nothing of the foreign machine is in the answer."""
    auditor = matrix.named("auditor-some")
    views = [view["name"] for view in matrix.server.ask("GET", "/v1/sql/views", auditor.secret).json()["items"]]
    assert "machines" in views
    for view in views:
        answer = matrix.server.ask("POST", "/v1/sql", auditor.secret, {"query": "FROM " + view})
        assert answer.status_code == 200, (view, answer.text)
        tell_nothing(answer, matrix.lab.foreign)


def test_a_scoped_caller_sees_no_event_of_others(matrix: Matrix) -> None:
    """Walking through all pages of events and tasks meets nothing foreign, and nothing that belongs to no machine."""
    auditor = matrix.named("auditor-some")
    for path in ("/v1/events?limit=10", "/v1/tasks?limit=10", "/v1/restore-points?include_deleted=true&limit=2"):
        following: str | None = path
        seen = 0
        while following is not None:
            answer = matrix.server.ask("GET", following, auditor.secret)
            assert answer.status_code == 200
            tell_nothing(answer, matrix.lab.foreign)
            page = answer.json()
            seen += len(page["items"])
            following = f"{path}&cursor={page['next']}" if page["next"] else None
        assert seen > 0
    kinds = {
        one["topic"].partition("/")[0]
        for one in matrix.server.ask("GET", "/v1/events?limit=1000", auditor.secret).json()["items"]
    }
    assert not kinds & {"TokenCreated", "TokenRevoked", "AccessRecorded", "SourceAdded", "CheckpointPublished"}


def test_a_cursor_of_another_scope_is_refused(matrix: Matrix) -> None:
    """A cursor that somebody who sees everything got is no use to who does not."""
    everywhere, some = matrix.named("auditor-all"), matrix.named("auditor-some")
    cursor = matrix.server.ask("GET", "/v1/events?limit=1", everywhere.secret).json()["next"]
    assert cursor
    answer = matrix.server.ask("GET", f"/v1/events?limit=1&cursor={cursor}", some.secret)
    assert answer.status_code == 400
