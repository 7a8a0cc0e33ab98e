"""Who may ask for what, and the same request is the same task."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.access.caller import EVERYTHING, Caller, Role, Scope
from catalog.domain import events as ev
from catalog.domain import requests as rq
from catalog.domain.task import TaskState
from catalog.tasks import TaskBook, TaskDirectory, book
from catalog.tasks.names import check_target
from storage.errors import Conflict, Denied, HoldfastError, Invalid, Limit, NotFound
from tests.catalog.tasks.conftest import (
    ADMIN,
    AUDITOR,
    DB,
    DB_POINT,
    SOURCE,
    WEB,
    WEB_DISK,
    WEB_OPERATOR,
    WEB_POINT,
    WEB_RESTORER,
    Desk,
    event,
)

Ask = Callable[[TaskBook, Caller, str | None], TaskState]
ASKS: dict[str, Ask] = {
    "backup": lambda book, who, key: book.request_backup(who, machine_id=WEB, idempotency_key=key),
    "full backup": lambda book, who, key: book.request_backup(who, machine_id=WEB, full=True, idempotency_key=key),
    "synthetic": lambda book, who, key: book.request_synthetic(who, restore_point_id=WEB_POINT, idempotency_key=key),
    "restore": lambda book, who, key: book.request_restore(
        who, restore_point_id=WEB_POINT, to="a/b", idempotency_key=key
    ),
    "verification": lambda book, who, key: book.request_verification(
        who, restore_point_id=WEB_POINT, idempotency_key=key
    ),
}
MAY: dict[Role, set[str]] = {
    Role.AUDITOR: set(),
    Role.ANALYST: set(),
    Role.RESTORER: {"restore", "verification"},
    Role.OPERATOR: {"backup", "full backup", "synthetic", "verification"},
    Role.ADMIN: set(ASKS),
    Role.AGENT: set(),
}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("ask", ASKS)
def test_a_role_asks_for_what_it_may(desk: Desk, role: Role, ask: str) -> None:
    """What a role does not grant is denied and leaves no event; what it grants is recorded with who asked."""
    caller = Caller("somebody", "token", role, EVERYTHING)
    before = desk.log.position()
    if ask not in MAY[role]:
        with pytest.raises(Denied):
            ASKS[ask](desk.book, caller, None)
        assert desk.log.position() == before
        return
    state = ASKS[ask](desk.book, caller, None)
    assert (state.status, state.request.requested_by, state.machine_id) == ("requested", "somebody", WEB)
    assert desk.book.task(ADMIN, state.task_id) == state


def _refused(desk: Desk, code: str, kind: type[HoldfastError], ask: Callable[[], object]) -> None:
    before = desk.log.position()
    with pytest.raises(kind) as caught:
        ask()
    assert caught.value.code == code
    assert desk.log.position() == before


def test_what_is_not_there_is_not_found(desk: Desk) -> None:
    """A request for a source, machine, point or disk that does not exist records nothing."""
    nobody = UUID(int=99)
    asks: list[tuple[str, Callable[[], object]]] = [
        ("source-unknown", lambda: desk.book.request_backup(ADMIN, source="elsewhere")),
        ("machine-unknown", lambda: desk.book.request_backup(ADMIN, machine_id=nobody)),
        ("machine-unknown", lambda: desk.book.request_backup(ADMIN, source="elsewhere", machine_id=WEB)),
        ("restore-point-unknown", lambda: desk.book.request_synthetic(ADMIN, restore_point_id=nobody)),
        ("restore-point-unknown", lambda: desk.book.request_verification(ADMIN, restore_point_id=nobody)),
        ("restore-point-unknown", lambda: desk.book.request_restore(ADMIN, restore_point_id=nobody, to="a")),
        (
            "disk-unknown",
            lambda: desk.book.request_restore(ADMIN, restore_point_id=WEB_POINT, to="a", disk_id=nobody),
        ),
        ("task-unknown", lambda: desk.book.task(ADMIN, nobody)),
        ("task-unknown", lambda: desk.book.task(ADMIN, WEB)),
        ("task-unknown", lambda: desk.book.cancel(ADMIN, nobody)),
    ]
    for code, ask in asks:
        _refused(desk, code, NotFound, ask)
    _refused(desk, "backup-of-nothing", Invalid, lambda: desk.book.request_backup(ADMIN))


def test_what_is_out_of_scope_does_not_exist(desk: Desk) -> None:
    """Of a foreign machine a caller learns what it learns of one that was never there, its deleted points included."""
    deleted = {"restore_point_id": DB_POINT, "actor": "x", "rule": "by-hand", "reason": "secret"}
    desk.log.save(event(ev.RestorePointDeleted, DB, 4, **deleted))
    _refused(desk, "machine-unknown", NotFound, lambda: desk.book.request_backup(WEB_OPERATOR, machine_id=DB))
    _refused(desk, "source-unknown", NotFound, lambda: desk.book.request_backup(WEB_OPERATOR, source="lab"))
    for ask in (
        lambda: desk.book.request_synthetic(WEB_OPERATOR, restore_point_id=DB_POINT),
        lambda: desk.book.request_verification(WEB_OPERATOR, restore_point_id=DB_POINT),
        lambda: desk.book.request_restore(WEB_RESTORER, restore_point_id=DB_POINT, to="a"),
    ):
        _refused(desk, "restore-point-unknown", NotFound, ask)
    _refused(
        desk,
        "restore-point-deleted",
        NotFound,
        lambda: desk.book.request_verification(ADMIN, restore_point_id=DB_POINT),
    )


def test_tasks_of_foreign_machines_are_not_listed(desk: Desk) -> None:
    """Lists, look-ups and cancelling know only the tasks of machines in scope; those of whole sources need all."""
    whole = desk.book.request_backup(ADMIN, source="lab")
    foreign = desk.book.request_backup(ADMIN, machine_id=DB)
    own = desk.book.request_backup(ADMIN, machine_id=WEB)
    assert [row.state.task_id for row in desk.book.tasks(ADMIN).rows] == [own.task_id, foreign.task_id, whole.task_id]
    assert [row.state for row in desk.book.tasks(WEB_OPERATOR).rows] == [own]
    assert desk.book.task(WEB_OPERATOR, own.task_id) == own
    for hidden in (whole, foreign):
        _refused(desk, "task-unknown", NotFound, lambda task=hidden: desk.book.task(WEB_OPERATOR, task.task_id))
        _refused(desk, "task-unknown", NotFound, lambda task=hidden: desk.book.cancel(WEB_OPERATOR, task.task_id))
    # A machine that gets another name leaves the scope, and its tasks with it.
    renamed = {"source_id": SOURCE, "source": "lab", "key": "web", "name": "www", "disks": ()}
    desk.log.save(event(ev.MachineSeen, WEB, 4, **renamed))
    assert desk.book.tasks(WEB_OPERATOR).rows == ()


def test_pages_are_the_whole_list(desk: Desk) -> None:
    """Pages of any size, one behind the other, are every task once, the newest first; a status narrows them."""
    made = [desk.book.request_verification(ADMIN, restore_point_id=WEB_POINT).task_id for _ in range(7)]
    desk.book.cancel(ADMIN, made[3])
    for limit in (1, 2, 3, 7, 100):
        found, before = list[UUID](), None
        while True:
            page = desk.book.tasks(ADMIN, limit=limit, before=before)
            found += [row.state.task_id for row in page.rows]
            assert len(page.rows) <= limit
            if (before := page.next) is None:
                break
        assert found == made[::-1]
    assert [row.state.task_id for row in desk.book.tasks(ADMIN, statuses={"cancelled"}).rows] == [made[3]]
    assert desk.book.tasks(ADMIN).position == desk.log.position()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=st.lists(
        st.tuples(st.sampled_from(sorted(ASKS)), st.sampled_from(["op", "re"]), st.sampled_from(["k1", "k2", None])),
        max_size=12,
    )
)
def test_a_key_names_one_request(desk: Desk, asked: list[tuple[str, str, str | None]]) -> None:
    """Whoever repeats a request under its key gets the task; another request under it is refused; no key is new."""
    known: dict[tuple[str, str], tuple[str, TaskState]] = {}
    books = [desk.book, desk.another_book()]
    salt = desk.log.position()  # all examples share a log
    for number, (ask, who, key) in enumerate(asked):
        caller = Caller(f"{who}-{salt}", "token", Role.ADMIN, EVERYTHING)
        before = desk.log.position()
        if key is None:
            ASKS[ask](books[0], caller, None)
            assert desk.log.position() == before + 1
            continue
        first = known.get((who, key))
        if first is None:
            known[who, key] = ask, ASKS[ask](books[number % 2], caller, key)
        elif first[0] == ask:
            assert ASKS[ask](books[number % 2], caller, key) == first[1]
        else:
            with pytest.raises(Conflict) as caught:
                ASKS[ask](books[number % 2], caller, key)
            assert caught.value.code == "idempotency-mismatch"
        assert desk.log.position() == before + (first is None)


def test_many_at_once_with_one_key_are_one_task(desk: Desk) -> None:
    """Threads that send the same request at the same moment record it once."""
    with ThreadPoolExecutor(8) as pool:
        states = list(pool.map(lambda _: ASKS["backup"](desk.book, ADMIN, "key"), range(24)))
    assert len({state.task_id for state in states}) == 1
    asked = [recorded.event for recorded in desk.log.follow() if isinstance(recorded.event, rq.BackupRequested)]
    assert len(asked) == 1


def test_a_repeated_request_is_answered_though_its_point_is_gone(desk: Desk) -> None:
    """A client that asks again after a lost answer gets its task, whatever became of the point meanwhile."""
    state = ASKS["verification"](desk.book, ADMIN, "key")
    deleted = {"restore_point_id": WEB_POINT, "actor": "x", "rule": "by-hand", "reason": "r"}
    desk.log.save(event(ev.RestorePointDeleted, WEB, 4, **deleted))
    assert ASKS["verification"](desk.book, ADMIN, "key") == state
    _refused(desk, "restore-point-deleted", NotFound, lambda: ASKS["verification"](desk.book, ADMIN, "other"))


@pytest.mark.parametrize("key", ["", "x" * 201, "a\nb", "ключ"])
def test_bad_keys_are_refused(desk: Desk, key: str) -> None:
    """A key is short printable ASCII."""
    _refused(desk, "idempotency-key", Invalid, lambda: ASKS["backup"](desk.book, ADMIN, key))


OUT = ["", "/", "/etc/x", "a//b", "a/", "..", "a/../b", ".", "./a", ".hidden", "a/.b"]
STRANGE = ["a\0b", "a\nb", "a\x1bb", "a\u202eb", "\ud800", " a", "a ", "x" * 201, "/".join(["x" * 100] * 11)]


@pytest.mark.parametrize("to", OUT + STRANGE, ids=repr)
def test_a_target_stays_below_the_folder(to: str) -> None:
    """No name leads out of the restore folder, hides, or carries control characters."""
    with pytest.raises(Invalid) as caught:
        check_target(to)
    assert caught.value.code == "restore-target"


@given(to=st.text(st.characters() | st.sampled_from("./\\ ~"), max_size=30))
def test_any_target_that_is_good_stays_below(to: str) -> None:
    """Whatever is accepted is, joined to a folder, the same path below it, and hides nothing."""
    try:
        check_target(to)
    except Invalid:
        return
    assert os.path.normpath(os.path.join("/r", to)) == f"/r/{to}"
    assert not any(part.startswith(".") for part in PurePosixPath(to).parts)
    assert to.isprintable()


@pytest.mark.parametrize("to", ["a", "a/b c/d", "web-1.2026", "日本", "x" * 200])
def test_plain_targets_are_good(to: str) -> None:
    """Plain names pass as they are."""
    assert check_target(to) == to


def test_cancelling(desk: Desk) -> None:
    """A task nobody has ends at once; one that a worker has is asked to; doing it twice is the same; an end stays."""
    waiting = ASKS["backup"](desk.book, ADMIN, None)
    assert desk.book.cancel(WEB_OPERATOR, waiting.task_id).status == "cancelled"
    assert desk.book.cancel(WEB_OPERATOR, waiting.task_id).status == "cancelled"
    taken = ASKS["restore"](desk.book, ADMIN, None)
    desk.log.save(event(rq.TaskStarted, taken.task_id, 2, worker="w", attempt=1))
    with pytest.raises(Denied):
        desk.book.cancel(WEB_OPERATOR, taken.task_id)
    with pytest.raises(Denied):
        desk.book.cancel(AUDITOR, taken.task_id)
    asked = desk.book.cancel(WEB_RESTORER, taken.task_id)
    assert (asked.status, asked.cancelled_by) == ("cancelling", "re")
    assert desk.book.cancel(ADMIN, taken.task_id) == asked
    desk.log.save(event(rq.TaskSucceeded, taken.task_id, 4, restore_points=(WEB_POINT,), partial=False, detail=""))
    _refused(desk, "task-ended", Conflict, lambda: desk.book.cancel(ADMIN, taken.task_id))


def test_only_so_many_tasks_wait(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks without end is stopped; ended tasks make room."""
    monkeypatch.setattr(book, "MAX_OPEN", 2)
    first = ASKS["backup"](desk.book, ADMIN, "first")
    ASKS["restore"](desk.book, ADMIN, None)
    _refused(desk, "tasks-open", Limit, lambda: ASKS["restore"](desk.book, ADMIN, None))
    assert ASKS["backup"](desk.book, ADMIN, "first") == first
    desk.book.cancel(ADMIN, first.task_id)
    ASKS["restore"](desk.book, ADMIN, None)


def test_old_tasks_leave_the_list_and_are_found(desk: Desk) -> None:
    """Of ended tasks the newest are listed, of open ones all; any can be looked up by its identifier."""
    made = [ASKS["backup"](desk.book, ADMIN, None).task_id for _ in range(5)]
    for task_id in made[1:]:
        desk.book.cancel(ADMIN, task_id)
    directory = TaskDirectory(desk.log, max_ended=2)
    page = directory.page(EVERYTHING, statuses=None, limit=10, before=None)
    assert [row.state.task_id for row in page.rows] == [made[4], made[3], made[0]]
    assert [state.task_id for state in directory.open_tasks()] == [made[0]]
    assert directory.state(made[1]) is None
    desk.book._tasks = directory
    assert desk.book.task(ADMIN, made[1]).status == "cancelled"


def test_a_disk_of_the_point_can_be_named(desk: Desk) -> None:
    """A restore of one disk names it; scopes are globs over source and name."""
    caller = Caller("g", "token", Role.RESTORER, Scope(("*/w*",)))
    fields: dict[str, Any] = {"restore_point_id": WEB_POINT, "to": "x", "image_format": "qcow2"}
    state = desk.book.request_restore(caller, disk_id=WEB_DISK, **fields)
    assert isinstance(state.request, rq.RestoreRequested)
    assert (state.request.disk_id, state.request.format, state.request.to) == (WEB_DISK, "qcow2", "x")
