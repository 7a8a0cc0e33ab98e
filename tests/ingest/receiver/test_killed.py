"""kill -9 of agent or receiver at any moment: nothing acknowledged is lost, nothing is invented, the next run works."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from hashlib import blake2b
from pathlib import Path
from random import Random

import pytest

from catalog.domain import events as ev
from catalog.domain.run import RunState
from tests.support.agent_lab import AgentLab, ReceivingProcess, output_of
from tests.support.eventually import eventually
from tests.support.lab import MIB, make_image, pieces, write_at

SIZE = 24 * MIB
ROUNDS = 14


def _digest(path: Path) -> str:
    return blake2b(path.read_bytes()).hexdigest()


class Campaign:
    """Rounds of change, backup and kill; knows every content that the disk ever had at a backup."""

    def __init__(self, agents: AgentLab, door: ReceivingProcess, image: Path) -> None:
        self.agents, self.door, self.image = agents, door, image
        self.random = Random(20240607)
        self.token = agents.token("web")
        self.known: set[str] = set()
        self.acknowledged: list[str] = []

    def change(self) -> None:
        for _ in range(3):
            write_at(self.image, self.random.randrange(SIZE - MIB), self.random.randbytes(self.random.choice([9, MIB])))
        self.known.add(_digest(self.image))

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        return self.door.start_agent(self.token, "web", "--device", self.image, *options)

    def heard(self, out: bytes) -> None:
        if out.strip().endswith(b"}"):
            self.acknowledged.append(json.loads(out)["restore_point"])

    def assert_sound(self) -> None:
        """Every point is a content that the disk had; runs fold and are closed; stored bytes verify."""
        points = [row["restore_point"] for row in self.agents.lab.json("points")]
        assert set(self.acknowledged) <= set(points)
        for point in points:
            restored = self.agents.lab.restore(point)
            assert _digest(restored) in self.known, point
            restored.unlink()
        self.agents.lab.ok("verify", "--level", "stored")
        with self.agents.lab.services() as services:
            for run_id in {event.run_id for event in self.agents.lab.of_type(ev.RunOpened)}:
                run = RunState.fold(services.log.stream(run_id))
                assert run is not None
                assert not run.open


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A raw file."""
    path = tmp_path / "disk.raw"
    make_image(path, SIZE, list(pieces(Random(1), [(0, 16 * MIB)])))
    return path


@pytest.mark.slow
def test_killed_agents(agents: AgentLab, image: Path) -> None:
    """After each kill of the agent its next run takes over at once, and ends with a point of the disk as it is."""
    with agents.receiving() as door:
        campaign = Campaign(agents, door, image)
        whole_s = 2.0
        for number in range(ROUNDS):
            campaign.change()
            process = campaign.start(*(["--full"] if number % 3 == 0 else []))
            started = time.monotonic()
            try:
                out, err = process.communicate(timeout=whole_s * campaign.random.uniform(0.1, 1.0) if number else None)
                whole_s = time.monotonic() - started
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
            assert process.returncode in (0, -signal.SIGKILL), err
            campaign.heard(out)
        campaign.change()
        made = door.sent(campaign.token, "web", "--device", image)
        campaign.acknowledged.append(made["restore_point"])
        campaign.assert_sound()
        assert agents.lab.restored(made["restore_point"]) == image.read_bytes()
    outcomes = {event.outcome for event in agents.lab.of_type(ev.RunClosed)}
    assert outcomes >= {"completed", "failed"}, outcomes


@pytest.mark.slow
def test_killed_receivers(agents: AgentLab, image: Path) -> None:
    """After each kill of the receiver, and its restart, the same agent ends with a restore point, made once."""
    with agents.receiving() as door:
        campaign = Campaign(agents, door, image)
        for number in range(6):
            campaign.change()
            opened = len(agents.lab.of_type(ev.RunOpened))
            process = campaign.start("--full")
            if number % 2:
                time.sleep(campaign.random.uniform(0.1, 1.5))
            else:  # while the run is young, however quick the machine
                eventually(lambda opened=opened: len(agents.lab.of_type(ev.RunOpened)) > opened, "a run")
            door.kill()
            door.start()
            campaign.heard(output_of(process).encode())
            assert len(campaign.acknowledged) == number + 1
        points = [row["restore_point"] for row in agents.lab.json("points")]
        assert sorted(points) == sorted(campaign.acknowledged)
        made = door.sent(campaign.token, "web", "--device", image)
        campaign.acknowledged.append(made["restore_point"])
        campaign.assert_sound()
    assert "interrupted" in {event.outcome for event in agents.lab.of_type(ev.RunClosed)}, "no kill hit a run"


def test_an_interrupted_agent_gives_up(agents: AgentLab, image: Path) -> None:
    """SIGINT ends the run on both sides, with the exit code of an interrupt; the next run works."""
    with agents.receiving() as door:
        token = agents.token("web")
        process = door.start_agent(token, "web", "--device", image, "--full")
        eventually(lambda: agents.lab.of_type(ev.RunOpened), "a run")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode in (0, 130), err
        if process.returncode == 130:
            assert out == b""
        made = door.sent(token, "web", "--device", image)
        assert agents.lab.restored(made["restore_point"]) == image.read_bytes()
