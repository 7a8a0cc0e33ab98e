"""Our vSphere simulator and the third-party vcsim answer a plain pyvmomi client alike, wherever both can answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pyVmomi import vim, vmodl
from pyVmomi.VmomiSupport import DataObject

from tests.support.vcsim_process import PASSWORD, Vcsim
from tests.support.vsphere.client import Client, Collector, client
from tests.support.vsphere.simulator import VsphereSimulator

Ask = Callable[[Client], object]


@pytest.fixture
def theirs(vcsim: Vcsim) -> Iterator[Client]:
    """A client of vcsim."""
    with client(vcsim.host, vcsim.port, vcsim.ca_file, "user", PASSWORD) as made:
        yield made


def fault_of(call: Callable[[], object]) -> str:
    """The type of the fault that a call raises."""
    with pytest.raises(vmodl.MethodFault) as caught:
        call()
    return type(caught.value).__name__


def some_machine(client: Client) -> vim.VirtualMachine:
    """The first machine by name."""
    return client.machines()[0]


def datacenter(client: Client) -> vim.Datacenter:
    """The datacenter."""
    return client.content.rootFolder.childEntity[0]


def in_store(client: Client, path: str) -> str:
    """The datastore path of a file."""
    return f"[{datacenter(client).datastore[0].name}] {path}"


def address(client: Client, path: str) -> str:
    """The `/folder` address of a file."""
    return f"/folder/{path}?dcPath={datacenter(client).name}&dsName={datacenter(client).datastore[0].name}"


def retrieve(client: Client, target: vim.ManagedEntity, *paths: str, report: bool = False) -> list[object]:
    """What RetrieveProperties tells: the paths that are set, and the faults of those that are not."""
    spec = Collector.FilterSpec(
        propSet=[Collector.PropertySpec(type=vim.VirtualMachine, pathSet=list(paths))],
        objectSet=[Collector.ObjectSpec(obj=target)],
        reportMissingObjectsInResults=report,
    )
    return [
        ([entry.name for entry in found.propSet], [(m.path, type(m.fault).__name__) for m in found.missingSet])
        for found in client.content.propertyCollector.RetrieveProperties([spec])
    ]


# --- questions, and what is compared of the answers ---


def wrong_password(client: Client) -> object:
    """A login that is refused."""
    client.content.sessionManager.Logout()
    return fault_of(lambda: client.login("somebody", "wrong"))


def second_login(client: Client) -> object:
    """A login on a session that is logged in."""
    return fault_of(lambda: client.login("somebody", "wrong"))


def without_session(client: Client) -> object:
    """Calls and reads after a logout."""
    machine, root = some_machine(client), client.content.rootFolder
    client.content.sessionManager.Logout()
    return [
        fault_of(lambda: machine.name),
        fault_of(lambda: machine.CreateSnapshot_Task("s", "", False, False)),
        fault_of(lambda: client.content.viewManager.CreateContainerView(root, [vim.VirtualMachine], True)),
        fault_of(vim.ServiceInstance("ServiceInstance", client.stub).CurrentTime),
        retrieve(client, machine, "name"),
    ]


def session_activity(client: Client) -> object:
    """Whether sessions live."""
    session = client.content.sessionManager.currentSession
    ask = client.content.sessionManager.SessionIsActive
    return ask(session.key, session.userName), ask("another", session.userName)


def objects_that_are_gone(client: Client) -> object:
    """Calls and reads of a machine that is not."""
    stranger = vim.VirtualMachine("vm-99999", client.stub)
    return [
        fault_of(lambda: stranger.name),
        fault_of(stranger.PowerOnVM_Task),
        fault_of(lambda: retrieve(client, stranger, "name")),
        retrieve(client, stranger, "name", report=True),
    ]


def properties_that_are_not(client: Client) -> object:
    """Reads of what is not set, and of what no type has."""
    machine = some_machine(client)
    return [
        retrieve(client, machine, "name", "snapshot", "snapshot.currentSnapshot"),
        retrieve(client, machine, "nonsense"),
        retrieve(client, machine, "config.nonsense"),
    ]


def power(client: Client) -> object:
    """What a running machine refuses."""
    machine = some_machine(client)
    return [
        client.read(machine, "runtime.powerState"),
        fault_of(lambda: client.wait(machine.PowerOnVM_Task())),
        fault_of(lambda: client.wait(machine.Destroy_Task())),
        fault_of(machine.UnregisterVM),
    ]


def ended_tasks(client: Client) -> object:
    """A task that has ended, and cannot be cancelled."""
    task = some_machine(client).ReconfigVM_Task(vim.vm.ConfigSpec(annotation="seen"))
    result = client.wait(task)
    return result, fault_of(task.CancelTask), client.read(task, "info.state", "info.cancelled")


def reconfiguration(client: Client) -> object:
    """Settings that were changed."""
    machine = some_machine(client)
    option = vim.option.OptionValue(key="guestinfo.test", value="set")
    spec = vim.vm.ConfigSpec(annotation="seen", numCPUs=3, extraConfig=[option], changeTrackingEnabled=True)
    client.wait(machine.ReconfigVM_Task(spec))
    config = machine.config
    extra = {entry.key: entry.value for entry in config.extraConfig}
    return config.annotation, config.hardware.numCPU, extra["guestinfo.test"], config.changeTrackingEnabled


def folders(client: Client) -> object:
    """Folders that are made and deleted, and what is refused."""
    files, place = client.content.fileManager, datacenter(client)
    return [
        files.MakeDirectory(in_store(client, "made"), place, False),
        fault_of(lambda: files.MakeDirectory(in_store(client, "made"), place, False)),
        fault_of(lambda: files.MakeDirectory(in_store(client, "not/made"), place, False)),
        fault_of(lambda: files.MakeDirectory("[another] made", place, False)),
        fault_of(lambda: files.MakeDirectory("made", place, False)),
        client.wait(files.DeleteDatastoreFile_Task(in_store(client, "made"), place)),
        fault_of(lambda: client.wait(files.DeleteDatastoreFile_Task(in_store(client, "made"), place))),
    ]


def disks_outside_of_machines(client: Client) -> object:
    """Disks that are made and deleted, and what is refused."""
    disks, place = client.content.virtualDiskManager, datacenter(client)
    spec = vim.VirtualDiskManager.FileBackedVirtualDiskSpec(diskType="thin", adapterType="lsiLogic", capacityKb=1024)
    path, nowhere = in_store(client, "lone.vmdk"), in_store(client, "nowhere/lone.vmdk")
    return [
        client.wait(disks.CreateVirtualDisk_Task(path, place, spec)) == path,
        fault_of(lambda: client.wait(disks.CreateVirtualDisk_Task(path, place, spec))),
        fault_of(lambda: client.wait(disks.CreateVirtualDisk_Task(nowhere, place, spec))),
        client.wait(disks.DeleteVirtualDisk_Task(path, place)),
        fault_of(lambda: client.wait(disks.DeleteVirtualDisk_Task(path, place))),
    ]


def registering_what_is_not(client: Client) -> object:
    """A machine without a file."""
    folder, pool = datacenter(client).vmFolder, some_machine(client).resourcePool
    return fault_of(lambda: client.wait(folder.RegisterVM_Task(in_store(client, "no/no.vmx"), "no", False, pool, None)))


def snapshot_trees(client: Client) -> object:
    """The tree while snapshots come and go."""
    machine = some_machine(client)
    first, second = client.snapshot(machine, "first"), client.snapshot(machine, "second")

    def tree() -> object:
        return [
            (root.name, [child.name for child in root.childSnapshotList]) for root in machine.snapshot.rootSnapshotList
        ]

    grown, current = tree(), machine.snapshot.currentSnapshot == second
    removed = client.wait(first.RemoveSnapshot_Task(False, True))
    left = tree()
    again = fault_of(lambda: client.wait(first.RemoveSnapshot_Task(False, True)))
    client.wait(second.RemoveSnapshot_Task(False, True))
    return grown, current, removed, left, again, retrieve(client, machine, "snapshot", "name")


def leases(client: Client) -> object:
    """A lease over a snapshot, and after its end."""
    machine = some_machine(client)
    snapshot = client.snapshot(machine, "exported")
    lease = snapshot.ExportSnapshot()
    url = lease.info.deviceUrl[0].url
    told = [lease.state, url.split("/")[3], lease.HttpNfcLeaseProgress(50), lease.HttpNfcLeaseComplete()]
    gone = [fault_of(lambda: lease.HttpNfcLeaseProgress(60)), fault_of(lease.HttpNfcLeaseComplete)]
    client.wait(snapshot.RemoveSnapshot_Task(False, True))
    return told, gone


def first_updates(client: Client) -> object:
    """What a new filter tells, and that nothing follows."""
    machine, collector = some_machine(client), client.content.propertyCollector
    spec = Collector.FilterSpec(
        propSet=[Collector.PropertySpec(type=vim.VirtualMachine, pathSet=["name", "config.annotation"])],
        objectSet=[Collector.ObjectSpec(obj=machine)],
    )
    made = collector.CreateFilter(spec, True)
    first = client.updates("", 5)
    assert first is not None
    told = [
        (update.kind, sorted((change.name, change.op) for change in update.changeSet))
        for shown in first.filterSet
        for update in shown.objectSet
    ]
    nothing = client.updates(first.version, 0)
    return told, nothing, made.Destroy(), fault_of(made.Destroy)


def datastore_ranges(client: Client) -> object:
    """Ranges of a file of the datastore, and addresses that are wrong."""

    def get(path: str, span: str) -> object:
        status, headers, body = client.http("GET", path, headers=[("Range", f"bytes={span}")])
        return (status, body, headers["Content-Range"]) if status == 206 else status

    path = address(client, "ranges.bin")
    status, _, _ = client.http("PUT", path, body=bytes(range(100)))
    assert status in (200, 201)
    head = client.http("HEAD", path)
    return [
        get(path, "10-19"),
        get(path, "90-400"),
        get(path, "100-400"),
        (head[0], head[1]["Content-Length"], head[1]["Accept-Ranges"]),
        client.http("GET", address(client, "missing.bin"))[0],
        client.http("GET", path.replace("dsName=", "dsName=not"))[0],
        client.http("GET", path.replace("dcPath=", "dcPath=not"))[0],
    ]


QUESTIONS: list[Ask] = [
    wrong_password,
    second_login,
    without_session,
    session_activity,
    objects_that_are_gone,
    properties_that_are_not,
    power,
    ended_tasks,
    reconfiguration,
    folders,
    disks_outside_of_machines,
    registering_what_is_not,
    snapshot_trees,
    leases,
    first_updates,
    datastore_ranges,
]


@pytest.mark.parametrize("ask", QUESTIONS, ids=lambda ask: ask.__name__)
def test_both_simulators_answer_alike(ask: Ask, plain: Client, theirs: Client) -> None:
    """The same question gets the same answer, or a fault of the same type."""
    assert ask(plain) == ask(theirs)


def unlike(ours: object, theirs: object, path: str) -> Iterator[str]:
    """Name the places where both set a value, and of different types."""
    if isinstance(ours, list) and isinstance(theirs, list):
        for mine, other in zip(ours[:1], theirs[:1], strict=False):
            yield from unlike(mine, other, f"{path}[]")
    elif isinstance(ours, DataObject) and type(ours) is type(theirs):
        for info in ours._GetPropertyList():
            mine, other = getattr(ours, info.name), getattr(theirs, info.name)
            if mine is not None and other is not None:
                yield from unlike(mine, other, f"{path}.{info.name}")
    elif type(ours) is not type(theirs):
        yield f"{path}: {type(ours).__name__}, {type(theirs).__name__}"


@pytest.mark.parametrize(
    "path",
    [
        "name",
        "parent",
        "config",
        "runtime.host",
        "runtime.powerState",
        "runtime.connectionState",
        "runtime.consolidationNeeded",
        "summary.config",
        "capability",
        "guest",
        "layoutEx",
        "datastore",
        "resourcePool",
        "overallStatus",
    ],
)
def test_properties_have_the_same_shape(path: str, plain: Client, theirs: Client) -> None:
    """A machine's properties are of the same types, down to their last part."""
    ours, others = (client.read(some_machine(client), path)[path] for client in (plain, theirs))
    assert list(unlike(ours, others, path)) == []


def test_properties_come_in_pages(vsphere: VsphereSimulator, plain: Client, theirs: Client) -> None:
    """A limit of objects splits the answer alike, and the pages together are everything."""

    def pages(client: Client) -> list[int]:
        view = client.content.viewManager.CreateContainerView(client.content.rootFolder, [vim.Folder], True)
        step = Collector.TraversalSpec(name="view", path="view", skip=False, type=vim.view.ContainerView)
        spec = Collector.FilterSpec(
            propSet=[Collector.PropertySpec(type=vim.Folder, pathSet=["name"])],
            objectSet=[Collector.ObjectSpec(obj=view, skip=True, selectSet=[step])],
        )
        collector = client.content.propertyCollector
        page = collector.RetrievePropertiesEx([spec], Collector.RetrieveOptions(maxObjects=3))
        sizes = [len(page.objects)]
        while page.token:
            page = collector.ContinueRetrievePropertiesEx(page.token)
            sizes.append(len(page.objects))
        return sizes

    assert pages(plain) == pages(theirs) == [3, 1]
