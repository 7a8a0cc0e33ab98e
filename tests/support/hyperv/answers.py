"""What each script answers in the simulated world, by its id and arguments."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

from tests.support import vhdx_files
from tests.support.hyperv.disks import Disk
from tests.support.hyperv.failures import missing
from tests.support.hyperv.faults import FAILED
from tests.support.hyperv.machines import Machine, Passthrough, Unrealised
from tests.support.hyperv.planning import PLANNING
from tests.support.hyperv.shadows import SHADOWS
from tests.support.hyperv.world import HypervWorld
from tests.support.winrm import ScriptFailure

Answer = dict[str, Any]
Arguments = dict[str, Any]


def _about(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    return {
        "name": node.upper(),
        "product": "Microsoft Windows Server 2022 Datacenter",
        "version": "10.0.20348",
        "change_tracking": world.change_tracking,
        "machine_folder": "C:\\VMs",
        "now": world.now().isoformat(),
    }


def _machine(machine: Machine) -> Answer:
    """A machine as scripts tell it."""
    return {
        "id": machine.id.upper(),
        "name": machine.name,
        "state": machine.state,
        "version": machine.version,
        "node": machine.node.upper(),
        "notes": machine.notes,
        "configuration_files": [machine.definition, machine.definition.removesuffix("vmcx") + "vmgs"],
        "disks": [_attached(place, disk) for place, disk in machine.disks.items()],
    }


def _attached(place: str, disk: Disk | Passthrough | Unrealised) -> Answer:
    if isinstance(disk, Unrealised):
        return {"place": place, "path": disk.path, "kind": "file"}
    if isinstance(disk, Disk):
        return {"place": place, "path": disk.live, "kind": "shared" if disk.shared else "file"}
    return {"place": place, "path": disk.path, "kind": "passthrough"}


def _machines(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    wanted, planned = arguments["machine"], arguments["planned"]
    here = (machine for machine in world.machines.values() if machine.node == node and machine.planned == planned)
    told = [_machine(machine) for machine in here if wanted is None or machine.id == wanted.lower()]
    return {"items": told}


def _disk_files(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    return {"items": [_disk_file(world, path) for path in arguments["paths"]]}


def _disk_file(world: HypervWorld, path: str) -> Answer:
    local = world.storage.local(path)
    if not local.is_file():
        return {"path": path, "header": None, "why": "The system cannot find the file specified."}
    with vhdx_files.VhdxFile(local) as file:
        parent = file.parent_path()
        header = {
            "path": path,
            "virtual_disk_id": f"{{{str(file.disk_id).upper()}}}",
            "size_bytes": file.size,
            "parent_path": f"{path.rpartition(chr(92))[0]}\\{parent.name}" if parent else None,
            "format": "vhdx",
            "sector_bytes": file.sector,
        }
    return {"path": path, "header": header, "why": ""}


def _checkpoints(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    machine = world.machines.get(arguments["machine"].lower())
    if machine is None or machine.node != node:
        raise missing("machine", arguments["machine"])
    return {
        "items": [
            {
                "id": checkpoint.id.upper(),
                "machine_id": machine.id.upper(),
                "kind": checkpoint.kind,
                "name": checkpoint.name,
                "notes": checkpoint.notes,
                "created_at": checkpoint.created_at.isoformat(),
            }
            for checkpoint in machine.checkpoints
        ]
    }


def _create_checkpoint(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    machine = world.machine_at(node, arguments["machine"])
    if machine.state == "changing":
        return {"return_value": 32775, "job": None, "affected": []}
    if arguments["consistency_level"] == 1 and machine.id in world.faults.no_application:
        texts = [
            "Checkpoint operation failed.",
            f"Production checkpoints cannot be created for '{machine.name}'.",
        ]
        return world.jobs.fail(node, FAILED, texts)
    if len(machine.files()) < len(machine.disks) and not arguments["leave_out"]:
        return world.jobs.fail(node, FAILED, ["A disk attached to the machine cannot be in a checkpoint."])
    name = f"{machine.name} - Backup - ({world.now():%m/%d/%Y - %H:%M:%S})"
    return world.jobs.start(
        node, "create-checkpoint", lambda: [machine.freeze("recovery", name, world.now()).id.upper()]
    )


def _rename_checkpoint(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    _, checkpoint = world.checkpoint_at(node, arguments["checkpoint"])
    if world.faults.names_refused:
        return {"return_value": 32773, "job": None, "affected": []}
    checkpoint.name, checkpoint.notes = arguments["name"], arguments["notes"]
    return {"return_value": 0, "job": None, "affected": []}


def _checkpoint_disks(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    machine, checkpoint = world.checkpoint_at(node, arguments["checkpoint"])
    items = [{"place": place, "path": path, "kind": "file"} for place, path in checkpoint.files.items()]
    others = [_attached(place, disk) for place, disk in machine.disks.items() if not isinstance(disk, Disk)]
    return {"items": items + others}


def _convert(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    machine, checkpoint = world.checkpoint_at(node, arguments["checkpoint"])
    if checkpoint.kind != "recovery":
        return {"return_value": 32773, "job": None, "affected": []}
    return world.jobs.start(node, "convert-to-reference-point", lambda: [machine.convert(checkpoint).id])


def _destroy_checkpoint(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    machine, checkpoint = world.checkpoint_at(node, arguments["checkpoint"])

    def merge() -> list[str]:
        machine.merge(checkpoint)
        return []

    return world.jobs.start(node, "destroy-checkpoint", merge)


def _reference_points(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    machine = world.machine_at(node, arguments["machine"])
    return {
        "items": [
            {"id": point.id, "machine_id": machine.id.upper(), "disk_ids": point.disk_ids, "rct_ids": point.rct_ids}
            for point in machine.reference_points
        ]
    }


def _destroy_reference_point(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    machine, point = world.reference_point_at(node, arguments["reference_point"])

    def forget() -> list[str]:
        machine.forget(point)
        return []

    return world.jobs.start(node, "destroy-reference-point", forget)


def _changes(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    path, offset, length = arguments["path"], arguments["offset"], arguments["length"]
    disk = world.disk_behind(path)
    if disk is None:
        raise missing("file", path)
    try:
        changed = disk.changed(path, arguments["limit_id"])
    except LookupError:
        raise ScriptFailure("changes-unknown", "The tracking identifier is not known.", kind="conflict") from None
    end = offset + length
    first = max(0, bisect_left(changed, (offset, 0)) - 1)
    near = changed[first : first + arguments["most"] + 2]
    inside = [(max(at, offset), min(at + count, end)) for at, count in near if at < end and at + count > offset]
    ranges, more = inside[: arguments["most"]], inside[arguments["most"] :]
    processed = more[0][0] - offset if more else length
    page = {"offset": offset, "processed": processed, "ranges": [(start, stop - start) for start, stop in ranges]}
    told = world.faults.page(page)
    return {"processed": told["processed"], "ranges": told["ranges"]}


def _job(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    return world.jobs.look(node, arguments["job"])


def _cancel_job(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    world.jobs.cancel(node, arguments["job"])
    return {"return_value": 0}


def _cluster_nodes(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    _require_cluster(world)
    items = [
        {"name": name.upper(), "address": world.addresses[name], "state": state} for name, state in world.nodes.items()
    ]
    return {"items": items}


def _cluster_groups(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    _require_cluster(world)
    machines = (machine for machine in world.machines.values() if not machine.planned)
    return {
        "items": [
            {"machine_id": machine.id.upper(), "name": machine.name, "owner": machine.node.upper()}
            for machine in machines
        ]
    }


def _cluster_volumes(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    _require_cluster(world)
    volumes = enumerate(world.volumes.items(), 1)
    return {
        "items": [
            {"name": f"Cluster Disk {number}", "path": path, "owner": owner.upper()}
            for number, (path, owner) in volumes
        ]
    }


def _require_cluster(world: HypervWorld) -> None:
    if not world.cluster:
        raise ScriptFailure("cluster-missing", "the host belongs to no cluster")


ANSWERS: dict[str, Callable[[HypervWorld, str, Arguments], Answer]] = {
    "about": _about,
    "machines": _machines,
    "disk-files": _disk_files,
    "checkpoints": _checkpoints,
    "create-checkpoint": _create_checkpoint,
    "rename-checkpoint": _rename_checkpoint,
    "checkpoint-disks": _checkpoint_disks,
    "convert-to-reference-point": _convert,
    "destroy-checkpoint": _destroy_checkpoint,
    "reference-points": _reference_points,
    "destroy-reference-point": _destroy_reference_point,
    "changes": _changes,
    "job": _job,
    "cancel-job": _cancel_job,
    "cluster-nodes": _cluster_nodes,
    "cluster-groups": _cluster_groups,
    "cluster-volumes": _cluster_volumes,
    **PLANNING,
    **SHADOWS,
}
