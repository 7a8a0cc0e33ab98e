"""The fixed part of the inventory: a datacenter with one cluster of two hosts, one datastore and one network.

Machines come and go in its `vm` folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence

from pyVmomi import vim

from tests.support.vsphere.devices import DATASTORE_MOID, NETWORK_MOID
from tests.support.vsphere.managed import Managed, World, prop

ROOT_MOID = "group-d1"
DATACENTER = "DC0"
POOL_MOID = "resgroup-1"
HOSTS = ("esx0.example", "esx1.example")


class Entity(Managed):
    """Anything with a name and a place in the tree."""

    title: str = ""

    @prop
    def name(self) -> str:
        return self.title

    @prop
    def overallStatus(self) -> str:
        return vim.ManagedEntity.Status.green


class Placed(Entity):
    """An entity that stays where it was put."""

    def __init__(self, world: World, moid: str, title: str, above: Managed | None = None) -> None:
        super().__init__(world, moid)
        self.title = title
        self.above = above
        world.add(self)

    @prop
    def parent(self) -> vim.ManagedEntity | None:
        return self.above.ref if self.above else None


class Folder(Placed):
    """A folder; `held` finds what is in it."""

    kind = vim.Folder

    def __init__(self, world: World, moid: str, title: str, above: Managed | None, types: Sequence[str]) -> None:
        super().__init__(world, moid, title, above)
        self._types = list(types)
        self.held: Callable[[], Sequence[Managed]] = list

    @prop
    def childType(self) -> list[str]:
        return self._types

    @prop
    def childEntity(self) -> list[vim.ManagedEntity]:
        return [entry.ref for entry in self.held()]


class Host(Placed):
    """An ESXi host."""

    kind = vim.HostSystem

    @prop
    def runtime(self) -> vim.host.RuntimeInfo:
        return vim.host.RuntimeInfo(connectionState="connected", powerState="poweredOn", inMaintenanceMode=False)

    @prop
    def datastore(self) -> list[vim.Datastore]:
        return [vim.Datastore(DATASTORE_MOID)]

    @prop
    def network(self) -> list[vim.Network]:
        return [vim.Network(NETWORK_MOID)]

    @prop
    def vm(self) -> list[vim.VirtualMachine]:
        return [entry.ref for entry in self.world.every(vim.VirtualMachine) if vars(entry)["host_entry"] is self]


class Pool(Placed):
    """The cluster's resource pool."""

    kind = vim.ResourcePool

    @prop
    def owner(self) -> vim.ComputeResource:
        assert self.above is not None
        return self.above.ref

    @prop
    def vm(self) -> list[vim.VirtualMachine]:
        return [entry.ref for entry in self.world.every(vim.VirtualMachine)]


class Cluster(Placed):
    """The cluster of all hosts."""

    kind = vim.ClusterComputeResource

    @prop
    def host(self) -> list[vim.HostSystem]:
        return [entry.ref for entry in self.world.every(vim.HostSystem)]

    @prop
    def resourcePool(self) -> vim.ResourcePool:
        return vim.ResourcePool(POOL_MOID)

    @prop
    def datastore(self) -> list[vim.Datastore]:
        return [vim.Datastore(DATASTORE_MOID)]

    @prop
    def network(self) -> list[vim.Network]:
        return [vim.Network(NETWORK_MOID)]


class StoreEntity(Placed):
    """The datastore as an object of the inventory; its files are the `Datastore` of the world."""

    kind = vim.Datastore

    @prop
    def summary(self) -> vim.Datastore.Summary:
        space = shutil.disk_usage(self.world.datastore.root)
        return vim.Datastore.Summary(
            datastore=self.ref, name=self.title, url=f"ds:///vmfs/volumes/{self.title}/", capacity=space.total,
            freeSpace=space.free, accessible=True, type="VMFS", multipleHostAccess=True,
        )  # fmt: skip

    @prop
    def host(self) -> list[vim.Datastore.HostMount]:
        info = vim.host.MountInfo(
            path=f"/vmfs/volumes/{self.title}", accessMode="readWrite", mounted=True, accessible=True
        )
        return [vim.Datastore.HostMount(key=host.ref, mountInfo=info) for host in self.world.every(vim.HostSystem)]

    @prop
    def vm(self) -> list[vim.VirtualMachine]:
        return [entry.ref for entry in self.world.every(vim.VirtualMachine)]


class NetworkEntity(Placed):
    """The network."""

    kind = vim.Network

    @prop
    def summary(self) -> vim.Network.Summary:
        return vim.Network.Summary(network=self.ref, name=self.title, accessible=True, ipPoolName="")

    @prop
    def host(self) -> list[vim.HostSystem]:
        return [entry.ref for entry in self.world.every(vim.HostSystem)]


class Datacenter(Placed):
    """The datacenter and its four folders; `machines` is the one that machines are in."""

    kind = vim.Datacenter

    def __init__(self, world: World, root: Folder, machines: type[Folder]) -> None:
        super().__init__(world, "datacenter-1", DATACENTER, root)
        self.machines = machines(world, "group-v1", "vm", self, ["Folder", "VirtualMachine"])
        self._hosts = Folder(world, "group-h1", "host", self, ["Folder", "ComputeResource"])
        self._stores = Folder(world, "group-s1", "datastore", self, ["Folder", "Datastore"])
        self._networks = Folder(world, "group-n1", "network", self, ["Folder", "Network"])
        cluster = Cluster(world, "domain-c1", "cluster0", self._hosts)
        self.hosts = [Host(world, f"host-{number}", name, cluster) for number, name in enumerate(HOSTS)]
        Pool(world, POOL_MOID, "Resources", cluster)
        store = StoreEntity(world, DATASTORE_MOID, world.datastore.name, self._stores)
        network = NetworkEntity(world, NETWORK_MOID, "VM Network", self._networks)
        root.held = lambda: [self]
        self.machines.held = lambda: list(world.every(vim.VirtualMachine))
        self._hosts.held = lambda: [cluster]
        self._stores.held = lambda: [store]
        self._networks.held = lambda: [network]

    @prop
    def vmFolder(self) -> vim.Folder:
        return self.machines.ref

    @prop
    def hostFolder(self) -> vim.Folder:
        return self._hosts.ref

    @prop
    def datastoreFolder(self) -> vim.Folder:
        return self._stores.ref

    @prop
    def networkFolder(self) -> vim.Folder:
        return self._networks.ref

    @prop
    def datastore(self) -> list[vim.Datastore]:
        return [vim.Datastore(DATASTORE_MOID)]

    @prop
    def network(self) -> list[vim.Network]:
        return [vim.Network(NETWORK_MOID)]
