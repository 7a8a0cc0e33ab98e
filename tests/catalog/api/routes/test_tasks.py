"""Work over HTTP: a real server, a real worker, real clients."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import httpx
import pytest

from catalog.domain import requests as rq
from catalog.domain.access import AccessRecorded
from catalog.domain.events import MachineSeen
from tests.support.eventually import eventually
from tests.support.lab import MIB, Lab, make_image, pieces

ROLES = ("auditor", "analyst", "restorer", "operator", "admin")
MAY = {
    "backups": {"operator", "admin"},
    "synthetics": {"operator", "admin"},
    "restores": {"restorer", "admin"},
    "verifications": {"restorer", "operator", "admin"},
}
NOBODY = "00000000-0000-4000-8000-00000000dead"


@dataclass
class Counter:
    """A server over a repository of two machines, `a` and `b`, and tokens of each role."""

    lab: Lab
    url: str
    tokens: dict[str, str]
    machines: dict[str, str]
    points: dict[str, str]

    def client(self, who: str = "admin") -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.tokens[who]}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def work(self) -> None:
        self.lab.ok("worker", "--once", "--restore-to", self.lab.root)


def bodies(counter: Counter, machine: str) -> dict[str, dict[str, Any]]:
    """A good request of each kind, about a machine."""
    point = counter.points[machine]
    return {
        "backups": {"machine_id": counter.machines[machine]},
        "synthetics": {"restore_point_id": point},
        "restores": {"restore_point_id": point, "to": f"to-{uuid4()}"},
        "verifications": {"restore_point_id": point, "level": "stored"},
    }


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counter]:
    """The server runs for all tests of this file."""
    lab = Lab(tmp_path_factory.mktemp("tasks"))
    for name in ("a", "b"):
        make_image(lab.images / f"{name}.raw", 2 * MIB, list(pieces(Random(name), [(0, MIB)])))
    lab.add_images()
    points = {record["machine"]: record["restore_point"] for record in lab.backup()}
    machines = {event.name: str(event.originator_id) for event in lab.of_type(MachineSeen)}
    tokens = {role: lab.json("token", "create", "--name", role, "--role", role)["secret"] for role in ROLES}
    for role in ("operator", "restorer"):
        made = lab.json("token", "create", "--name", f"a-{role}", "--role", role, "--machines", "lab/a")
        tokens[f"a-{role}"] = made["secret"]
    process = lab.start("serve", "--port", "0", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    head = b""
    while not head.rstrip().endswith(b"}"):
        head += process.stdout.readline()
    drain = threading.Thread(target=process.stderr.read)
    drain.start()
    yield Counter(lab, json.loads(head)["url"], tokens, machines, points)
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    drain.join()
    process.stdout.close()
    process.stderr.close()


def accesses(counter: Counter) -> int:
    """How many calls are recorded."""
    return len(counter.lab.of_type(AccessRecorded))


@pytest.mark.parametrize("kind", MAY)
def test_a_request_is_accepted_and_done(counter: Counter, kind: str) -> None:
    """202 with the task, where to look and when; a worker does it; looking again shows how it ended."""
    with counter.client() as client:
        before = accesses(counter)
        answer = client.post(f"/v1/{kind}", json=bodies(counter, "a")[kind])
        assert answer.status_code == 202, answer.text
        assert accesses(counter) == before + 1
        task = answer.json()
        assert (task["status"], task["requested_by"], task["kind"]) == ("requested", "admin", kind.rstrip("s"))
        assert answer.headers["Location"] == f"/v1/tasks/{task['task_id']}"
        assert int(answer.headers["Retry-After"]) >= 1
        assert client.get(answer.headers["Location"]).headers["Retry-After"]
        counter.work()
        looked = client.get(answer.headers["Location"])
        assert (looked.status_code, looked.json()["status"]) == (200, "succeeded"), looked.text
        assert "Retry-After" not in looked.headers
        assert looked.json()["restore_points"]
        assert datetime.fromisoformat(looked.json()["ended_at"]).tzinfo == UTC


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", MAY)
def test_a_role_asks_for_what_it_may(counter: Counter, kind: str, role: str) -> None:
    """Each role gets 202 for its work and 403 for any other; nobody without a token gets anything."""
    body = bodies(counter, "b")[kind]
    with counter.client(role) as client:
        answer = client.post(f"/v1/{kind}", json=body)
    if role in MAY[kind]:
        assert answer.status_code == 202
        _cancel(counter, answer.json()["task_id"])
    else:
        assert (answer.status_code, answer.json()["code"]) == (403, "role-permission")
    assert httpx.post(f"{counter.url}v1/{kind}", json=body, trust_env=False).status_code == 401


def _cancel(counter: Counter, task_id: str) -> None:
    with counter.client() as client:
        assert client.post(f"/v1/tasks/{task_id}/cancel").status_code == 202


def test_a_foreign_machine_does_not_exist(counter: Counter) -> None:
    """Requests, looks, streams, cancels and lists of a narrow token know nothing of another machine's work."""
    with counter.client() as client:
        foreign = client.post("/v1/verifications", json=bodies(counter, "b")["verifications"]).json()["task_id"]
        own = client.post("/v1/verifications", json=bodies(counter, "a")["verifications"]).json()["task_id"]
    for token, kinds in (("a-operator", ("backups", "synthetics", "verifications")), ("a-restorer", ("restores",))):
        with counter.client(token) as client:
            for kind in kinds:
                assert client.post(f"/v1/{kind}", json=bodies(counter, "b")[kind]).status_code == 404
            assert client.get(f"/v1/tasks/{foreign}").status_code == 404
            assert client.get(f"/v1/tasks/{foreign}/progress").status_code == 404
            assert client.post(f"/v1/tasks/{foreign}/cancel").status_code == 404
            listed = {task["task_id"] for task in client.get("/v1/tasks?limit=1000").json()["items"]}
            assert own in listed
            assert foreign not in listed
    with counter.client("a-operator") as client:
        assert client.post("/v1/backups", json={"source": "lab"}).json()["code"] == "source-unknown"
    for task in (foreign, own):
        _cancel(counter, task)


def test_a_repeated_request_is_one_task(counter: Counter) -> None:
    """The same key and body give the same task, also from threads at once; another body is a conflict."""
    key, body = {"Idempotency-Key": str(uuid4())}, bodies(counter, "a")["verifications"]
    found: list[str] = []

    def ask() -> None:
        with counter.client() as client:
            answer = client.post("/v1/verifications", json=body, headers=key)
            assert answer.status_code == 202
            found.append(answer.json()["task_id"])

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1
    with counter.client() as client:
        other = client.post("/v1/verifications", json={**body, "level": "content"}, headers=key)
        assert (other.status_code, other.json()["code"]) == (409, "idempotency-mismatch")
        # The same key of somebody else names another task.
        with counter.client("operator") as operator:
            assert operator.post("/v1/verifications", json=body, headers=key).json()["task_id"] not in found
    counter.work()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/backups", {}, 422),
        ("/v1/backups", {"source": None}, 422),
        ("/v1/backups", {"source": "nowhere"}, 404),
        ("/v1/backups", {"source": "lab", "fast": True}, 422),
        ("/v1/backups", {"source": 7}, 422),
        ("/v1/backups", [], 422),
        ("/v1/restores", {"restore_point_id": NOBODY, "to": "x"}, 404),
        ("/v1/restores", {"restore_point_id": "x", "to": "x"}, 422),
        ("/v1/verifications", {"restore_point_id": NOBODY}, 404),
        ("/v1/synthetics", {"restore_point_id": NOBODY}, 404),
        (f"/v1/tasks/{NOBODY}/cancel", None, 404),
        ("/v1/backups?dry_run=1", {"source": "lab"}, 400),
    ],
)
def test_bad_requests_are_problems(counter: Counter, path: str, body: Any, status: int) -> None:
    """What cannot be asked for is told as a problem and leaves no request."""
    before = len(counter.lab.of_type(rq.BackupRequested))
    with counter.client() as client:
        answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(counter.lab.of_type(rq.BackupRequested)) == before


@pytest.mark.parametrize("to", ["../x", "/etc/x", "a//b", ".x", "a\nb", "a\u202eb"])
def test_a_restore_goes_below_the_folder_only(counter: Counter, to: str) -> None:
    """Names that lead elsewhere are refused when they are asked for."""
    with counter.client("restorer") as client:
        answer = client.post("/v1/restores", json={"restore_point_id": counter.points["a"], "to": to})
    assert (answer.status_code, answer.json()["code"]) == (400, "restore-target")


def test_pages_of_tasks(counter: Counter) -> None:
    """Pages follow one another by cursor without losing or repeating a task; a status narrows them."""
    with counter.client() as client:
        for _ in range(3):
            client.post("/v1/verifications", json=bodies(counter, "a")["verifications"])
        listed = client.get("/v1/tasks?limit=1000").json()
        assert set(listed) == {"items", "next", "position", "lag"}
        found, cursor = [], ""
        while True:
            page = client.get(f"/v1/tasks?limit=2{cursor}").json()
            found += [task["task_id"] for task in page["items"]]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        assert found == [task["task_id"] for task in listed["items"]]
        waiting = client.get("/v1/tasks?status=requested&status=running").json()["items"]
        assert len(waiting) == 3
        assert client.get("/v1/tasks?status=asleep").status_code == 400
        csv = client.get("/v1/tasks?limit=2", headers={"Accept": "text/csv"})
        assert csv.status_code == 200
        assert len(csv.text.splitlines()) == 3
    counter.work()


def messages(counter: Counter, task_id: str, seen: list[dict[str, Any]]) -> None:
    """Follow a task to the end of its stream."""
    with counter.client() as client, client.stream("GET", f"/v1/tasks/{task_id}/progress") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                seen.append(json.loads(line[6:]))


def test_progress_is_told_until_the_end(counter: Counter) -> None:
    """A stream begins with the task as it is, tells each change in order, and ends with the end."""
    with counter.client() as client:
        task_id = client.post("/v1/backups", json={"source": "lab", "full": True}).json()["task_id"]
        seen: list[dict[str, Any]] = []
        thread = threading.Thread(target=messages, args=(counter, task_id, seen))
        thread.start()
        eventually(lambda: seen or None, "the stream begins")
        counter.work()
        thread.join(30)
        assert not thread.is_alive()
    statuses = [task["status"] for task in seen]
    assert statuses[0] == "requested"
    assert statuses[-1] == "succeeded"
    assert "running" in statuses
    assert any(task["what"] for task in seen)
    again: list[dict[str, Any]] = []
    messages(counter, task_id, again)
    assert again == seen[-1:]


def test_cancelling_over_http(counter: Counter) -> None:
    """A waiting task ends at once; again is the same; a task that ended well cannot be stopped."""
    with counter.client() as client:
        task_id = client.post("/v1/backups", json={"source": "lab"}).json()["task_id"]
        with counter.client("auditor") as auditor:
            assert auditor.get(f"/v1/tasks/{task_id}").status_code == 200
            assert auditor.post(f"/v1/tasks/{task_id}/cancel").status_code == 403
        for _ in range(2):
            answer = client.post(f"/v1/tasks/{task_id}/cancel")
            assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
            assert answer.json()["cancelled_by"] == "admin"
        done = client.post("/v1/verifications", json=bodies(counter, "a")["verifications"]).json()["task_id"]
        counter.work()
        late = client.post(f"/v1/tasks/{done}/cancel")
        assert (late.status_code, late.json()["code"]) == (409, "task-ended")


def test_a_request_names_who_asked(counter: Counter, tmp_path: Path) -> None:
    """The record of a call holds what was asked for, and no secret."""
    with counter.client("a-operator") as client:
        client.post("/v1/backups", json={"machine_id": counter.machines["a"]}, headers={"Idempotency-Key": "nightly-1"})
    access = counter.lab.of_type(AccessRecorded)[-1]
    assert (access.caller, access.operation, access.status) == ("a-operator", "request_backup", 202)
    assert counter.machines["a"] in access.detail
    assert counter.tokens["a-operator"] not in str(access)
    assert counter.lab.of_type(rq.BackupRequested)[-1].requested_by == "a-operator"
    counter.work()
