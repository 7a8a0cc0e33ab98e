"""What the scripts of a restore answer: machines that an import planned, until they are realised or destroyed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests.support.hyperv.disks import Disk
from tests.support.hyperv.failures import missing
from tests.support.hyperv.faults import FAILED
from tests.support.hyperv.machines import Checkpoint, Machine, Passthrough, Unrealised

if TYPE_CHECKING:
    from tests.support.hyperv.world import HypervWorld

Answer = dict[str, Any]
Arguments = dict[str, Any]

_DONE: Answer = {"return_value": 0, "job": None, "affected": []}


def _import(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    local = world.storage.local(arguments["path"])
    if not local.is_file():
        return {"return_value": 32779, "job": None, "affected": []}
    try:
        told = json.loads(local.read_bytes())
        name, version, disks, whole = told["name"], told["version"], told["disks"], told["whole"]
        missing_here = [Checkpoint(str(uuid4()), "other", "", world.now(), {}, {}) for _ in told["checkpoints"]]
    except (ValueError, KeyError):
        return world.jobs.fail(node, FAILED, ["The configuration file is not readable."])

    def plan() -> list[str]:
        machine = Machine(str(uuid4()), name, node, "C:\\nowhere", version, state="off", planned=True)
        machine.checkpoints = missing_here
        machine.disks = {place: Unrealised(path) for place, path in disks.items()}
        machine.disks |= {place: Passthrough(path) for place, path in whole.items()}
        world.machines[machine.id] = machine
        return [machine.id.upper()]

    return world.jobs.start(node, "import-definition", plan)


def _either(world: HypervWorld, node: str, arguments: Arguments) -> Machine:
    machine = world.machines.get(arguments["machine"].lower())
    if machine is None or machine.node != node:
        raise missing("machine", arguments["machine"])
    return machine


def _set_disk_path(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    machine, place, path = _either(world, node, arguments), arguments["place"], arguments["path"]
    if place not in machine.disks:
        raise missing("disk", place)

    def attach() -> list[str]:
        machine.disks[place] = Unrealised(path) if machine.planned else Disk(world.storage, [path])
        return []

    if not world.storage.local(path).is_file():
        return world.jobs.fail(node, FAILED, ["The system cannot find the file specified."])
    return world.jobs.start(node, "set-disk-path", attach)


def _remove_disk(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    machine = world.machine_at(node, arguments["machine"], planned=True)
    if machine.disks.pop(arguments["place"], None) is None:
        raise missing("disk", arguments["place"])
    return _DONE


def _disconnect(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    machine = world.machine_at(node, arguments["machine"], planned=True)

    def disconnect() -> list[str]:
        machine.connected = False
        return []

    return world.jobs.start(node, "disconnect-networks", disconnect)


def _describe(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    machine = _either(world, node, arguments)

    def describe() -> list[str]:
        machine.name, machine.notes = arguments["name"], arguments["notes"]
        machine.folder = arguments["folder"] or machine.folder
        return []

    return world.jobs.start(node, "describe-machine", describe)


def _validate(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    machine = world.machine_at(node, arguments["machine"], planned=True)
    if texts := _faults_of(world, machine):
        return world.jobs.fail(node, FAILED, texts)
    return world.jobs.start(node, "validate-machine", lambda: [])


def _realise(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    machine = world.machine_at(node, arguments["machine"], planned=True)
    if texts := _faults_of(world, machine):
        return world.jobs.fail(node, FAILED, texts)

    def realise() -> list[str]:
        machine.planned = False
        planned = {place: disk for place, disk in machine.disks.items() if isinstance(disk, Unrealised)}
        machine.disks = {place: Disk(world.storage, [disk.path]) for place, disk in planned.items()}
        world.write_definition(machine, machine.definition)
        return [machine.id.upper()]

    return world.jobs.start(node, "realise-machine", realise)


def _faults_of(world: HypervWorld, machine: Machine) -> list[str]:
    files = [disk.path for disk in machine.disks.values() if isinstance(disk, Unrealised)]
    lost = [path for path in files if not world.storage.local(path).is_file()]
    lost += [disk.path for disk in machine.disks.values() if isinstance(disk, Passthrough)]
    texts = [f"Attachment '{path}' not found." for path in lost]
    return texts + [f"Checkpoint {checkpoint.id} is missing." for checkpoint in machine.checkpoints]


def _destroy(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    machine = _either(world, node, arguments)

    def destroy() -> list[str]:
        del world.machines[machine.id]
        if not machine.planned:
            for path in (machine.definition, machine.definition.removesuffix("vmcx") + "vmgs"):
                world.storage.local(path).unlink()
        return []

    return world.jobs.start(node, "destroy-machine", destroy)


PLANNING: dict[str, Callable[[HypervWorld, str, Arguments], Answer]] = {
    "import-definition": _import,
    "set-disk-path": _set_disk_path,
    "remove-disk": _remove_disk,
    "disconnect-networks": _disconnect,
    "describe-machine": _describe,
    "validate-machine": _validate,
    "realise-machine": _realise,
    "destroy-machine": _destroy,
}
