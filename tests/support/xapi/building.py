"""What a pool is made of before anybody logs in: hosts, networks, storage repositories and machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.xapi.published import NULL
from tests.support.xapi.world import World, new_mac

MIB = 1 << 20
TRACKING = ("VDI_CREATE", "VDI_DELETE", "VDI_SNAPSHOT", "VDI_CLONE", "VDI_RESIZE", "VDI_MIRROR", "VDI_CONFIG_CBT")
"""What the drivers ext, nfs, lvm and others can do."""

NO_TRACKING = tuple(feature for feature in TRACKING if feature != "VDI_CONFIG_CBT")


@dataclass(frozen=True)
class SrSpec:
    """A storage repository; `type` names its driver, whose are the `features` and the `image_formats`.

    Drivers before xapi 26.15 name no formats, as some do after it.
    """

    name: str
    type: str = "ext"
    features: Sequence[str] = TRACKING
    shared: bool = False
    image_formats: Sequence[str] = ()


@dataclass(frozen=True)
class DiskSpec:
    """A disk; `sr` names its storage repository."""

    size_bytes: int = 4 * MIB
    sr: str = "local"
    type: str = "user"
    sharable: bool = False
    on_boot: str = "persist"
    sm_config: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MachineSpec:
    """A machine; its disks have the places 0, 1 ..., and its empty CD drive the last one."""

    name: str
    disks: Sequence[DiskSpec] = (DiskSpec(),)
    running: bool = True


def build_pool(world: World, addresses: Sequence[str]) -> None:
    """Make the hosts, the first the master, in one network, and the pool."""
    records = world.records
    network = records.create("network", name_label="Management", bridge="xenbr0", MTU=1500)
    for number, address in enumerate(addresses):
        host = records.create(
            "host",
            name_label=f"host{number}",
            hostname=f"host{number}.test",
            address=address,
            enabled=True,
            API_version_major=2,
            API_version_minor=21,
            software_version={"product_brand": "XCP-ng", "product_version": "8.3.0", "xapi": "25.6"},
        )
        records.create(
            "PIF",
            device="eth0",
            network=network,
            host=host,
            IP=address,
            MAC=new_mac(),
            management=True,
            currently_attached=True,
        )
        world.hosts.append(host)
        dom0 = records.create(
            "VM", name_label=f"Control domain on host: host{number}", power_state="Running", is_control_domain=True
        )
        records.set("VM", dom0, resident_on=host)
        records.set("host", host, control_domain=dom0)
    world.master = world.hosts[0]
    world.pool = records.create("pool", name_label="pool", master=world.master, restrictions={"restrict_cbt": "false"})


def add_sr(world: World, spec: SrSpec) -> str:
    """Make a storage repository: a shared one is plugged at each host, another at the first one."""
    records = world.records
    if not records.find("SM", type=spec.type):
        features = dict.fromkeys(spec.features, 1)
        formats = list(spec.image_formats)
        records.create("SM", type=spec.type, name_label=spec.type, features=features, supported_image_formats=formats)
    sr = records.create("SR", name_label=spec.name, type=spec.type, shared=spec.shared, physical_size=1 << 40)
    for host in world.hosts if spec.shared else world.hosts[:1]:
        records.create("PBD", SR=sr, host=host, currently_attached=True)
    return sr


def add_machine(world: World, spec: MachineSpec) -> str:
    """Make a machine with its disks, a CD drive and a network interface."""
    records = world.records
    vm = records.create(
        "VM",
        name_label=spec.name,
        power_state="Running" if spec.running else "Halted",
        resident_on=world.hosts[0] if spec.running else NULL,
        memory_static_max=512 * MIB,
        memory_dynamic_max=512 * MIB,
        memory_dynamic_min=512 * MIB,
        memory_static_min=256 * MIB,
        VCPUs_max=2,
        VCPUs_at_startup=2,
        actions_after_shutdown="destroy",
        actions_after_reboot="restart",
        actions_after_crash="restart",
        HVM_boot_policy="BIOS order",
        HVM_boot_params={"order": "cd", "firmware": "bios"},
        platform={"device-model": "qemu-upstream-compat"},
        domid=1 if spec.running else -1,
    )
    for place, disk in enumerate(spec.disks):
        add_disk(world, vm, disk, str(place), spec.running)
    records.create("VBD", VM=vm, VDI=NULL, userdevice=str(len(spec.disks)), type="CD", mode="RO", empty=True)
    records.create(
        "VIF", VM=vm, network=records.find("network")[0], device="0", MAC=new_mac(), currently_attached=spec.running
    )
    return vm


def add_disk(world: World, vm: str, spec: DiskSpec, place: str, attached: bool) -> str:
    """Give a machine a disk; return the disk."""
    records = world.records
    (sr,) = records.find("SR", name_label=spec.sr)
    vdi = world.disks.make(
        sr,
        spec.size_bytes,
        name_label=f"{records.get('VM', vm)['name_label']} {place}",
        type=spec.type,
        sharable=spec.sharable,
        on_boot=spec.on_boot,
        sm_config=dict(spec.sm_config),
    )
    records.create(
        "VBD",
        VM=vm,
        VDI=vdi,
        userdevice=place,
        device=f"xvd{chr(ord('a') + int(place))}",
        type="Disk",
        mode="RW",
        bootable=place == "0",
        currently_attached=attached,
        other_config={"owner": ""},
    )
    return vdi
