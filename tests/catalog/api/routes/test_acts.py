"""Acts over HTTP, of a real server: what is recorded of them, and what is said when their answer fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from catalog import deletion
from catalog.access.caller import Role
from catalog.api.settings import Limits, ServeSettings
from catalog.domain.access import AccessRecorded
from catalog.domain.events import RestorePointDeleted
from storage.errors import Limit, Unavailable
from tests.support.api_home import ApiHome
from tests.support.api_server import ApiServer, served

TOKEN = {"name": "t", "role": "auditor"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> ApiHome:
    """A home whose tokens and points these tests make and use up."""
    return ApiHome.made(tmp_path_factory.mktemp("acts"))


@pytest.fixture(scope="module")
def admin(home: ApiHome) -> Iterator[Admin]:
    """Its server, asked by an admin."""
    settings = ServeSettings(limits=Limits(wait_seconds=0.5))
    with served(home.home, settings, with_door=False) as server:
        yield Admin(server)


class Admin:
    """Asks with the token of an admin."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.log = server.services.catalog.log
        _, self.secret = server.services.tokens.create("admin", Role.ADMIN, None, None, "test")

    def ask(self, status: int, method: str, path: str, *, body: Any = None, **headers: str) -> Any:
        """A request that must be answered so, and leave exactly one record, which says so."""
        before = self.log.position()
        got = self.server.ask(method, path, body=body, token=self.secret, **headers)
        assert got.status == status, got
        assert self.recorded(before) == [status]
        return got.json()

    def recorded(self, before: int) -> list[int]:
        """The statuses in the records of calls behind a position."""
        found = self.log.follow_only((AccessRecorded,), before)
        return [one.event.status for one in found if isinstance(one.event, AccessRecorded)]

    def tombstones(self) -> set[UUID]:
        """The points that were deleted."""
        found = self.log.follow_only((RestorePointDeleted,))
        return {one.event.restore_point_id for one in found if isinstance(one.event, RestorePointDeleted)}


def test_an_act_is_recorded_with_its_outcome(admin: Admin, home: ApiHome) -> None:
    """One record for each act, with the status that was answered, also when nothing was done."""
    made = admin.ask(201, "POST", "/v1/tokens", body=TOKEN)
    assert admin.ask(409, "POST", "/v1/tokens", body=TOKEN)["code"] == "token-name"
    path = f"/v1/tokens/{made['token_id']}"
    assert admin.ask(200, "DELETE", path)["revoked_by"] == "admin"
    admin.ask(200, "DELETE", path, Accept="text/csv")
    assert admin.ask(404, "DELETE", f"/v1/tokens/{uuid4()}")["code"] == "token-unknown"
    point = f"/v1/restore-points/{home.points[0]}?reason=test"
    assert admin.ask(200, "DELETE", point)["deleted"]["actor"] == "admin"
    assert admin.ask(404, "DELETE", point)["code"] == "restore-point-deleted"
    admin.ask(404, "DELETE", f"/v1/restore-points/{uuid4()}?reason=test")
    admin.ask(406, "GET", "/v1/machines", Accept="image/png")
    admin.ask(406, "GET", f"/v1/restore-points/{home.points[1]}", Accept="text/csv")


def test_an_act_without_its_record_says_that_it_happened(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a call cannot be recorded behind its act, the answer is a 503 that says what was done all the same."""
    token_id, _ = admin.server.services.tokens.create("gone", Role.AUDITOR, None, None, "test")

    def full(*_: object, **__: object) -> int:
        raise Limit("no", code="access-queue")

    with monkeypatch.context() as broken:
        broken.setattr(type(admin.server.services.journal), "record", full)
        ask = {"token": admin.secret}
        problem = admin.server.problem(503, "done-unanswered", "DELETE", f"/v1/tokens/{token_id}", **ask)
        assert str(token_id) in problem["detail"]
        assert problem["hint"]
        assert not problem["retryable"]
        body = {"name": "secretless", "role": "auditor"}
        admin.server.problem(503, "done-unanswered", "POST", "/v1/tokens", body=body, **ask)
        admin.server.problem(503, "done-unanswered", "POST", "/v1/backups", body={"source": "lab"}, **ask)
        problem = admin.server.problem(429, "access-queue", "DELETE", f"/v1/tokens/{uuid4()}", **ask)
    rows = {row.name: row for row in admin.server.services.tokens.tokens()}
    assert rows["gone"].revoked_by == rows["secretless"].created_by == "admin"


def test_a_deletion_that_the_index_does_not_show_yet(
    admin: Admin, home: ApiHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion whose outcome cannot be shown is answered, and recorded, as a 503 that says that it happened."""

    def broken() -> int:
        raise Unavailable("no", code="disk-gone")

    path = f"/v1/restore-points/{home.points[1]}?reason=test"
    with monkeypatch.context() as behind:
        behind.setattr(admin.server.services.follower, "_project", broken)
        problem = admin.ask(503, "DELETE", path)
    assert problem["code"] == "done-unanswered"
    assert "projection-behind" in problem["detail"]
    assert home.points[1] in admin.tombstones()


def test_only_what_was_looked_at_is_deleted(admin: Admin, home: ApiHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """With If-Match nothing is deleted that changed since, not even while the deletion is under way."""
    wanted, other = home.points[3], home.points[2]
    path = f"/v1/restore-points/{wanted}"
    tag = admin.server.get(path, token=admin.secret).headers["etag"]
    assert admin.ask(412, "DELETE", f"{path}?reason=x", If_Match='"other"')["code"] == "etag-mismatch"

    def later(*arguments: Any, **options: Any) -> RestorePointDeleted:
        about = {"actor": "eve", "reason": "first", "clock": admin.server.services.clock}
        deletion.delete_point(arguments[0], home.machines[0], other, **about)  # type: ignore[arg-type]
        return deletion.delete_point(*arguments, **options)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("catalog.api.routes.points.delete_point", later)
        assert admin.ask(412, "DELETE", f"{path}?reason=x", If_Match=tag)["code"] == "etag-mismatch"
    assert wanted not in admin.tombstones()
    assert other in admin.tombstones()
    admin.ask(200, "DELETE", f"{path}?reason=x", If_Match=tag)
    assert wanted in admin.tombstones()
    assert admin.ask(412, "DELETE", f"{path}?reason=x", If_Match=tag)["code"] == "etag-mismatch"
