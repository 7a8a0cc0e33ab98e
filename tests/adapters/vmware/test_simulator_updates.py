"""Waiting for changes at our vSphere simulator: what is told, told again, cut short, and ended."""

from __future__ import annotations

from threading import Thread

import pytest
from pyVmomi import vim, vmodl

from tests.support.eventually import eventually
from tests.support.vsphere.client import Client, Collector
from tests.support.vsphere.simulator import VsphereSimulator

Update = tuple[str, str, dict[str, object]]


def watch(client: Client, *machines: vim.VirtualMachine) -> Collector.Filter:
    """A filter over machines' names and annotations."""
    spec = Collector.FilterSpec(
        propSet=[Collector.PropertySpec(type=vim.VirtualMachine, pathSet=["name", "config.annotation"])],
        objectSet=[Collector.ObjectSpec(obj=machine) for machine in machines],
        reportMissingObjectsInResults=True,
    )
    return client.content.propertyCollector.CreateFilter(spec, True)


def told(updates: Collector.UpdateSet | None) -> list[Update]:
    """Kind, object and values of each update."""
    assert updates is not None
    return [
        (update.kind, update.obj._moId, {change.name: change.val for change in update.changeSet})
        for shown in updates.filterSet
        for update in shown.objectSet
    ]


def annotate(client: Client, machine: vim.VirtualMachine, text: str) -> None:
    """Change a machine's annotation."""
    client.wait(machine.ReconfigVM_Task(vim.vm.ConfigSpec(annotation=text)))


def test_only_what_changed_is_told(plain: Client) -> None:
    """After the first answer a change is told alone, and after it nothing."""
    db, web = plain.machines()
    watch(plain, db, web)
    first = plain.updates("", 5)
    assert {update[2]["name"] for update in told(first)} == {"db", "web"}
    annotate(plain, web, "changed")
    second = plain.updates(first.version, 5)
    assert told(second) == [("modify", web._moId, {"config.annotation": "changed"})]
    assert plain.updates(second.version, 0) is None


def test_a_lost_answer_is_told_again(vsphere: VsphereSimulator, plain: Client) -> None:
    """Whoever asks with the version before is told the same; a version that was never told is refused."""
    _, web = plain.machines()
    watch(plain, web)
    first = plain.updates("", 5)
    assert first is not None
    annotate(plain, web, "changed")
    vsphere.faults.lose_reply("WaitForUpdatesEx")
    with pytest.raises(ConnectionError):
        plain.updates(first.version, 5)
    assert told(plain.updates(first.version, 5)) == [("modify", web._moId, {"config.annotation": "changed"})]
    with pytest.raises(vmodl.query.InvalidCollectorVersion):
        plain.updates("never told", 0)


def test_a_limit_cuts_the_answer_short(plain: Client) -> None:
    """With a limit of objects the answer says that it is truncated, and the next one has the rest."""
    db, web = plain.machines()
    watch(plain, db, web)
    first = plain.updates("", 5, limit=1)
    second = plain.updates(first.version, 5, limit=1)
    assert [first.truncated, second.truncated] == [True, None]
    assert [update[1] for update in told(first) + told(second)] == [db._moId, web._moId]


def test_a_machine_that_goes_leaves(plain: Client) -> None:
    """A destroyed machine is told as having left the filter."""
    db, web = plain.machines()
    plain.wait(db.PowerOffVM_Task())
    watch(plain, db, web)
    first = plain.updates("", 5)
    assert first is not None
    plain.wait(db.Destroy_Task())
    assert told(plain.updates(first.version, 5)) == [("leave", db._moId, {})]


@pytest.mark.parametrize("end", ["CancelWaitForUpdates", "DestroyPropertyCollector"])
def test_a_wait_can_be_ended(end: str, vsphere: VsphereSimulator, plain: Client) -> None:
    """A wait is ended by its cancellation, and by the end of its collector; other collectors go on."""
    collector = plain.content.propertyCollector.CreatePropertyCollector()

    def end_it() -> None:
        eventually(lambda: vsphere.waiting, "the client waits")
        (collector.CancelWaitForUpdates if end == "CancelWaitForUpdates" else collector.Destroy)()

    ender = Thread(target=end_it)
    ender.start()
    try:
        with pytest.raises(vmodl.fault.RequestCanceled):
            collector.WaitForUpdatesEx("", Collector.WaitOptions(maxWaitSeconds=30))
    finally:
        ender.join()
    watch(plain, plain.machine("web"))
    assert told(plain.updates("", 5))
