"""A plain pyvmomi client for tests of simulators: what any vSphere client does, with nothing of ours."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pyVmomi import vim, vmodl
from pyVmomi.SoapAdapter import SoapStubAdapter
from pyVmomi.VmomiSupport import ManagedObject, versionMap

Collector = vmodl.query.PropertyCollector


class Client:
    """One connection pool; logged in once `login` was called."""

    def __init__(self, host: str, port: int, ca_file: Path) -> None:
        self._address = host, port
        self._context = ssl.create_default_context(cafile=str(ca_file))
        self.stub = SoapStubAdapter(host, port, version=versionMap["vim25/6.5"], sslContext=self._context)
        self.content = vim.ServiceInstance("ServiceInstance", self.stub).RetrieveContent()

    def login(self, user: str, password: str) -> vim.UserSession:
        """Log in."""
        return self.content.sessionManager.Login(user, password, None)

    def machines(self) -> list[vim.VirtualMachine]:
        """All machines, by their names."""
        view = self.content.viewManager.CreateContainerView(self.content.rootFolder, [vim.VirtualMachine], True)
        found = sorted(view.view, key=lambda machine: machine.name)
        view.DestroyView()
        return found

    def machine(self, name: str) -> vim.VirtualMachine:
        """The machine of a name."""
        return next(machine for machine in self.machines() if machine.name == name)

    def wait(self, task: vim.Task) -> object:
        """Wait for a task and return its result. Raises its fault."""
        filter_spec = Collector.FilterSpec(
            propSet=[Collector.PropertySpec(type=vim.Task, pathSet=["info.state"])],
            objectSet=[Collector.ObjectSpec(obj=task)],
        )
        collector = self.content.propertyCollector.CreatePropertyCollector()
        collector.CreateFilter(filter_spec, True)
        version, info = "", self.read(task, "info.state")
        while info["info.state"] not in ("success", "error"):
            update = collector.WaitForUpdatesEx(version, Collector.WaitOptions(maxWaitSeconds=10))
            version, info = update.version if update else version, self.read(task, "info.state")
        collector.Destroy()
        ended = self.read(task, "info.error", "info.result")
        if "info.error" in ended:
            raise ended["info.error"]
        return ended.get("info.result")

    def read(self, target: ManagedObject, *paths: str) -> dict[str, object]:
        """Read properties of one object; what is not set is left out."""
        spec = Collector.FilterSpec(
            propSet=[Collector.PropertySpec(type=type(target), pathSet=list(paths))],
            objectSet=[Collector.ObjectSpec(obj=target)],
        )
        (found,) = self.content.propertyCollector.RetrieveProperties([spec])
        return {entry.name: entry.val for entry in found.propSet}

    def updates(self, version: str, seconds: int, limit: int | None = None) -> Collector.UpdateSet | None:
        """Wait for updates of the filters."""
        options = Collector.WaitOptions(maxWaitSeconds=seconds, maxObjectUpdates=limit)
        return self.content.propertyCollector.WaitForUpdatesEx(version, options)

    def snapshot(self, machine: vim.VirtualMachine, name: str, *, quiesce: bool = False) -> vim.vm.Snapshot:
        """Take a snapshot."""
        made = self.wait(machine.CreateSnapshot_Task(name, "", False, quiesce))
        assert isinstance(made, vim.vm.Snapshot)
        return made

    def pages(
        self, machine: vim.VirtualMachine, snapshot: vim.vm.Snapshot | None, key: int, change_id: str, size: int
    ) -> Iterator[vim.VirtualMachine.DiskChangeInfo]:
        """Ask for changed areas until the end of the disk."""
        start = 0
        while start < size:
            page = machine.QueryChangedDiskAreas(snapshot, key, start, change_id)
            yield page
            start = page.startOffset + page.length

    def http(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        cookie: bool = True,
        headers: Sequence[tuple[str, str]] = (),
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request on a connection of its own; return status, headers and body."""
        connection = http.client.HTTPSConnection(*self._address, context=self._context)
        sent = dict(headers) | ({"Cookie": str(self.stub.cookie)} if cookie else {})
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def close(self) -> None:
        """Drop the connections; the session stays at the server."""
        self.stub.DropConnections()


@contextmanager
def client(host: str, port: int, ca_file: Path, user: str, password: str) -> Iterator[Client]:
    """A client that is logged in."""
    made = Client(host, port, ca_file)
    try:
        made.login(user, password)
        yield made
    finally:
        made.close()
