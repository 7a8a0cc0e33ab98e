"""The administrator's commands: in order, undone whatever happens, and by the next run when this one dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.agent.hooks import Hooks, held, undo
from ingest.agent.state import AgentState, Undone, opened_state
from storage.errors import Conflict, HoldfastError, Invalid, Unavailable
from tests.support.eventually import eventually
from tests.support.lab import REPOSITORY


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the commands say that they ran."""
    return tmp_path / "log"


def _script(tmp_path: Path, name: str, log: Path, last: str = "") -> str:
    """A command that notes its name, target and snapshot."""
    path = tmp_path / name
    said = f'echo "{name} $HOLDFAST_TARGET $HOLDFAST_SNAPSHOT" >>{log}'
    path.write_text(f"#!/bin/sh\n{said}\n{last}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def hooks(tmp_path: Path, log: Path) -> Hooks:
    """All four."""
    return Hooks(
        freeze=_script(tmp_path, "freeze", log),
        thaw=_script(tmp_path, "thaw", log),
        snapshot=_script(tmp_path, "snapshot", log, 'echo talk; echo "$HOLDFAST_TARGET-snapshot"'),
        release=_script(tmp_path, "release", log),
    )


def _lines(log: Path) -> list[str]:
    return [line.strip() for line in log.read_text().splitlines()]


def test_snapshots_are_made_while_frozen(tmp_path: Path, log: Path, hooks: Hooks) -> None:
    """File systems are frozen only for the snapshots; each snapshot is read where its command said, and given back."""
    with opened_state(tmp_path / "state", "web") as state:
        with held(hooks, [Path("/dev/a"), Path("/dev/b")], state) as places:
            assert places == {Path("/dev/a"): Path("/dev/a-snapshot"), Path("/dev/b"): Path("/dev/b-snapshot")}
            assert _lines(log) == ["freeze", "snapshot /dev/a", "snapshot /dev/b", "thaw"]
        assert _lines(log)[4:] == ["release /dev/a /dev/a-snapshot", "release /dev/b /dev/b-snapshot"]
        assert state.undone.snapshots == ()
    assert hooks.asked == "filesystem"


def test_without_a_snapshot_it_stays_frozen(tmp_path: Path, log: Path, hooks: Hooks) -> None:
    """Without a snapshot command the file systems are thawed when all is read, after a failure too."""
    only = Hooks(freeze=hooks.freeze, thaw=hooks.thaw)

    def fail(state: AgentState) -> None:
        with held(only, [Path("/dev/null")], state):
            assert _lines(log) == ["freeze"]
            raise ZeroDivisionError

    with opened_state(tmp_path / "state", "web") as state, pytest.raises(ZeroDivisionError):
        fail(state)
    assert _lines(log) == ["freeze", "thaw"]


def test_a_command_that_fails_is_told_and_undone(tmp_path: Path, log: Path, hooks: Hooks) -> None:
    """When a snapshot fails the file systems thaw, snapshots made before are given back, and it is said why."""
    failing = _script(
        tmp_path, "failing", log, '[ "$HOLDFAST_TARGET" = /dev/a ] && echo /a || { echo no room >&2; exit 3; }'
    )
    some = Hooks(freeze=hooks.freeze, thaw=hooks.thaw, snapshot=failing, release=hooks.release)
    with (
        opened_state(tmp_path / "state", "web") as state,
        pytest.raises(Unavailable, match="exit code 3: no room"),
        held(some, [Path("/dev/a"), Path("/dev/b")], state),
    ):
        pytest.fail("it was not held")
    assert _lines(log) == ["freeze", "failing /dev/a", "failing /dev/b", "thaw", "release /dev/a /a"]


def test_the_next_run_undoes_what_a_dead_one_left(tmp_path: Path, log: Path, hooks: Hooks) -> None:
    """Notes of a process that died lead to a thaw and to releases, which are told and then not noted any more."""
    with opened_state(tmp_path / "state", "web") as state:
        state.note(frozen=True, snapshots=(("/dev/a", "/snap/a"), ("/dev/b", "")))
    with opened_state(tmp_path / "state", "web") as state:
        cleaned = undo(hooks, state, pytest.fail)
        assert _lines(log) == ["thaw", "release /dev/a /snap/a", "release /dev/b"]
        assert [(one.what, one.action) for one in cleaned] == [
            ("frozen file systems", "thawed"),
            ("snapshot /snap/a of /dev/a", "released"),
            ("unfinished snapshot of /dev/b", "released"),
        ]
        assert state.undone == Undone()


def test_what_was_left_frozen_is_not_forgotten(tmp_path: Path) -> None:
    """Without a command to thaw, a run after one that died frozen is refused."""
    with opened_state(tmp_path / "state", "web") as state:
        state.note(frozen=True)
        with pytest.raises(Conflict) as refused:
            undo(Hooks(), state, pytest.fail)
    assert refused.value.code == "agent-frozen"


@pytest.mark.parametrize("snapshot", [None, "echo /other"], ids=["without", "with-another"])
def test_a_snapshot_that_nothing_releases_stays_noted(tmp_path: Path, log: Path, snapshot: str | None) -> None:
    """Without a command to release it a snapshot left by a dead run is warned of at each run, until one is given."""
    left = (("/dev/a", "/snap/a"), ("/dev/b", ""))
    with opened_state(tmp_path / "state", "web") as state:
        state.note(snapshots=left)
    for _ in range(2):
        warnings: list[str] = []
        with opened_state(tmp_path / "state", "web") as state:
            hooks = Hooks(snapshot=snapshot)
            assert undo(hooks, state, warnings.append) == ()
            with held(hooks, [Path("/dev/a")], state):
                assert state.undone.snapshots == left
            assert state.undone.snapshots == left
        assert ["/snap/a" in warnings[0], "/dev/b" in warnings[1]] == [True, True]
        assert all("--release-command" in one and "--forget-snapshots" in one for one in warnings)
    hooks = Hooks(snapshot="true", release=_script(tmp_path, "release", log))
    with opened_state(tmp_path / "state", "web") as state:
        assert len(undo(hooks, state, pytest.fail)) == 2
        assert state.undone == Undone()
    assert _lines(log) == ["release /dev/a /snap/a", "release /dev/b"]


def test_a_snapshot_is_forgotten_when_told(tmp_path: Path) -> None:
    """The administrator may say that it is gone: then nothing runs, and nobody is warned again."""
    with opened_state(tmp_path / "state", "web") as state:
        state.note(snapshots=(("/dev/a", "/snap/a"),))
        undo(Hooks(snapshot="false", release="false", forget=True), state, pytest.fail)
    with opened_state(tmp_path / "state", "web") as state:
        assert undo(Hooks(), state, pytest.fail) == ()


def test_what_nobody_was_to_release_is_not_left(tmp_path: Path) -> None:
    """Without a command to release, snapshots stay by intent, so that nothing is noted of them."""
    with opened_state(tmp_path / "state", "web") as state, held(Hooks(snapshot="echo /snap"), [Path("/a")], state):
        assert state.undone == Undone()


def test_halves_of_dead_processes_are_removed(tmp_path: Path) -> None:
    """What a process that died was writing is removed by the next one; what is whole stays."""
    with opened_state(tmp_path, "web") as state:
        state.note(frozen=False)
        for name in ("x-1.digests.partial", ".0f.partial", "x-1.digests"):
            (state.directory / name).write_bytes(b"half")
    with opened_state(tmp_path, "web") as state:
        assert {path.name for path in state.directory.iterdir()} == {"lock", "undone.json", "x-1.digests"}


def test_killed_while_frozen_it_thaws(tmp_path: Path, log: Path, hooks: Hooks) -> None:
    """kill -9 of an agent that holds file systems frozen thaws them at once: nobody waits for its next run."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom ingest.agent.hooks import Hooks, held\n"
        "from ingest.agent.state import opened_state\nroot, freeze, thaw = sys.argv[1:]\n"
        "with opened_state(Path(root), 'web') as state:\n"
        "    with held(Hooks(freeze=freeze, thaw=thaw), [Path('/dev/null')], state):\n"
        "        print('held', flush=True)\n        sys.stdin.read()\n"
    )
    arguments = [str(tmp_path / "state"), str(hooks.freeze), str(hooks.thaw)]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    assert _lines(log) == ["freeze"]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    eventually(lambda: _lines(log) == ["freeze", "thaw"], "the thaw")


@pytest.mark.parametrize(
    "given", [{"freeze": "true"}, {"thaw": "true"}, {"release": "true"}], ids=["freeze", "thaw", "release"]
)
def test_half_of_a_pair_is_refused(given: dict[str, str]) -> None:
    """What would freeze and never thaw, or release what nobody made, is refused before anything runs."""
    with pytest.raises(Invalid):
        Hooks(**given)


@pytest.mark.parametrize("line", ["", "'", " "])
def test_what_is_no_command_is_refused(line: str) -> None:
    """An empty or broken command line is refused before anything runs."""
    with pytest.raises(Invalid) as refused:
        Hooks(snapshot=line)
    assert refused.value.code == "agent-hooks"


@pytest.mark.parametrize("line", ["/nonexistent/command", "false"])
def test_a_command_that_cannot_run_is_told(tmp_path: Path, line: str) -> None:
    """A missing or failing command is a clear failure."""
    with (
        opened_state(tmp_path / "state", "web") as state,
        pytest.raises(HoldfastError) as failed,
        held(Hooks(freeze=line, thaw="true"), [Path("/dev/null")], state),
    ):
        pytest.fail("it was not held")
    assert failed.value.code == "agent-hook-failed"


def test_a_silent_snapshot_command_is_refused(tmp_path: Path) -> None:
    """A snapshot command that names no place leaves nothing to read, and nothing to undo."""
    with opened_state(tmp_path / "state", "web") as state:
        with pytest.raises(Invalid) as failed, held(Hooks(snapshot="true"), [Path("/dev/null")], state):
            pytest.fail("it was not held")
        assert state.undone.snapshots == ()
    assert failed.value.code == "agent-snapshot"


def test_it_does_not_freeze_its_own_state(tmp_path: Path) -> None:
    """A directory on the file system that holds the agent's state would block the agent itself."""
    with (
        opened_state(tmp_path / "state", "web") as state,
        pytest.raises(Invalid) as failed,
        held(Hooks(freeze="false", thaw="true"), [tmp_path], state),
    ):
        pytest.fail("it was not held")
    assert failed.value.code == "agent-freezes-itself"


def test_one_agent_at_a_time(tmp_path: Path) -> None:
    """The state of a machine is one process's; another machine's is not held up."""
    with opened_state(tmp_path, "web"):
        with pytest.raises(Conflict) as refused, opened_state(tmp_path, "web"):
            pytest.fail("it was opened twice")
        assert refused.value.code == "agent-busy"
        with opened_state(tmp_path, "db") as state:
            assert isinstance(state, AgentState)
