"""FileManager and VirtualDiskManager: files and disks of the datastore outside of any machine."""

from __future__ import annotations

from pyVmomi import vim

from tests.support.vsphere.datastore import create_flat
from tests.support.vsphere.managed import Call, Managed, soap
from tests.support.vsphere.tasks import run_task


class FileManager(Managed):
    """Makes folders and deletes files."""

    kind = vim.FileManager

    @soap("MakeDirectory")
    def make_directory(self, call: Call) -> None:
        """Make a folder. Raises FileAlreadyExists, FileNotFound."""
        folder = self.world.datastore.file(str(call["name"]))
        if folder.exists():
            raise vim.fault.FileAlreadyExists(file=str(call["name"]), msg="The folder already exists")
        if not folder.parent.exists() and not call["createParentDirectories"]:
            raise vim.fault.FileNotFound(file=str(call["name"]), msg="The folder above was not found")
        folder.mkdir(parents=True)

    @soap("DeleteDatastoreFile_Task")
    def delete(self, call: Call) -> vim.Task:
        """Delete a file or a folder."""
        return run_task(self.world, self, call, lambda: self.world.datastore.delete(str(call["name"])))


class VirtualDiskManager(Managed):
    """Makes and deletes virtual disks."""

    kind = vim.VirtualDiskManager

    @soap("CreateVirtualDisk_Task")
    def create(self, call: Call) -> vim.Task:
        """Create an empty disk; the task's result is its path."""
        return run_task(self.world, self, call, lambda: self._create(str(call["name"]), call["spec"]))

    @soap("DeleteVirtualDisk_Task")
    def delete(self, call: Call) -> vim.Task:
        """Delete a disk with all its files."""
        return run_task(self.world, self, call, lambda: self.world.datastore.delete(str(call["name"])))

    def _create(self, name: str, spec: object) -> str:
        assert isinstance(spec, vim.VirtualDiskManager.FileBackedVirtualDiskSpec)
        create_flat(self.world.datastore.file(name), spec.capacityKb << 10)
        return name
