"""The simulated hosts, or nodes of a cluster, and what guests, administrators and other products do to machines."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Any
from uuid import uuid4

from tests.support import vhdx_files
from tests.support.hyperv.disks import UNIT_BYTES, Disk
from tests.support.hyperv.failures import missing
from tests.support.hyperv.faults import Faults
from tests.support.hyperv.jobs import Jobs
from tests.support.hyperv.machines import Checkpoint, Machine, Passthrough, ReferencePoint
from tests.support.hyperv.storage import Storage
from tests.support.winrm import ScriptFailure

MIB = 1 << 20
DOMAIN = "corp.example"

_DEFINING = ("create-checkpoint", "convert-to-reference-point", "destroy-checkpoint", "describe-machine")
"""The scripts after which a machine's definition is another."""
VOLUME = "C:\\ClusterStorage\\Volume1"


class HypervWorld:
    """Hosts named `nodes`; the first answers for the cluster when `cluster` is set. Files are under `root`.

    `answer` is what `answers` makes of a script; methods here are what happens to the machines meanwhile.
    """

    def __init__(
        self,
        root: Path,
        *,
        nodes: tuple[str, ...] = ("hv1",),
        cluster: bool = False,
        change_tracking: bool = True,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.storage = Storage(root)
        self.nodes = dict.fromkeys(nodes, "up")
        self.cluster = cluster
        self.change_tracking = change_tracking
        self.volumes = {VOLUME: nodes[0]} if cluster else {}
        self.machines: dict[str, Machine] = {}
        self.jobs = Jobs()
        self.faults = Faults()
        self.calls: list[tuple[str, str]] = []
        self.addresses = {node: f"{node}.{DOMAIN}" for node in nodes}
        self.now = clock
        self.lock = RLock()
        for folder in ("C:\\VMs", *self.volumes):
            self.storage.local(folder).mkdir(parents=True, exist_ok=True)

    # -- what administrators make ---------------------------------------------------------------------------

    def add_machine(self, name: str, *sizes: int, node: str | None = None, version: str = "9.0") -> str:
        """Make a running machine with disks of these sizes; return its id."""
        with self.lock:
            identifier = str(uuid4())
            place = VOLUME if self.cluster else "C:\\VMs"
            machine = Machine(identifier, name, node or next(iter(self.nodes)), f"{place}\\{identifier[:8]}", version)
            self.machines[identifier] = machine
            for size in sizes:
                self.add_disk(identifier, size)
            self.write_definition(machine, machine.definition)
            return identifier

    def add_disk(
        self,
        machine_id: str,
        size_bytes: int,
        *,
        place: str | None = None,
        file: str | None = None,
        fixed: bool = False,
        sector_bytes: int = 512,
        shared: bool = False,
        tracked: bool = True,
        block_bytes: int = vhdx_files.BLOCK_BYTES,
    ) -> str:
        """Attach a new disk; return its place."""
        with self.lock:
            machine = self.machines[machine_id]
            place = place or self._free_place(machine)
            path = f"{machine.folder}\\{file or f'disk{len(machine.disks)}-{uuid4().hex[:4]}'}.vhdx"
            local = self.storage.made(path)
            vhdx_files.create(local, size_bytes, fixed=fixed, sector_bytes=sector_bytes, block_bytes=block_bytes)
            machine.disks[place] = Disk(self.storage, [path], shared=shared, tracked=tracked)
            self.write_definition(machine, machine.definition)
            return place

    def add_passthrough(self, machine_id: str) -> str:
        """Attach a disk of the host; return its place."""
        machine = self.machines[machine_id]
        place = self._free_place(machine)
        machine.disks[place] = Passthrough("Microsoft:HV\\\\.\\PHYSICALDRIVE7")
        self.write_definition(machine, machine.definition)
        return place

    def replace_disk(self, machine_id: str, place: str) -> None:
        """Put a new disk of the same size in the place of another."""
        size = self.disk(machine_id, place).size_bytes
        del self.machines[machine_id].disks[place]
        self.add_disk(machine_id, size, place=place)

    def resize(self, machine_id: str, place: str, size_bytes: int) -> None:
        """Make a disk larger."""
        with self.lock:
            self.disk(machine_id, place).resize(size_bytes)

    def turn(self, machine_id: str, state: str) -> None:
        """Switch the machine to another state, such as `off`."""
        self.machines[machine_id].state = state

    # -- what guests do -------------------------------------------------------------------------------------

    def write(self, machine_id: str, place: str, offset: int, data: bytes) -> None:
        """Write as the guest does."""
        with self.lock:
            self.disk(machine_id, place).write(offset, data)

    def discard(self, machine_id: str, place: str, offset: int, length: int) -> None:
        """Discard as the guest does."""
        with self.lock:
            self.disk(machine_id, place).discard(offset, length)

    def content(self, machine_id: str, place: str) -> bytes:
        """What the guest sees."""
        with self.lock:
            return self.disk(machine_id, place).content()

    def disk(self, machine_id: str, place: str) -> Disk:
        """A disk that is a file."""
        disk = self.machines[machine_id].disks[place]
        assert isinstance(disk, Disk)
        return disk

    def place(self, machine_id: str, number: int = 0) -> str:
        """The place of a machine's nth disk."""
        return list(self.machines[machine_id].disks)[number]

    # -- what hosts, clusters and other products do -----------------------------------------------------------

    def migrate(self, machine_id: str, node: str) -> None:
        """Move a running machine to another node."""
        self.machines[machine_id].node = node

    def move_volume(self, path: str, node: str) -> None:
        """Let another node coordinate a cluster shared volume."""
        self.volumes[path] = node

    def plant_checkpoint(self, machine_id: str, kind: str = "user", name: str = "Automatic Checkpoint") -> Checkpoint:
        """Take a checkpoint that is not ours: the guest's disks are .avhdx files from here on."""
        with self.lock:
            checkpoint = self.machines[machine_id].freeze(kind, name, self.now())
            self._write_definitions()
            return checkpoint

    def plant_reference_point(self, machine_id: str) -> ReferencePoint:
        """Make a reference point as another product does."""
        with self.lock:
            machine = self.machines[machine_id]
            return machine.convert(machine.freeze("recovery", "another product's", self.now()))

    def delete_reference_points(self, machine_id: str) -> None:
        """Remove all of them, as another product or a restore elsewhere does."""
        machine = self.machines[machine_id]
        for point in list(machine.reference_points):
            machine.forget(point)

    def restore_checkpoint_files(self, machine_id: str) -> None:
        """Break the tracking of all of a machine's disks, as a restore from outside does."""
        for disk in self.machines[machine_id].files().values():
            disk.moments.clear()

    # -- what hosts answer ------------------------------------------------------------------------------------

    def answer(self, host: str, script: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """What a script says at a host: JSON. Raises ScriptFailure."""
        from tests.support.hyperv.answers import ANSWERS

        with self.lock:
            self.calls.append((host, script))
            node = self.node_of(host)
            self.faults.run_before(script)
            if node in self.faults.silent or self.nodes[node] == "down":
                raise ScriptFailure("winrm-connection", f"{node} does not answer", kind="unavailable")
            told: dict[str, Any] = json.loads(json.dumps(ANSWERS[script](self, node, arguments)))
            if script in _DEFINING:
                self._write_definitions()
            if self.faults.lost.get(script):
                self.faults.lost[script] -= 1
                raise ScriptFailure("reply-lost", f"the answer of {script} was lost", kind="unavailable")
            return told

    def node_of(self, host: str) -> str:
        """The node behind a name: its own, or the cluster's, or whatever a single host is called."""
        named = {address: node for node, address in self.addresses.items()}
        name = named.get(host, host.split(".", maxsplit=1)[0].casefold())
        return name if name in self.nodes else next(node for node, state in self.nodes.items() if state == "up")

    def machine_at(self, node: str, machine_id: str, *, planned: bool = False) -> Machine:
        """A machine that is at a node."""
        machine = self.machines.get(machine_id.lower())
        if machine is None or machine.node != node or machine.planned != planned:
            raise missing("machine", machine_id)
        return machine

    def checkpoint_at(self, node: str, checkpoint_id: str) -> tuple[Machine, Checkpoint]:
        """A checkpoint of a machine that is at a node."""
        for machine in self.machines.values():
            for checkpoint in machine.checkpoints:
                if checkpoint.id == checkpoint_id.lower() and machine.node == node:
                    return machine, checkpoint
        raise missing("checkpoint", checkpoint_id)

    def reference_point_at(self, node: str, identifier: str) -> tuple[Machine, ReferencePoint]:
        """A reference point of a machine that is at a node."""
        for machine in self.machines.values():
            for point in machine.reference_points:
                if point.id == identifier and machine.node == node:
                    return machine, point
        raise missing("reference-point", identifier)

    def disk_behind(self, path: str) -> Disk | None:
        """The disk that a file belongs to."""
        of_machines = (disk for machine in self.machines.values() for disk in machine.files().values())
        return next((disk for disk in of_machines if path in disk.chain), None)

    def write_definition(self, machine: Machine, path: str) -> None:
        """Write a machine's definition, and the state of its firmware, where a host would."""
        disks = {place: disk.live for place, disk in machine.files().items()}
        checkpoints = [checkpoint.id for checkpoint in machine.checkpoints]
        whole = {place: disk.path for place, disk in machine.disks.items() if isinstance(disk, Passthrough)}
        told = {
            "name": machine.name,
            "version": machine.version,
            "disks": disks,
            "whole": whole,
            "checkpoints": checkpoints,
        }
        self.storage.made(path).write_text(json.dumps(told))
        self.storage.local(path.removesuffix("vmcx") + "vmgs").write_bytes(b"firmware of " + machine.id.encode())

    def _write_definitions(self) -> None:
        for machine in self.machines.values():
            if not machine.planned:
                self.write_definition(machine, machine.definition)

    def _free_place(self, machine: Machine) -> str:
        """A SCSI controller keeps its GUID: here it follows from the machine's."""
        controller = f"{machine.id[:-4]}c0de"
        taken = {int(place.rpartition("/")[2]) for place in machine.disks}
        return f"{controller}/0/{next(number for number in range(64) if number not in taken)}"


__all__ = ["DOMAIN", "MIB", "UNIT_BYTES", "VOLUME", "HypervWorld"]
