"""Disks of a size and content of ours for machines of the third party's vCenter simulator, which makes empty ones."""

from __future__ import annotations

import ssl
import time
import urllib.request
from urllib.parse import quote
from uuid import uuid4

from pyVmomi import vim

from adapters.vmware.session import Session
from tests.support.vcsim_process import Vcsim

Change = vim.vm.device.VirtualDeviceSpec


def give_disk(vcsim: Vcsim, machine: str, content: bytes) -> None:
    """Put a disk with `content` in the place of a machine's only one."""
    session = Session(vcsim.settings())
    try:
        datacenter = session.content.rootFolder.childEntity[0]
        found = next(entry for entry in datacenter.vmFolder.childEntity if entry.name == machine)
        (old,) = [device for device in found.config.hardware.device if isinstance(device, vim.vm.device.VirtualDisk)]
        store, _, path = old.backing.fileName.removeprefix("[").partition("] ")
        name = f"{path.rpartition('/')[0]}/ours-{uuid4().hex}.vmdk"
        _reconfigure(found, Change(device=old, operation="remove"))
        _reconfigure(found, Change(device=_disk(old, f"[{store}] {name}", len(content)), **_CREATED))
        _put(vcsim, session, datacenter.name, store, name.replace(".vmdk", "-flat.vmdk"), content)
    finally:
        session.close()


_CREATED = {"operation": "add", "fileOperation": "create"}


def _disk(old: vim.vm.device.VirtualDisk, name: str, size_bytes: int) -> vim.vm.device.VirtualDisk:
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
        fileName=name, datastore=old.backing.datastore, diskMode="persistent", thinProvisioned=True
    )
    return vim.vm.device.VirtualDisk(
        key=-1,
        backing=backing,
        controllerKey=old.controllerKey,
        unitNumber=old.unitNumber,
        capacityInKB=size_bytes // 1024,
        capacityInBytes=size_bytes,
    )


def _reconfigure(machine: vim.VirtualMachine, change: Change) -> None:
    task = machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change]))
    while task.info.state in ("queued", "running"):
        time.sleep(0.05)
    assert task.info.state == "success", task.info.error


def _put(vcsim: Vcsim, session: Session, datacenter: str, store: str, path: str, content: bytes) -> None:
    context = ssl.create_default_context(cafile=str(vcsim.ca_file))
    address = f"https://{vcsim.host}:{vcsim.port}/folder/{quote(path)}?dcPath={quote(datacenter)}&dsName={quote(store)}"
    request = urllib.request.Request(address, content, method="PUT")
    request.add_header("Cookie", f"vmware_soap_session={session.cookie()}")
    with urllib.request.urlopen(request, context=context, timeout=30) as answer:  # noqa: S310 - likewise
        assert answer.status == 200
