"""The service's front door: ServiceInstance, container views, and looking machines up."""

from __future__ import annotations

from datetime import UTC, datetime

from pyVmomi import vim
from pyVmomi.VmomiSupport import ManagedObject

from tests.support.vsphere.inventory import ROOT_MOID
from tests.support.vsphere.managed import Call, Managed, World, prop, soap
from tests.support.vsphere.properties import Collector, read

API_VERSION = "8.0.3.0"


class ServiceInstance(Managed):
    """Where every client begins."""

    kind = vim.ServiceInstance

    def __init__(self, world: World) -> None:
        super().__init__(world, "ServiceInstance")
        self._uuid = "5a1f0f4e-0000-4000-8000-000000000001"

    @prop
    def content(self) -> vim.ServiceInstanceContent:
        return vim.ServiceInstanceContent(
            rootFolder=vim.Folder(ROOT_MOID),
            propertyCollector=Collector("propertyCollector"),
            viewManager=vim.view.ViewManager("ViewManager"),
            sessionManager=vim.SessionManager("SessionManager"),
            fileManager=vim.FileManager("FileManager"),
            virtualDiskManager=vim.VirtualDiskManager("virtualDiskManager"),
            searchIndex=vim.SearchIndex("SearchIndex"),
            about=vim.AboutInfo(
                name="VMware vCenter Server", fullName="Holdfast vSphere simulator", vendor="Holdfast tests",
                version="8.0.3", build="0", osType="linux-x64", productLineId="vpx", apiType="VirtualCenter",
                apiVersion=API_VERSION, instanceUuid=self._uuid,
            ),
        )  # fmt: skip

    @prop
    def serverClock(self) -> datetime:
        return datetime.now(UTC)

    @soap("RetrieveServiceContent")
    def retrieve_content(self, call: Call) -> vim.ServiceInstanceContent:
        """Tell where everything is."""
        return self.content()

    @soap("CurrentTime")
    def current_time(self, call: Call) -> datetime:
        """Tell the time."""
        return datetime.now(UTC)


class ContainerView(Managed):
    """All objects of some types below a container, as they are when it is read."""

    kind = vim.view.ContainerView

    def __init__(self, world: World, root: ManagedObject, types: tuple[type, ...], *, recursive: bool) -> None:
        super().__init__(world, f"session-view-{world.number()}")
        self._root = root
        self._types = types
        self._recursive = recursive

    @prop
    def container(self) -> ManagedObject:
        return self._root

    @prop
    def view(self) -> list[ManagedObject]:
        entities = self.world.every(vim.ManagedEntity)
        found = (entry for entry in entities if entry.ref != self._root and self._is_below(entry))
        return [entry.ref for entry in found if not self._types or issubclass(entry.kind, self._types)]

    @soap("DestroyView")
    def destroy(self, call: Call) -> None:
        """End the view."""
        self.world.remove(self)

    def _is_below(self, entry: Managed) -> bool:
        above = entry.get("parent")
        while above is not None and above != self._root and self._recursive:
            above = self.world.find(above).get("parent")
        return bool(above == self._root)


class ViewManager(Managed):
    """Makes views."""

    kind = vim.view.ViewManager

    @soap("CreateContainerView")
    def create(self, call: Call) -> vim.view.ContainerView:
        """Make a view of the calling session."""
        container, types = call["container"], call["type"]
        assert isinstance(container, ManagedObject)
        self.world.find(container)
        wanted = tuple(types) if isinstance(types, list) else ()
        view = ContainerView(self.world, container, wanted, recursive=bool(call["recursive"]))
        call.session.owned.append(view)
        self.world.add(view)
        return view.ref


class SearchIndex(Managed):
    """Finds machines by their UUIDs."""

    kind = vim.SearchIndex

    @soap("FindByUuid")
    def find_by_uuid(self, call: Call) -> vim.VirtualMachine | None:
        """Find a machine by its BIOS or its instance UUID."""
        return next(iter(self.find_all_by_uuid(call)), None)

    @soap("FindAllByUuid")
    def find_all_by_uuid(self, call: Call) -> list[vim.VirtualMachine]:
        """Find all machines of a UUID."""
        name = "instanceUuid" if call["instanceUuid"] else "uuid"
        machines = self.world.every(vim.VirtualMachine) if call["vmSearch"] else iter(())
        return [entry.ref for entry in machines if read(entry, f"config.{name}") == call["uuid"]]
