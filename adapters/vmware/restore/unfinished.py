"""Removing the machine that a restore died over. Imports `adapters.errors`, `adapters.port` and this package.

It is known by the mark of that restore in its annotation, which the step that makes it whole replaces. One that anybody
powered on, gave a disk or took a snapshot of is kept. Its files go first: while it is there, they are found again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pyVmomi import vim

from adapters.errors import AdapterError
from adapters.port import Leftover
from adapters.vmware.inventory import Machine, look_at
from adapters.vmware.places import split_file
from adapters.vmware.properties import read_all, read_object
from adapters.vmware.restore.recipe import mark, unfinished_mark
from adapters.vmware.restore.target import datacenter_of
from adapters.vmware.session import Session, UnansweredCall
from adapters.vmware.tasks import TaskFailed, TaskWaiter

_SECONDS = 3600.0
GONE = ("file-missing", "object-missing")
"""What a removal meets whose object is not there any more."""


def remove_unfinished(session: Session, waiter: TaskWaiter, label: str, disks: int) -> list[Leftover]:
    """Remove what a restore of up to `disks` disks left under its label; empty when there is no such machine.

    Raises the AdapterError of what could not be removed; asked again, it goes on.
    """
    for found in read_all(session, vim.VirtualMachine, ["name", "config.annotation"]):
        lines = str(found.values.get("config.annotation") or "").splitlines()
        what = f"machine {found.values.get('name')}"
        if mark(label) in lines:
            return [Leftover(what, "kept: it is whole")]
        if unfinished_mark(label) in lines:
            machine = look_at(session, found.moref)
            if _is_used(machine):
                return [Leftover(what, "kept: somebody uses it")]
            _remove(session, waiter, machine, disks)
            return [Leftover(what, "removed")]
    return []


def _is_used(machine: Machine) -> bool:
    return machine.power != "poweredOff" or machine.disks is None or bool(machine.disks or machine.snapshots)


def _remove(session: Session, waiter: TaskWaiter, machine: Machine, disks: int) -> None:
    vm = session.bound(vim.VirtualMachine, machine.moref)
    path = str(read_object(session, vm, ["config.files.vmPathName"]).get("config.files.vmPathName"))
    datastore, vmx = split_file(path)
    folder = f"[{datastore}] {vmx.rpartition('/')[0]}"
    for step in _steps(session, vm, folder, disks):
        try:
            run_task(session, waiter, step, f"What is left of {machine.name} was not removed")
        except AdapterError as error:
            if error.code not in GONE:
                raise


def _steps(session: Session, vm: Any, folder: str, disks: int) -> Iterator[Callable[[], Any]]:
    files, datacenter = session.content.fileManager, datacenter_of(session, vm)
    delete = files.DeleteDatastoreFile_Task if files is not None else None
    for number in range(disks if delete is not None else 0):
        for name in (f"disk-{number}-flat.vmdk", f"disk-{number}.vmdk"):
            yield lambda name=name: delete(f"{folder}/{name}", datacenter)  # type: ignore[misc]  # not None here
    yield vm.Destroy_Task
    if delete is not None:
        yield lambda: delete(folder, datacenter)


def run_task(session: Session, waiter: TaskWaiter, start: Callable[[], Any], what: str) -> None:
    """Start a task and wait for its end. Raises the AdapterError of its failure."""
    try:
        waiter.wait(session.effect(what, start), what, seconds=_SECONDS)
    except TaskFailed as failed:
        raise failed.error from None
    except UnansweredCall as unanswered:
        raise unanswered.error from None
