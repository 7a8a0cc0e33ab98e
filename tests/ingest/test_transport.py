"""How bytes were to travel and how they did: an event before the first read, and one for each surprise."""

from __future__ import annotations

from adapters.port import RejectedTransport, TransportChoice
from catalog.domain import events as ev
from catalog.domain.facts import TransportPassedOver
from tests.support.lab import CHUNK, Lab
from tests.support.memory_source_simulator import Hypervisor

CHOICE = TransportChoice("fast", None, (RejectedTransport("faster", "it is not there"),))


def test_the_choice_is_recorded_before_the_first_read(lab: Lab, hypervisor: Hypervisor) -> None:
    """What was chosen and what was not, and why, is an event of the run that precedes the read."""
    hypervisor.add("web", b"1" * CHUNK)
    hypervisor.choice, hypervisor.transport = CHOICE, "fast"
    chosen_when_read = []
    hypervisor.read_hook = lambda key: chosen_when_read.append(len(lab.of_type(ev.TransportChosen)))
    lab.ok("source", "add", "dc1", "--kind", "memory")
    record = lab.backup_one(target="dc1")
    (chosen,) = lab.of_type(ev.TransportChosen)
    assert (chosen.kind, chosen.requested) == ("fast", None)
    assert chosen.rejected == (TransportPassedOver(kind="faster", why="it is not there"),)
    assert chosen_when_read[0] == 1
    assert lab.of_type(ev.TransportFellBack) == []
    assert record["warnings"] == []
    (planned,) = lab.of_type(ev.DiskPlanned)
    assert planned.transport == "fast"
    topics = [row["topic"] for row in lab.json("sql", "SELECT topic FROM events WHERE run_id IS NOT NULL")]
    assert "TransportChosen/1" in topics


def test_another_way_than_the_chosen_one_is_never_silent(lab: Lab, hypervisor: Hypervisor) -> None:
    """A reader that travels otherwise is an event and a warning; the bytes are kept."""
    machine = hypervisor.add("web", b"1" * CHUNK)
    hypervisor.choice, hypervisor.transport = CHOICE, "slow"
    lab.ok("source", "add", "dc1", "--kind", "memory")
    record = lab.backup_one(target="dc1")
    (fell,) = lab.of_type(ev.TransportFellBack)
    assert (fell.chosen, fell.actual) == ("fast", "slow")
    assert record["warnings"] == ["disk-0: read over slow, fast was chosen"]
    assert lab.restored(record["restore_point"]) == bytes(machine.disks["disk-0"].content)


def test_a_source_without_a_choice_says_nothing(lab: Lab, hypervisor: Hypervisor) -> None:
    """Where there is one way only there is nothing to record but that it was taken."""
    hypervisor.add("web", b"1" * CHUNK)
    lab.ok("source", "add", "dc1", "--kind", "memory")
    lab.backup_one(target="dc1")
    assert lab.of_type(ev.TransportChosen) == []
    assert lab.of_type(ev.TransportFellBack) == []
