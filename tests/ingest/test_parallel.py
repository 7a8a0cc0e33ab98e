"""Machines of one source side by side: bounded, failing alone, told apart, and refused when in work already."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
from random import Random

import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from catalog.domain import events as ev
from catalog.domain.run import RunState
from ingest.backup import BackupRequest, backup
from ingest.progress import Bar, Lines, Progress, Silent
from tests.support.lab import CHUNK, MIB, REPOSITORY, Lab, make_image
from tests.support.memory_source_simulator import Hypervisor

HOLD = """
import sys
from ingest.cli.main import main, register
register(sys.argv[1:])
from ingest import flow
inner = flow.MachineBackup._copy_disks
def held(self, *arguments):
    print("holding", flush=True)
    sys.stdin.readline()
    return inner(self, *arguments)
flow.MachineBackup._copy_disks = held
main()
"""

KILLED = """
import os, signal, sys
from ingest.cli.main import main, register
register(sys.argv[1:])
from ingest import flow
inner = flow.MachineBackup._commit
done = []
def commit(self, *arguments):
    if len(done) >= 2:
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(inner(self, *arguments))
    return done[-1]
flow.MachineBackup._commit = commit
main()
"""


@pytest.fixture
def many(lab: Lab, hypervisor: Hypervisor) -> Hypervisor:
    """Twelve machines that share half of their data."""
    shared = Random(0).randbytes(4 * CHUNK)
    for number in range(12):
        hypervisor.add(f"vm{number:02}", shared + Random(number + 1).randbytes(4 * CHUNK))
    lab.ok("source", "add", "dc1", "--kind", "memory")
    return hypervisor


def test_machines_are_backed_up_at_once_and_exactly(lab: Lab, many: Hypervisor) -> None:
    """Four at a time and never more; each restore point has its machine's bytes, and every run is whole."""
    together = threading.Barrier(4, timeout=30)
    many.read_hook = lambda _key: together.wait() and None  # each machine is read in one piece
    records = lab.backup("--parallel", "4", target="dc1")
    assert many.most_frozen == 4
    assert [record["machine"] for record in records] == [f"vm{number:02}" for number in range(12)]
    for record in records:
        machine = many.machines[f"key-{record['machine']}"]
        assert lab.restored(record["restore_point"]) == bytes(machine.disks["disk-0"].content)
        assert machine.snapshots == []
    with lab.services() as services:
        runs = [RunState.fold(services.log.stream(event.run_id)) for event in lab.of_type(ev.RunOpened)]
    assert [run.outcome for run in runs if run] == ["completed"] * 12
    lab.ok("verify")


def test_incrementals_side_by_side(lab: Lab, many: Hypervisor) -> None:
    """What changed, and no more, is in the next points, made side by side as well."""
    lab.backup("--parallel", "12", target="dc1")
    for machine in many.machines.values():
        machine.disks["disk-0"].write(CHUNK, machine.name.encode())
    records = lab.backup("--parallel", "3", target="dc1")
    assert [record["disks"][0]["level"] for record in records] == ["incremental"] * 12
    assert {record["disks"][0]["new_chunks"] for record in records} == {1}
    for record in records:
        content = bytes(many.machines[f"key-{record['machine']}"].disks["disk-0"].content)
        assert lab.restored(record["restore_point"]) == content


def test_each_machines_failure_is_its_own(lab: Lab, many: Hypervisor) -> None:
    """Two of twelve fail: the others have restore points, the command exits 3 and names the two."""
    many.unwilling = {"vm03", "vm07"}
    answer = lab.run("backup", "dc1", "--parallel", "5", "--json")
    assert answer.code == 3
    made = [record["machine"] for record in answer.json()]
    assert made == [f"vm{number:02}" for number in range(12) if number not in (3, 7)]
    problems = [json.loads(line) for line in answer.err.splitlines() if line.startswith('{"kind"')]
    assert [problem["title"] for problem in problems] == ["vm03 does not answer", "vm07 does not answer"]
    many.unwilling = {machine.name for machine in many.machines.values()}
    assert lab.run("backup", "dc1", "--parallel", "5", "--json").code == 7


def test_an_interrupt_stops_all_of_them(lab: Lab, many: Hypervisor) -> None:
    """What was reached is kept and told, no snapshot stays behind, and the next run goes on."""
    reads: list[str] = []
    many.read_hook = reads.append
    with lab.services() as services:
        outcome = backup(
            services,
            BackupRequest("dc1", None, parallel=4),
            progress=Silent(),
            stop=lambda: len(reads) >= 6,
        )
    assert outcome.interrupted
    assert len(outcome.reports) < 12
    assert not any(machine.snapshots for machine in many.machines.values())
    assert len(lab.backup("--parallel", "4", target="dc1")) == 12
    lab.ok("verify")


@pytest.mark.parametrize("number", ["0", "65", "many"])
def test_how_many_is_bounded(lab: Lab, many: Hypervisor, number: str) -> None:
    """None, or more than are sensible, is a mistake on the command line."""
    assert lab.fails(2, "backup", "dc1", "--parallel", number)["code"] == "usage"


def test_lines_and_bars_tell_the_machines_apart() -> None:
    """Each line says which machine it is about; each bar has its name, and goes when the machine is done."""
    out, now = io.StringIO(), iter(range(0, 1000, 11))
    lines: Progress = Lines(out, lambda: float(next(now)))
    with lines.lane("web") as web, lines.lane("db") as db:
        web.disk("vda", 10)
        db.disk("vdb", 20)
        web.advance(4)
        db.advance(5)
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(line["machine"], line["disk"], line["done_bytes"]) for line in told] == [
        ("web", "vda", 4),
        ("db", "vdb", 5),
    ]
    with Bars(console=Console(file=io.StringIO())) as bars, Bar(bars).lane("we[b]\x1b") as lane:
        lane.disk("vda", 10)
        lane.advance(4)
        ((task,),) = [bars.tasks]
        assert (task.description, task.completed) == ("we\\[b]\ufffd: vda", 4)
    assert bars.tasks == []


def test_a_kill_among_several_loses_nothing(lab: Lab) -> None:
    """Killed when two of six were committed: these stay, the next run makes all six, and everything verifies."""
    for number in range(6):
        make_image(lab.images / f"vm{number}.raw", MIB, [(0, Random(number).randbytes(MIB))])
    lab.add_images()
    command = [sys.executable, "-c", KILLED, "--home", str(lab.home.root), "backup", "lab", "--parallel", "3"]
    killed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    first = [point["restore_point"] for point in lab.json("points")]
    assert len(first) >= 2
    again = lab.backup("--parallel", "3")
    assert len(again) == 6
    assert {"full", "incremental"} == {record["disks"][0]["level"] for record in again}
    for point in lab.json("points"):
        assert lab.restored(point["restore_point"]) == (lab.images / f"{point['machine']}.raw").read_bytes()
    lab.ok("verify")
    with lab.services() as services:
        assert not any(state.open_runs for state in services.catalog.machines())


def test_a_second_backup_of_a_machine_is_refused(lab: Lab) -> None:
    """While one process backs a machine up another is told so at once, exit 8, and harms nothing; then it may."""
    make_image(lab.images / "vm.raw", MIB, [(0, b"1")])
    lab.add_images()
    command = [sys.executable, "-c", HOLD, "--home", str(lab.home.root), "backup", "lab"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == "holding\n"
        problem = lab.fails(8, "backup", "lab")
        assert (problem["code"], problem["title"]) == ("busy", "vm is being backed up already")
        assert problem["hint"]
        first.stdin.write("\n")
        first.stdin.close()
        assert first.wait() == 0
    assert [event.outcome for event in lab.of_type(ev.RunClosed)] == ["completed"]
    lab.backup_one()
