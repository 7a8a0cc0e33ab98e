"""kill -9 at named moments: of the agent at each file it makes durable, of the receiver around the commit."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from random import Random

import pytest

from catalog.domain import events as ev
from catalog.domain.run import RunState
from ingest.agent.state import Undone, opened_state
from tests.support.agent_lab import AgentLab, output_of
from tests.support.agent_process import AgentOrder, Moment, exit_code, start_agent
from tests.support.lab import MIB, make_image, write_at

SIZE = 4 * MIB
LEAST_MOMENTS = 7
"""Two notes of a snapshot, two of a request, the digests, and two that it is all over."""
DIE = """
import os, signal
import {module} as module
real = module.{owner}.{method}
def die(self, *values, **named):
    if {after}:
        real(self, *values, **named)
    os.kill(os.getpid(), signal.SIGKILL)
module.{owner}.{method} = die
"""
AROUND_COMMIT = {
    "committed": DIE.format(module="ingest.flow", owner="MachineBackup", method="_commit", after=True),
    "released": DIE.format(module="ingest.flow", owner="MachineBackup", method="_close_completed", after=False),
    "closed": DIE.format(module="ingest.flow", owner="MachineBackup", method="_close_completed", after=True),
    "untold": DIE.format(module="ingest.receiver.run", owner="AgentRun", method="_finish", after=False),
}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A raw file."""
    path = tmp_path / "disk.raw"
    make_image(path, SIZE, [(0, Random(1).randbytes(2 * MIB))])
    return path


def _hooks(root: Path) -> dict[str, str]:
    """Commands that make a copy, and remove one whether its place is known or not."""
    lines = {
        "snapshot": 'cp "$HOLDFAST_TARGET" "$HOLDFAST_TARGET.copy"\necho "$HOLDFAST_TARGET.copy"',
        "release": 'rm -f "${HOLDFAST_SNAPSHOT:-$HOLDFAST_TARGET.copy}"',
    }
    for name, line in lines.items():
        (root / name).write_text(f"#!/bin/sh\nset -e\n{line}\n")
        (root / name).chmod(0o755)
    return {name: str(root / name) for name in lines}


def _assert_sound(agents: AgentLab) -> None:
    """Every run that was opened is closed, and what is stored verifies."""
    with agents.lab.services() as services:
        for run_id in {event.run_id for event in agents.lab.of_type(ev.RunOpened)}:
            run = RunState.fold(services.log.stream(run_id))
            assert run is not None
            assert not run.open
    agents.lab.ok("verify", "--level", "stored")


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.slow
def test_an_agent_killed_at_each_note(agents: AgentLab, image: Path, tmp_path: Path, done: bool) -> None:
    """Whatever note it dies over, the next run takes over at once, releases the snapshot, and makes a good point.

    A run that died is given up only when its successor says so: had it not, the next one would be refused.
    """
    token = agents.token("web")
    hooks = _hooks(tmp_path)
    options = ["--snapshot-command", hooks["snapshot"], "--release-command", hooks["release"]]
    copy, state, number = Path(f"{image}.copy"), agents.root / "state", 0
    with agents.receiving_here(idle=3600.0) as door:
        door.sent(token, "web", "--device", image, *options)
        died = True
        while died:
            number += 1
            write_at(image, number * 70_000, Random(number).randbytes(100_000))
            order = AgentOrder(
                url=door.url,
                ca_file=agents.authority.ca_file,
                token=token.read_text(),
                name="web",
                device=image,
                state=state,
                hooks=hooks,
                die=Moment(number, done),
            )
            code = exit_code(start_agent(order))
            assert code in (0, -signal.SIGKILL)
            died = code != 0
            made = door.sent(token, "web", "--device", image, *options)
            assert (made["disks"][0]["level"], made["warnings"]) == ("incremental", [])
            assert agents.lab.restored(made["restore_point"]) == image.read_bytes()
            assert not copy.exists()
            with opened_state(state, "web") as held:
                assert held.undone == Undone()
                assert len(list(held.directory.glob("*.digests*"))) == 1
    assert number > LEAST_MOMENTS
    _assert_sound(agents)


@pytest.mark.parametrize("moment", AROUND_COMMIT)
@pytest.mark.slow
def test_a_receiver_killed_around_the_commit(agents: AgentLab, image: Path, moment: str) -> None:
    """The agent ends with the point that was committed before it could hear of it; it is made once, and is a base."""
    token = agents.token("web")
    with agents.receiving() as door:
        door.stop()
        door.start(AROUND_COMMIT[moment])
        process = door.start_agent(token, "web", "--device", image)
        door.dead()
        (committed,) = agents.lab.of_type(ev.RestorePointCommitted)
        door.start()
        made = json.loads(output_of(process))
        assert made["restore_point"] == committed.restore_point_id.hex
        assert [row["restore_point"] for row in agents.lab.json("points")] == [made["restore_point"]]
        assert agents.lab.restored(made["restore_point"]) == image.read_bytes()
        write_at(image, MIB, b"changed")
        after = door.sent(token, "web", "--device", image)
        assert after["disks"][0]["level"] == "incremental"
        assert agents.lab.restored(after["restore_point"]) == image.read_bytes()
    _assert_sound(agents)
