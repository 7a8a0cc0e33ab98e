"""A source's password is in no event, table, log, error, traceback, answer or argument, used rightly or refused."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import SourceDenied
from adapters.port import SourceFact
from adapters.secret import Secret
from catalog.domain import events as ev
from ingest import kinds
from ingest.secrets import checked_reference, secret_of
from ingest.sources import connected
from tests.support.lab import CHUNK, Lab
from tests.support.memory_source_simulator import Hypervisor, MemorySource

CANARY = "c4n4ry-0f-a-passw0rd"


class LockedSource(MemorySource):
    """Asks for the password before it answers anything."""

    def __init__(self, hypervisor: Hypervisor, password: Secret) -> None:
        super().__init__(hypervisor)
        self._password = password

    def check(self) -> SourceFact:
        if self._password.reveal() != CANARY:
            raise SourceDenied("The source refused the password", code="source-login")
        return super().check()

    def inventory(self) -> Any:
        self.check()
        return super().inventory()


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> Hypervisor:
    """A simulated hypervisor behind a password, known as the kind `locked`."""
    hypervisor = Hypervisor()
    hypervisor.add("web", b"1" * CHUNK)

    def build(_home: object, _name: str, settings: Mapping[str, str]) -> LockedSource:
        return LockedSource(hypervisor, secret_of(settings["password"]))

    setting = kinds.Setting("password", checked_reference, required=True)
    monkeypatch.setitem(kinds.KINDS, "locked", kinds.Kind((setting,), build))
    return hypervisor


@pytest.fixture
def reference(lab: Lab, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The password in the environment or in a file."""
    if request.param == "env":
        monkeypatch.setenv("LOCKED_PASSWORD", CANARY)
        return "env:LOCKED_PASSWORD"
    path = tmp_path / "password"
    path.write_text(CANARY + "\n")
    path.chmod(0o600)
    return f"file:{path}" if request.param == "file" else f"command:cat {path}"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """An empty repository."""
    return Lab(tmp_path / "lab")


def _everywhere(lab: Lab) -> bytes:
    lab.ok("rebuild", "index")
    return b"".join(path.read_bytes() for path in lab.root.rglob("*") if path.is_file())


@pytest.mark.parametrize("reference", ["env", "file", "command"], indirect=True)
def test_a_password_is_nowhere(
    lab: Lab, locked: Hypervisor, reference: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Added, listed, checked, backed up and given back: only the reference is kept and shown."""
    said = lab.ok("source", "add", "dc1", "--kind", "locked", "--password", reference)
    answers = [said]
    commands = (
        ["source", "list"],
        ["source", "list", "--json"],
        ["source", "check", "dc1"],
        ["backup", "dc1"],
        ["restore", "latest", "--to-source", "dc1"],
        ["events"],
        ["events", "--json"],
        ["doctor"],
    )
    for command in commands:
        answers.append(lab.run(*command))
    assert all(CANARY not in answer.out + answer.err for answer in answers)
    assert reference in answers[1].out
    (added,) = lab.of_type(ev.SourceAdded)
    assert added.settings == {"password": reference}
    assert CANARY.encode() not in _everywhere(lab)
    assert CANARY not in repr(lab.recorded())
    assert CANARY not in caplog.text


@pytest.mark.parametrize("reference", ["env"], indirect=True)
def test_a_refused_password_is_nowhere(
    lab: Lab, locked: Hypervisor, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that refuses it, when it is added or later, says so without it; nothing is added."""
    monkeypatch.setenv("LOCKED_PASSWORD", f"{CANARY}-wrong")
    answer = lab.run("source", "add", "dc1", "--kind", "locked", "--password", reference, "--json")
    assert (answer.code, answer.problem()["code"]) == (6, "source-login")
    assert lab.of_type(ev.SourceAdded) == []
    monkeypatch.setenv("LOCKED_PASSWORD", CANARY)
    lab.ok("source", "add", "dc1", "--kind", "locked", "--password", reference)
    monkeypatch.setenv("LOCKED_PASSWORD", f"{CANARY}-wrong")
    later = lab.run("backup", "dc1", "--json")
    assert later.code == 6
    with lab.services() as services, pytest.raises(SourceDenied) as caught, connected(services, "dc1") as source:
        source.check()
    trace = "".join(traceback.format_exception(caught.value))
    assert CANARY not in f"{answer.err}{answer.out}{later.err}{later.out}{trace}"
    assert CANARY.encode() not in _everywhere(lab)
    assert CANARY not in repr(lab.recorded())


def test_a_password_that_is_gone_fails_the_backup_alone(
    lab: Lab, locked: Hypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reference that leads nowhere one night is an error with its own code; the source stays."""
    monkeypatch.setenv("LOCKED_PASSWORD", CANARY)
    lab.ok("source", "add", "dc1", "--kind", "locked", "--password", "env:LOCKED_PASSWORD")
    monkeypatch.delenv("LOCKED_PASSWORD")
    assert lab.fails(5, "backup", "dc1")["code"] == "secret-missing"
    monkeypatch.setenv("LOCKED_PASSWORD", CANARY)
    lab.ok("backup", "dc1")
