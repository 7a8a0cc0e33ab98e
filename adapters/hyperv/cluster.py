"""Which host a machine is at, and which host its disks are best read through. Imports `adapters.errors`, this package.

A machine of a cluster may move at any moment, so an owner is only where we look first. What fails because it has moved
is asked again at its new owner: reads whatever failed, effects only where the old node says that the thing is not
there, which means that nothing was done. A single host is its machines' owner for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from adapters.errors import AdapterError, SourceNotFound, SourceUnavailable
from adapters.hyperv.asking import Asked, ask_all
from adapters.hyperv.calls import Calls
from adapters.hyperv.facts import Group, Machine, Node, Started, Volume
from adapters.hyperv.jobs import JobWaiter

T = TypeVar("T")

_MOVED = frozenset({"machine-missing", "checkpoint-missing", "reference-point-missing"})
_MOST_MOVES = 3


@dataclass(frozen=True, slots=True)
class Found:
    """The machines that hosts told of, by the hosts' addresses, and the names of nodes that did not answer."""

    by_host: Mapping[str, tuple[Machine, ...]]
    silent: tuple[str, ...]

    @property
    def machines(self) -> tuple[Machine, ...]:
        """All of them."""
        return tuple(machine for machines in self.by_host.values() for machine in machines)


class Hosts:
    """A host, or all nodes of the cluster that `entry` belongs to. Safe to use from several threads.

    `runner_of` gives the runner of a host by its name or address.
    """

    def __init__(self, runner_of: Callable[[str], Asked], entry: str, waiter: JobWaiter, *, cluster: bool) -> None:
        self._runner_of = runner_of
        self._entry = entry
        self._waiter = waiter
        self._cluster = cluster
        self._lock = threading.Lock()
        self._addresses: dict[str, str] = {}
        self._owners: dict[str, str] = {}

    @property
    def is_cluster(self) -> bool:
        """Whether there may be several hosts."""
        return self._cluster

    @property
    def entry(self) -> Calls:
        """The host of the settings."""
        return self.at(self._entry)

    def machines(self) -> Found:
        """The machines of all hosts, those of the nodes that do not answer left out and told of.

        Each machine is told once, also one that moves meanwhile. Raises what a single host raises, and
        SourceUnavailable when no node of the cluster answers.
        """
        if not self._cluster:
            return Found({self._entry: self.entry.machines()}, ())
        at: dict[str, tuple[str, Machine]] = {}
        silent: dict[str, str] = {}
        for node in self.nodes():
            if node.state == "down":
                continue
            try:
                told = self.at(node.address).machines()
            except SourceUnavailable:
                silent[node.address] = node.name
                continue
            at |= {machine.id: (node.address, machine) for machine in told}
        for machine_id in self._groups().keys() - at.keys():
            at |= self._moving(machine_id, silent)
        by_host: dict[str, tuple[Machine, ...]] = {}
        for machine_id, (address, machine) in at.items():
            self._note_owner(machine_id, address)
            by_host[address] = (*by_host.get(address, ()), machine)
        return Found(by_host, tuple(silent.values()))

    def _moving(self, machine_id: str, silent: Mapping[str, str]) -> dict[str, tuple[str, Machine]]:
        """A machine of the cluster that no node told of: it moved while they were asked, or its node is silent."""
        try:
            if self.owner(machine_id) in silent:
                return {}
            machine = self.read(machine_id, lambda calls: calls.machine(machine_id))
        except (SourceNotFound, SourceUnavailable):
            return {}
        return {machine_id: (self._owners[machine_id], machine)}

    def nodes(self) -> tuple[Node, ...]:
        """The nodes of the cluster."""
        nodes = self._ask_cluster("cluster-nodes", tuple[Node, ...])
        with self._lock:
            self._addresses = {node.name.casefold(): node.address for node in nodes}
        return nodes

    def volumes(self) -> tuple[Volume, ...]:
        """The cluster shared volumes with their coordinators of this moment; none of a single host."""
        return self._ask_cluster("cluster-volumes", tuple[Volume, ...]) if self._cluster else ()

    def owner(self, machine_id: str) -> str:
        """The address of the host that has the machine now, asked anew. Raises SourceNotFound `machine-missing`."""
        if not self._cluster:
            return self._entry
        name = self._groups().get(machine_id)
        address = self._address(name) if name is not None else self._look_for(machine_id)
        self._note_owner(machine_id, address)
        return address

    def read(self, machine_id: str, ask: Callable[[Calls], T]) -> T:
        """Ask the machine's host something that changes nothing; again at the new owner when it fails on a move."""
        return self._at_owner(machine_id, ask, lambda error: True)

    def run(self, machine_id: str, start: Callable[[Calls], Started], what: str, *, seconds: float) -> tuple[str, ...]:
        """Start something at the machine's host and wait for its end there; return the identifiers of what it made.

        Raises what JobWaiter.wait does.
        """

        def begin(calls: Calls) -> tuple[Calls, Started]:
            return calls, start(calls)

        calls, started = self._at_owner(machine_id, begin, lambda error: error.code in _MOVED)
        return self._waiter.wait(calls, started, what, seconds=seconds)

    def reading_host(self, machine_id: str, path: str) -> str:
        """The address of the host to read a file through: its volume's coordinator, else the machine's owner."""
        return self.coordinator(path) or self.owner(machine_id)

    def coordinator(self, path: str) -> str | None:
        """The address of the node that coordinates the cluster shared volume of a path; None where it is on none."""
        volume = self.volume_of(path)
        return self._address(volume.owner) if volume is not None else None

    def volume_of(self, path: str) -> Volume | None:
        """The cluster shared volume that a path is on, as it is now; None where it is on none."""
        return next((volume for volume in self.volumes() if is_inside(path, volume.path)), None)

    def here(self) -> str:
        """The address of a host to make something at: of a cluster, whichever node answers for it."""
        return self._address(self.entry.about().name) if self._cluster else self._entry

    def at(self, address: str) -> Calls:
        """The calls to one host, wherever machines are."""
        return Calls(self._runner_of(address))

    def finish(self, address: str, started: Started, what: str, *, seconds: float) -> tuple[str, ...]:
        """Wait for something that was started at one host; its failure is raised as what it is."""
        return self._waiter.finish(self.at(address), started, what, seconds=seconds)

    def _at_owner(self, machine_id: str, do: Callable[[Calls], T], again: Callable[[AdapterError], bool]) -> T:
        address = self._owners.get(machine_id) or self.owner(machine_id)
        for _ in range(_MOST_MOVES):
            try:
                return do(self.at(address))
            except AdapterError as error:
                if not self._cluster or not again(error):
                    raise
                moved_to = self.owner(machine_id)
                if moved_to.casefold() == address.casefold():
                    raise
                address = moved_to
        return do(self.at(address))

    def _groups(self) -> dict[str, str]:
        """The names of the owners of all clustered machines."""
        groups = self._ask_cluster("cluster-groups", tuple[Group, ...])
        return {group.machine_id: group.owner for group in groups}

    def _ask_cluster(self, script: str, shape: type[T]) -> T:
        """Ask any node: the entry first, then those that were seen before."""
        with self._lock:
            known = [self._entry, *self._addresses.values()]
        failure: SourceUnavailable | None = None
        for address in dict.fromkeys(known):
            try:
                return ask_all(self._runner_of(address), script, shape)
            except SourceUnavailable as error:
                failure = failure or error
        raise failure or SourceUnavailable("No node of the cluster answers", code="cluster-silent")

    def _look_for(self, machine_id: str) -> str:
        """A machine that is no cluster resource is at the node where it was made."""
        for node in self.nodes():
            if node.state == "down":
                continue
            try:
                self.at(node.address).machine(machine_id)
            except (SourceNotFound, SourceUnavailable):
                continue
            return node.address
        raise SourceNotFound(f"No node of the cluster has the machine {machine_id}", code="machine-missing")

    def _address(self, name: str) -> str:
        with self._lock:
            known = self._addresses.get(name.casefold())
        if known is not None:
            return known
        found = next((node.address for node in self.nodes() if node.name.casefold() == name.casefold()), None)
        if found is None:
            raise SourceNotFound(f"The cluster has no node {name}", code="node-missing")
        return found

    def _note_owner(self, machine_id: str, address: str) -> None:
        with self._lock:
            self._owners[machine_id] = address


def is_inside(path: str, folder: str) -> bool:
    """Whether a path is in a folder, as Windows compares them."""
    path, folder = path.replace("/", "\\").casefold(), folder.replace("/", "\\").rstrip("\\").casefold()
    return path.startswith(folder + "\\")
