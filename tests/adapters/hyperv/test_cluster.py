"""A machine is followed to where it is, and nothing is done twice on the way."""

from __future__ import annotations

import pytest

from adapters.errors import SourceConflict, SourceInvalid, SourceNotFound, SourceUnavailable
from adapters.hyperv.cluster import Hosts
from adapters.hyperv.jobs import JobFailed, JobWaiter
from tests.support.hyperv.faults import FAILED
from tests.support.hyperv.runner import world_runners
from tests.support.hyperv.world import DOMAIN, MIB, VOLUME, HypervWorld

SECONDS = 60


@pytest.fixture
def hosts(cluster: HypervWorld) -> Hosts:
    """The cluster by its own name, which is none of its nodes'."""
    return Hosts(world_runners(cluster).of, "cluster1", JobWaiter(sleep=lambda _: None), cluster=True)


def checkpoint(hosts: Hosts, machine: str) -> str:
    """Make a checkpoint of a machine."""
    (made,) = hosts.run(
        machine, lambda calls: calls.create_checkpoint(machine, "crash", leave_out=False), "none", seconds=SECONDS
    )
    return made


def test_each_machine_is_asked_at_its_owner(cluster: HypervWorld, hosts: Hosts) -> None:
    """WMI goes to the node that has the machine, by its full name."""
    machine = cluster.add_machine("web", MIB, node="hv2")
    assert hosts.owner(machine) == f"hv2.{DOMAIN}"
    assert hosts.read(machine, lambda calls: calls.machine(machine)).node == "HV2"
    assert cluster.calls[-1] == (f"hv2.{DOMAIN}", "machines")


def test_a_read_follows_a_machine_that_moved(cluster: HypervWorld, hosts: Hosts) -> None:
    """Pitfall: a live migration between two steps. The next read is answered by the new owner."""
    machine = cluster.add_machine("web", MIB, node="hv1")
    made = checkpoint(hosts, machine)
    cluster.migrate(machine, "hv3")
    assert hosts.read(machine, lambda calls: calls.checkpoint_disks(made))[0].kind == "file"
    assert cluster.calls[-1][0].startswith("hv3")


def test_a_conversion_follows_a_machine_that_moved_and_is_done_once(cluster: HypervWorld, hosts: Hosts) -> None:
    """Pitfall: a live migration between read and convert. The old node has nothing there, the new one does it."""
    machine = cluster.add_machine("web", MIB, node="hv1")
    made = checkpoint(hosts, machine)
    cluster.faults.then("convert-to-reference-point", lambda: cluster.migrate(machine, "hv2"))
    hosts.run(machine, lambda calls: calls.convert_to_reference_point(made), "not converted", seconds=SECONDS)
    assert len(cluster.machines[machine].reference_points) == 1
    assert [host for host, script in cluster.calls if script.startswith("convert")] == [
        f"hv1.{DOMAIN}",
        f"hv2.{DOMAIN}",
    ]


def test_an_effect_is_not_repeated_when_its_answer_was_lost(cluster: HypervWorld, hosts: Hosts) -> None:
    """The machine moved, too, yet nobody knows whether the checkpoint was made: it is never made again."""
    machine = cluster.add_machine("web", MIB, node="hv1")
    hosts.owner(machine)
    cluster.faults.lost["create-checkpoint"] = 1
    with pytest.raises(SourceUnavailable) as raised:
        checkpoint(hosts, machine)
    cluster.migrate(machine, "hv2")
    assert raised.value.code == "reply-lost"
    assert len(cluster.machines[machine].checkpoints) == 1


def test_an_effect_that_fails_at_the_owner_is_not_tried_elsewhere(cluster: HypervWorld, hosts: Hosts) -> None:
    """A refusal is an answer."""
    machine = cluster.add_machine("web", MIB)
    cluster.jobs.refused["create-checkpoint"] = [32775]
    with pytest.raises(SourceConflict):
        checkpoint(hosts, machine)
    assert not cluster.machines[machine].checkpoints


def test_a_read_moves_on_when_its_node_dies(cluster: HypervWorld, hosts: Hosts) -> None:
    """The cluster restarts the machine elsewhere: the silent owner is not the last word."""
    machine = cluster.add_machine("web", MIB, node="hv2")
    hosts.owner(machine)

    def die() -> None:
        cluster.nodes["hv2"] = "down"
        cluster.migrate(machine, "hv3")

    cluster.faults.then("checkpoints", die)
    assert hosts.read(machine, lambda calls: calls.checkpoints(machine)) == ()


def test_a_machine_that_keeps_moving_ends_in_its_error(cluster: HypervWorld, hosts: Hosts) -> None:
    """Following has an end."""
    machine = cluster.add_machine("web", MIB, node="hv1")
    nodes = ["hv2", "hv3"] * 10
    for _ in range(20):
        cluster.faults.then("machines", lambda: cluster.migrate(machine, nodes.pop()))
    with pytest.raises(SourceNotFound):
        hosts.read(machine, lambda calls: calls.machine(machine))


def test_the_volumes_coordinator_is_asked_for_anew(cluster: HypervWorld, hosts: Hosts) -> None:
    """Pitfall: the owner of a cluster shared volume moves. Data is read through who coordinates it now."""
    machine = cluster.add_machine("web", MIB, node="hv2")
    path = hosts.read(machine, lambda calls: calls.machine(machine)).disks[0].path
    assert hosts.reading_host(machine, path) == f"hv1.{DOMAIN}"
    cluster.move_volume(VOLUME, "hv3")
    assert hosts.reading_host(machine, path) == f"hv3.{DOMAIN}"
    assert hosts.reading_host(machine, path.replace("ClusterStorage", "CLUSTERSTORAGE")) == f"hv3.{DOMAIN}"
    assert hosts.reading_host(machine, "C:\\ClusterStorage\\Volume10\\a.vhdx") == f"hv2.{DOMAIN}"


def test_the_cluster_is_asked_through_another_node_when_the_first_is_silent(cluster: HypervWorld, hosts: Hosts) -> None:
    """Every node that was ever seen can tell of the cluster."""
    machine = cluster.add_machine("web", MIB, node="hv2")
    entry = Hosts(world_runners(cluster).of, "hv1", JobWaiter(), cluster=True)
    entry.nodes()
    cluster.nodes["hv1"] = "down"
    assert entry.owner(machine) == f"hv2.{DOMAIN}"


def test_no_node_at_all_is_unavailable(cluster: HypervWorld, hosts: Hosts) -> None:
    """Nobody to ask is no empty inventory."""
    cluster.faults.silent.update(cluster.nodes)
    with pytest.raises(SourceUnavailable):
        hosts.machines()


def test_a_single_host_is_no_cluster(world: HypervWorld) -> None:
    """Asked as one, it is refused; asked as a host, it owns everything and reads its own files."""
    machine = world.add_machine("web", MIB)
    with pytest.raises(SourceInvalid) as raised:
        Hosts(world_runners(world).of, "hv1", JobWaiter(), cluster=True).machines()
    assert raised.value.code == "cluster-missing"
    alone = Hosts(world_runners(world).of, "hv1", JobWaiter(), cluster=False)
    assert alone.reading_host(machine, "C:\\VMs\\a.vhdx") == "hv1"
    assert alone.volumes() == ()


def test_a_job_that_fails_on_the_owner_is_the_callers_to_judge(cluster: HypervWorld, hosts: Hosts) -> None:
    """A failed job is no sign of a move: it is raised as the job with its texts."""
    machine = cluster.add_machine("web", MIB)
    cluster.jobs.failing["create-checkpoint"] = [(FAILED, ["The guest said no."])]
    with pytest.raises(JobFailed) as raised:
        checkpoint(hosts, machine)
    assert raised.value.job.errors == ("The guest said no.",)
