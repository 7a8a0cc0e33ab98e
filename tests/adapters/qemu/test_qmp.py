"""The QMP client: what it accepts, what it refuses, and that it never waits for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.errors import (
    AdapterError,
    SourceConflict,
    SourceDenied,
    SourceInvalid,
    SourceLimit,
    SourceNotFound,
    SourceUnavailable,
)
from adapters.qemu import qmp as qmp_module
from adapters.qemu.qmp import Qmp
from adapters.qemu.refusals import refusal
from adapters.qemu.views import RunState
from tests.adapters.qemu.conftest import StartVm
from tests.support.qmp_simulator import Answer, ok, qmp_simulator


def refused(path: Path, answer: Answer, command_seconds: float = 60) -> AdapterError:
    """Run one command against a simulator and return the error."""
    with qmp_simulator(path, answer):
        client = Qmp(path, command_seconds=command_seconds)
        with pytest.raises(AdapterError) as caught:
            client.query("query-status", RunState)
    assert client.closed
    return caught.value


def test_real_qemu_answers(start_vm: StartVm) -> None:
    """A real QEMU greets, answers in our shapes and refuses with a kind of ours."""
    client = Qmp(start_vm().qmp_path)
    assert client.query("query-status", RunState).status == "prelaunch"
    with pytest.raises(SourceInvalid) as caught:
        client.execute("no-such-command")
    assert caught.value.code == "qemu-too-old"
    assert client.query("query-status", RunState).status == "prelaunch"
    client.close()
    client.close()
    assert client.closed


def test_a_busy_socket_is_a_conflict(start_vm: StartVm) -> None:
    """While another client holds the socket we say so, and after it has left we get in."""
    path = start_vm().qmp_path
    first = Qmp(path)
    with pytest.raises(SourceConflict) as caught:
        Qmp(path, greeting_seconds=0.2)
    assert caught.value.code == "qmp-busy"
    assert "-qmp" in caught.value.hint
    first.close()
    Qmp(path).close()


def test_a_dead_qemu_is_unavailable(start_vm: StartVm) -> None:
    """When QEMU is killed, the next command and the next connection say that it is unavailable."""
    vm = start_vm()
    client = Qmp(vm.qmp_path)
    vm.kill()
    with pytest.raises(SourceUnavailable) as lost:
        client.query("query-status", RunState)
    assert lost.value.code == "qmp-lost"
    with pytest.raises(SourceUnavailable) as unreachable:
        Qmp(vm.qmp_path)
    assert unreachable.value.code == "qmp-unreachable"


def test_no_socket_is_unavailable(tmp_path: Path) -> None:
    """A path without a socket is named, with how to start QEMU."""
    with pytest.raises(SourceUnavailable) as caught:
        Qmp(tmp_path / "nothing")
    assert "-qmp" in caught.value.hint


def test_events_are_kept_for_who_waits(tmp_path: Path) -> None:
    """An event that comes before an answer is found afterwards, once, and only by who wants it."""
    event = b'{"event": "DONE", "data": {"id": "a"}, "timestamp": {}}\n'
    with qmp_simulator(tmp_path / "s", lambda command: event + ok(command)):
        client = Qmp(tmp_path / "s", command_seconds=60)
        client.execute("work")
        client.wait_event("DONE", lambda data: data["id"] == "a", 60)
        with pytest.raises(SourceUnavailable) as caught:
            client.wait_event("DONE", lambda data: data["id"] == "a", 0.1)
    assert caught.value.code == "qmp-timeout"


def test_vanishing_in_a_command(tmp_path: Path) -> None:
    """A peer that hangs up instead of answering is unavailable."""
    assert refused(tmp_path / "s", lambda _: None).code == "qmp-lost"


def test_vanishing_in_a_line(tmp_path: Path) -> None:
    """Half an answer is no answer."""
    error = refused(tmp_path / "s", lambda _: b'{"return": {"status": "run', 0.3)
    assert (error.kind, error.code) == ("unavailable", "qmp-timeout")


@pytest.mark.parametrize(
    "reply",
    [
        b"hello\n",
        b"[]\n",
        b'{"return": {}, "id": 999}\n',
        b'{"id": 2}\n',
        b'{"return": {"status": 7}, "id": 2}\n',
        b'{"return": [], "id": 2}\n',
        b'{"error": "no", "id": 2}\n',
        b"\xff\xfe\n",
    ],
)
def test_nonsense_is_refused(tmp_path: Path, reply: bytes) -> None:
    """What is no answer in QMP's form, to our command and of the expected shape, is a protocol error."""
    path = tmp_path / "s"
    with qmp_simulator(path, lambda _: reply):
        client = Qmp(path, command_seconds=60)
        with pytest.raises(SourceInvalid) as caught:
            client.query("query-status", RunState)
        client.close()
    assert caught.value.code == "qmp-protocol"


def test_another_protocol_is_refused(tmp_path: Path) -> None:
    """A peer that greets otherwise does not speak QMP."""
    path = tmp_path / "s"
    with qmp_simulator(path, ok, greeting=b'{"hello": 1}\n'), pytest.raises(SourceInvalid) as caught:
        Qmp(path)
    assert caught.value.code == "qmp-protocol"


def test_an_endless_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line longer than the limit is refused before it fills our memory."""
    monkeypatch.setattr(qmp_module, "MAX_LINE_BYTES", 100_000)
    path = tmp_path / "s"
    with qmp_simulator(path, lambda _: b"x" * 400_000):
        client = Qmp(path)
        with pytest.raises(SourceInvalid) as caught:
            client.execute("talk")
    assert caught.value.code == "qmp-protocol"


def test_a_late_answer_is_never_taken_for_another(tmp_path: Path) -> None:
    """After a command timed out its connection is not used again."""
    with qmp_simulator(tmp_path / "s", lambda _: b""):
        client = Qmp(tmp_path / "s", command_seconds=0.1)
        for code in ("qmp-timeout", "qmp-lost"):
            with pytest.raises(SourceUnavailable) as caught:
                client.execute("slow")
            assert caught.value.code == code


def test_an_interrupted_command_does_not_shift_the_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that nobody waited for, because of an interrupt, is dropped before the next command's."""
    with qmp_simulator(tmp_path / "s", lambda command: ok(command, {"status": str(command["execute"])})):
        client = Qmp(tmp_path / "s", command_seconds=60)
        monkeypatch.setattr(client, "_receive", interrupt)
        with pytest.raises(KeyboardInterrupt):
            client.execute("first")
        monkeypatch.undo()
        assert client.query("second", RunState).status == "second"
        client.close()


def interrupt(*_: object) -> None:
    """Stand in for a wait that Ctrl-C ends."""
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("error_class", "words", "kind"),
    [
        ("CommandNotFound", "The command x has not been found", SourceInvalid),
        ("DeviceNotFound", "Device 'x' not found", SourceNotFound),
        ("DeviceNotActive", "Block job 'x' not found", SourceConflict),
        ("GenericError", "NBD server already running", SourceConflict),
        ("GenericError", "Bitmap 'x' is currently in use by another operation", SourceConflict),
        ("GenericError", "Could not create '/x': Permission denied", SourceDenied),
        ("GenericError", "Could not create '/x': No space left on device", SourceLimit),
        ("GenericError", "Parameter 'x' is unexpected", SourceInvalid),
    ],
)
def test_refusals_get_a_kind(error_class: str, words: str, kind: type[AdapterError]) -> None:
    """QEMU's refusals become our kinds and keep QEMU's words."""
    error = refusal("do-it", error_class, words)
    assert type(error) is kind
    assert words in str(error)
