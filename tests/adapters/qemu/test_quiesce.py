"""Freezing the guest around the moment. The guest agent is a simulator: no guest with file systems runs here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.errors import SourceInvalid, SourceUnavailable
from adapters.port import Consistency, SnapshotRequest
from adapters.qemu import quiesce
from adapters.qemu.snapshot import QemuSnapshot
from adapters.qemu.source import QemuSource
from tests.adapters.qemu.conftest import MakeSource, StartVm
from tests.adapters.qemu.test_conformance import QemuHarness
from tests.support.guest_agent_simulator import GuestAgentSimulator
from tests.support.qemu_backup import machine_of, our_bitmaps
from tests.support.qemu_vm import QemuVm, VmDisk

FREEZE, THAW, STATUS = "guest-fsfreeze-freeze", "guest-fsfreeze-thaw", "guest-fsfreeze-status"


@pytest.fixture
def vm(start_vm: StartVm) -> QemuVm:
    """A machine with one disk."""
    return start_vm(VmDisk("vd0"))


@pytest.fixture
def agent(vm: QemuVm) -> Iterator[GuestAgentSimulator]:
    """A simulated agent that listens where a channel's host side would."""
    simulator = GuestAgentSimulator()
    with simulator.serving(vm.directory / "ga"):
        yield simulator


@pytest.fixture
def source(vm: QemuVm, agent: GuestAgentSimulator, source_of: MakeSource) -> QemuSource:
    """A source that knows the agent."""
    return source_of(vm, guest_agent=vm.directory / "ga")


def snapshot_at(source: QemuSource, consistency: Consistency) -> QemuSnapshot:
    """Take a snapshot and release it."""
    snapshot = source.snapshot(machine_of(source), SnapshotRequest("quiesced", {"vd0": None}, consistency))
    snapshot.release(committed=False)
    return snapshot


def test_frozen_around_the_moment(agent: GuestAgentSimulator, source: QemuSource, vm: QemuVm) -> None:
    """The guest is frozen before the transaction, still frozen after it, then thawed."""
    snapshot = snapshot_at(source, "filesystem")
    assert (snapshot.consistency, snapshot.fallback_cause) == ("filesystem", None)
    assert agent.commands == [STATUS, FREEZE, STATUS, THAW]
    assert not agent.frozen
    assert not list(vm.scratch.iterdir())


def test_application_is_not_promised(source: QemuSource) -> None:
    """Asked for application consistency we give file systems at rest, and say that it is less."""
    snapshot = snapshot_at(source, "application")
    assert (snapshot.consistency, snapshot.fallback_cause) == ("filesystem", "applications-not-asked")


def test_crash_consistency_does_not_touch_the_guest(agent: GuestAgentSimulator, source: QemuSource) -> None:
    """Nobody asked for a freeze, so there is none."""
    snapshot = snapshot_at(source, "crash")
    assert (snapshot.consistency, snapshot.fallback_cause) == ("crash", None)
    assert agent.commands == []


def test_without_an_agent_the_cause_is_said(vm: QemuVm, source_of: MakeSource) -> None:
    """No agent is configured: crash consistency, with the cause."""
    snapshot = snapshot_at(source_of(vm), "filesystem")
    assert (snapshot.consistency, snapshot.fallback_cause) == ("crash", "no-guest-agent")


def test_an_absent_agent_is_no_failure(vm: QemuVm, source_of: MakeSource) -> None:
    """Nothing listens on the agent's socket: a backup goes on with the cause, a check says it."""
    source = source_of(vm, guest_agent=vm.directory / "nothing")
    snapshot = snapshot_at(source, "filesystem")
    assert (snapshot.consistency, snapshot.fallback_cause) == ("crash", "guest-agent-silent")
    with pytest.raises(SourceUnavailable):
        source.check()


@pytest.mark.parametrize(
    ("broken", "cause", "thawed"),
    [
        ({STATUS}, "guest-agent-refused", False),
        ({FREEZE}, "guest-freeze-failed", True),
    ],
)
def test_an_agent_that_refuses(
    agent: GuestAgentSimulator, source: QemuSource, broken: set[str], cause: str, thawed: bool
) -> None:
    """When the guest cannot be frozen the backup is crash consistent; after an attempt to freeze it is thawed."""
    agent.broken = broken
    snapshot = snapshot_at(source, "filesystem")
    assert (snapshot.consistency, snapshot.fallback_cause) == ("crash", cause)
    assert (THAW in agent.commands) == thawed


def test_a_freeze_that_takes_too_long(
    agent: GuestAgentSimulator, source: QemuSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for a freeze is bounded, and a guest that froze late is thawed all the same."""
    monkeypatch.setattr(quiesce, "FREEZE_SECONDS", 0.2)
    agent.silent = {FREEZE}
    snapshot = snapshot_at(source, "filesystem")
    assert (snapshot.consistency, snapshot.fallback_cause) == ("crash", "guest-freeze-failed")
    assert agent.commands[-1] == THAW
    assert not agent.frozen


def test_a_guest_that_thaws_too_early(agent: GuestAgentSimulator, source: QemuSource) -> None:
    """A guest that was no longer frozen when the moment had passed is not called consistent."""
    agent.thaws_alone = True
    snapshot = snapshot_at(source, "filesystem")
    assert (snapshot.consistency, snapshot.fallback_cause) == ("crash", "guest-thawed-early")


def test_a_guest_frozen_by_others_is_left_so(agent: GuestAgentSimulator, source: QemuSource) -> None:
    """Somebody else's freeze is not ours to end."""
    agent.frozen = True
    snapshot = snapshot_at(source, "filesystem")
    assert (snapshot.consistency, snapshot.fallback_cause) == ("crash", "guest-frozen-by-others")
    assert agent.frozen


def test_a_guest_that_cannot_be_thawed_is_an_alarm(agent: GuestAgentSimulator, source: QemuSource, vm: QemuVm) -> None:
    """A thaw that fails ends the backup, leaves nothing but the note, and the next reconcile thaws."""
    agent.broken = {THAW}
    with pytest.raises(SourceUnavailable) as caught:
        snapshot_at(source, "filesystem")
    assert caught.value.code == "guest-thaw-failed"
    assert "fsfreeze" in caught.value.hint
    assert agent.frozen
    assert not our_bitmaps(vm, "vd0")
    assert [name.endswith(".frozen") for name in QemuHarness.leftovers_of(vm)] == [True]
    agent.broken = set()
    cleaned = source.reconcile(machine_of(source), {})
    assert [item.action for item in cleaned] == ["thawed"]
    assert not agent.frozen
    assert not QemuHarness.leftovers_of(vm)


@pytest.mark.parametrize("answer", [b"x" * 100_000, b"nonsense\n", b"[]\n", b'{"return": "thawed"'])
def test_the_guest_is_not_trusted(agent: GuestAgentSimulator, vm: QemuVm, answer: bytes) -> None:
    """Whatever comes from inside the guest, we take no nonsense, no endless line, and do not wait for ever."""
    agent.nonsense = answer
    with pytest.raises((SourceInvalid, SourceUnavailable)):
        quiesce.ask(vm.directory / "ga", STATUS, 0.5)


def test_late_answers_are_dropped(agent: GuestAgentSimulator, vm: QemuVm) -> None:
    """An answer to an earlier command, still in the channel, is not taken for ours."""
    assert quiesce.ask(vm.directory / "ga", STATUS, 5) == "thawed"


def test_an_agent_is_named_in_the_check(source: QemuSource) -> None:
    """A check asks the agent, and counts it among the abilities."""
    assert any("guest agent" in ability for ability in source.check().abilities)


def test_the_note_is_written_before_the_freeze(agent: GuestAgentSimulator, vm: QemuVm, tmp_path: Path) -> None:
    """While the guest is frozen the note is there, so that a kill of ours at that time is found out."""
    seen: list[tuple[bool, bool]] = []
    note = tmp_path / "note"
    cause = quiesce.at_rest(vm.directory / "ga", note, lambda: seen.append((agent.frozen, note.exists())))
    assert (cause, seen, note.exists()) == (None, [(True, True)], False)
