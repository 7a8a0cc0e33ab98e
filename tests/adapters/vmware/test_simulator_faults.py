"""Every knob of our vSphere simulator does what it says, and only for as long as it says."""

from __future__ import annotations

import http.client
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from xml.parsers.expat import ExpatError

import pytest
from pyVmomi import vim, vmodl

from tests.support.eventually import eventually
from tests.support.vsphere import faults
from tests.support.vsphere.client import Client, Collector, client
from tests.support.vsphere.simulator import VsphereSimulator

UNIT = 65536
MIB = 1 << 20
SIZE = 8 * MIB
KEY = 2000
FLAT = "/folder/web/web-flat.vmdk?dcPath=DC0&dsName=datastore1"
CONFIG_FAULT = vim.fault.GenericVmConfigFault(reason="test", msg="Unable to do so")


@pytest.fixture
def web(plain: Client) -> vim.VirtualMachine:
    """A machine with one disk and change tracking switched on."""
    machine = plain.machine("web")
    plain.wait(machine.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True)))
    return machine


@pytest.fixture
def two_writes(vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine) -> tuple[vim.vm.Snapshot, str]:
    """A snapshot with writes at 1 MiB and 3 MiB since the change id beside it."""
    base = plain.snapshot(web, "base")
    vsphere.write("web", 0, MIB, b"one")
    vsphere.write("web", 0, 3 * MIB, b"three")
    disks = [device for device in base.config.hardware.device if isinstance(device, vim.vm.device.VirtualDisk)]
    return plain.snapshot(web, "present"), disks[0].backing.changeId


def areas_of(page: vim.VirtualMachine.DiskChangeInfo) -> list[tuple[int, int]]:
    """A page's areas."""
    return [(area.start, area.length) for area in page.changedArea]


# --- calls ---


def test_a_lost_reply_is_of_a_call_that_was_done(
    vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine
) -> None:
    """The connection closes without an answer; the snapshot is there; the next call is answered."""
    vsphere.faults.lose_reply("CreateSnapshot_Task")
    with pytest.raises((http.client.HTTPException, OSError)):
        web.CreateSnapshot_Task("lost", "", False, False)
    assert eventually(lambda: vsphere.snapshots("web"), "the snapshot is taken") == ["lost"]
    assert web.name == "web"


def test_a_silent_server_does_nothing(vsphere: VsphereSimulator, web: vim.VirtualMachine) -> None:
    """A call that is not answered is not done either, and other calls are answered meanwhile."""
    vsphere.faults.stay_silent("CreateSnapshot_Task")
    web._stub.schemeArgs["timeout"] = 0.2
    web._stub.DropConnections()
    with pytest.raises(TimeoutError):
        web.CreateSnapshot_Task("never", "", False, False)
    del web._stub.schemeArgs["timeout"]
    web._stub.DropConnections()
    assert web.name == "web"
    assert vsphere.snapshots("web") == []


def test_a_session_ends_at_the_call_that_was_named(
    vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine, two_writes: tuple[vim.vm.Snapshot, str]
) -> None:
    """The second page is refused, and asking again after a login goes on."""
    snapshot, since = two_writes
    vsphere.faults.page_size = 1
    vsphere.faults.expire_sessions("QueryChangedDiskAreas", after=1)
    page = web.QueryChangedDiskAreas(snapshot, KEY, 0, since)
    with pytest.raises(vim.fault.NotAuthenticated):
        web.QueryChangedDiskAreas(snapshot, KEY, page.length, since)
    plain.login(vsphere.user, vsphere.password)
    assert areas_of(web.QueryChangedDiskAreas(snapshot, KEY, page.length, since)) == [(3 * MIB, UNIT)]


def test_a_session_ends_in_the_middle_of_a_wait(
    vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine
) -> None:
    """Who waits for updates is told that the session is over."""
    spec = Collector.FilterSpec(
        propSet=[Collector.PropertySpec(type=vim.VirtualMachine, pathSet=["name"])],
        objectSet=[Collector.ObjectSpec(obj=web)],
    )
    plain.content.propertyCollector.CreateFilter(spec, True)
    first = plain.updates("", 5)
    assert first is not None
    ender = Thread(target=lambda: eventually(lambda: vsphere.waiting, "the client waits") and vsphere.expire_sessions())
    ender.start()
    try:
        with pytest.raises(vim.fault.NotAuthenticated):
            plain.updates(first.version, 30)
    finally:
        ender.join()


def test_a_call_is_refused_so_many_times(vsphere: VsphereSimulator, web: vim.VirtualMachine) -> None:
    """A refusal holds for as many calls as was said, after those that were to pass."""
    vsphere.faults.refuse("PowerOffVM_Task", CONFIG_FAULT, after=0, times=2)
    for _ in range(2):
        with pytest.raises(vim.fault.GenericVmConfigFault):
            web.PowerOffVM_Task()
    web.PowerOffVM_Task()


# --- tasks ---


def test_a_guest_that_cannot_be_quiesced(vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine) -> None:
    """A quiesced snapshot fails and leaves nothing; one that is not quiesced is taken."""
    vsphere.faults.quiesce_fault = vim.fault.ApplicationQuiesceFault(msg="no")
    with pytest.raises(vim.fault.ApplicationQuiesceFault):
        plain.snapshot(web, "quiesced", quiesce=True)
    assert vsphere.snapshots("web") == []
    assert len(vsphere.slot("web", 0).disk.layers) == 1
    plain.snapshot(web, "crash consistent")


def test_a_snapshot_that_is_not_removed_at_first(
    vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine
) -> None:
    """Removal fails twice, with the snapshot where it was, and then works."""
    snapshot = plain.snapshot(web, "stubborn")
    vsphere.faults.fail_task("RemoveSnapshot_Task", CONFIG_FAULT, times=2)
    for _ in range(2):
        with pytest.raises(vim.fault.GenericVmConfigFault):
            plain.wait(snapshot.RemoveSnapshot_Task(False))
        assert vsphere.snapshots("web") == ["stubborn"]
    plain.wait(snapshot.RemoveSnapshot_Task(False))
    assert vsphere.snapshots("web") == []


def test_layers_that_are_left_are_consolidated(
    vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine
) -> None:
    """A removal may leave its layers, which the machine says, and which consolidation writes down."""
    snapshot = plain.snapshot(web, "half")
    vsphere.write("web", 0, MIB, b"in the delta")
    content = vsphere.content("web", 0)
    vsphere.faults.leave_deltas()
    plain.wait(snapshot.RemoveSnapshot_Task(False))
    assert vsphere.snapshots("web") == []
    assert web.runtime.consolidationNeeded
    assert len(vsphere.slot("web", 0).disk.layers) == 2
    vsphere.faults.consolidation_stuck = True
    plain.wait(web.ConsolidateVMDisks_Task())
    assert web.runtime.consolidationNeeded
    vsphere.faults.consolidation_stuck = False
    assert not web.runtime.consolidationNeeded
    assert len(vsphere.slot("web", 0).disk.layers) == 1
    assert vsphere.content("web", 0) == content


def test_a_task_that_hangs_can_be_cancelled(vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine) -> None:
    """It runs until it is cancelled, keeps others off the machine, and leaves nothing."""
    vsphere.faults.stall_task("CreateSnapshot_Task")
    task = web.CreateSnapshot_Task("stalled", "", False, False)
    eventually(lambda: task.info.state == "running", "the task runs")
    with pytest.raises(vim.fault.TaskInProgress):
        web.PowerOffVM_Task()
    task.CancelTask()
    with pytest.raises(vmodl.fault.RequestCanceled):
        plain.wait(task)
    assert vsphere.snapshots("web") == []


# --- changed areas ---


def test_pages_that_are_wrong(
    vsphere: VsphereSimulator, web: vim.VirtualMachine, two_writes: tuple[vim.vm.Snapshot, str]
) -> None:
    """A page may echo another start, cover nothing, or more than there is."""
    snapshot, since = two_writes
    vsphere.faults.page = faults.wrong_start
    assert web.QueryChangedDiskAreas(snapshot, KEY, 0, since).startOffset == UNIT
    vsphere.faults.page = faults.zero_length
    empty = web.QueryChangedDiskAreas(snapshot, KEY, 0, since)
    assert (empty.length, areas_of(empty)) == (0, [])
    vsphere.faults.page = faults.overshoot
    assert web.QueryChangedDiskAreas(snapshot, KEY, 0, since).length == SIZE + MIB
    vsphere.faults.page = None
    assert web.QueryChangedDiskAreas(snapshot, KEY, 0, since).length == SIZE


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        (faults.hide(3 * MIB, UNIT), [(MIB, UNIT)]),
        (faults.reverse, [(3 * MIB, UNIT), (MIB, UNIT)]),
        (faults.overlap, [(at + skip, UNIT - skip) for at in (MIB, 3 * MIB) for skip in (0, 512)]),
        (faults.past_capacity(SIZE), [(MIB, UNIT), (3 * MIB, UNIT), (SIZE - UNIT, MIB)]),
    ],
    ids=["hide", "reverse", "overlap", "past_capacity"],
)
def test_areas_that_are_wrong(
    lie: faults.Lie,
    told: list[tuple[int, int]],
    vsphere: VsphereSimulator,
    web: vim.VirtualMachine,
    two_writes: tuple[vim.vm.Snapshot, str],
) -> None:
    """The tracking may hide a write, or tell areas out of order, twice, or behind the disk's end."""
    snapshot, since = two_writes
    vsphere.faults.areas = lie
    assert areas_of(web.QueryChangedDiskAreas(snapshot, KEY, 0, since)) == told
    vsphere.faults.areas = None
    assert areas_of(web.QueryChangedDiskAreas(snapshot, KEY, 0, since)) == [(MIB, UNIT), (3 * MIB, UNIT)]


def test_the_star_may_fault(
    vsphere: VsphereSimulator, web: vim.VirtualMachine, two_writes: tuple[vim.vm.Snapshot, str]
) -> None:
    """The allocated areas can be refused while changed ones are told."""
    snapshot, since = two_writes
    vsphere.faults.star_fault = vim.fault.FileFault(file="web.vmdk", msg="Error caused by file web.vmdk")
    with pytest.raises(vim.fault.FileFault):
        web.QueryChangedDiskAreas(snapshot, KEY, 0, "*")
    assert len(areas_of(web.QueryChangedDiskAreas(snapshot, KEY, 0, since))) == 2


# --- files, certificates, connections ---


@pytest.fixture
def frozen(plain: Client, vsphere: VsphereSimulator) -> bytes:
    """A frozen disk's content."""
    vsphere.write("web", 0, 0, os.urandom(MIB))
    plain.snapshot(plain.machine("web"), "frozen")
    return vsphere.content("web", 0)


def read(plain: Client) -> tuple[int, dict[str, str], bytes]:
    """Read 1,000 bytes of the frozen disk."""
    return plain.http("GET", FLAT, headers=[("Range", "bytes=500-1499")])


def test_ranges_that_are_ignored(vsphere: VsphereSimulator, plain: Client, frozen: bytes) -> None:
    """The whole file comes with 200, once."""
    vsphere.faults.ignore_range()
    status, headers, body = read(plain)
    assert (status, body, "Content-Range" in headers) == (200, frozen, False)
    assert read(plain)[0] == 206


def test_ranges_that_are_short(vsphere: VsphereSimulator, plain: Client, frozen: bytes) -> None:
    """Half of the range comes, and says so."""
    vsphere.faults.short_read(after=1)
    assert read(plain)[2] == frozen[500:1500]
    status, headers, body = read(plain)
    assert (status, headers["Content-Range"], body) == (206, f"bytes 500-999/{SIZE}", frozen[500:1000])


def test_streams_that_break(vsphere: VsphereSimulator, plain: Client, frozen: bytes) -> None:
    """The connection closes in the middle of what was promised."""
    vsphere.faults.break_stream()
    with pytest.raises(http.client.IncompleteRead):
        read(plain)
    assert read(plain)[2] == frozen[500:1500]


def test_a_session_ends_between_two_reads(vsphere: VsphereSimulator, plain: Client, frozen: bytes) -> None:
    """The second read is refused with 401, and so is one without a cookie; with a new session it goes on."""
    vsphere.faults.expire_sessions("GET /folder", after=1)
    assert [read(plain)[0] for _ in range(2)] == [206, 401]
    assert plain.http("GET", FLAT, cookie=False)[0] == 401
    plain.login(vsphere.user, vsphere.password)
    assert read(plain)[0] == 206


def test_the_certificate_changes(vsphere: VsphereSimulator) -> None:
    """New connections see another certificate of the same authority, and the fingerprint follows."""

    def served() -> str:
        context = ssl.create_default_context(cafile=str(vsphere.ca_file))
        connection = http.client.HTTPSConnection(vsphere.host, vsphere.port, context=context)
        connection.connect()
        pem = ssl.DER_cert_to_PEM_cert(connection.sock.getpeercert(binary_form=True))
        connection.close()
        return pem

    before, old = served(), vsphere.fingerprint
    vsphere.change_certificate()
    assert served() != before
    assert vsphere.fingerprint != old


def test_connections_count_for_the_machine_s_host(vsphere: VsphereSimulator, plain: Client, frozen: bytes) -> None:
    """A connection counts from its first read until it closes; calls count for no host."""
    host = vsphere.machine("web").host_entry.title
    assert vsphere.connections.peak(host) == 0
    context = ssl.create_default_context(cafile=str(vsphere.ca_file))
    opened = [http.client.HTTPSConnection(vsphere.host, vsphere.port, context=context) for _ in range(3)]
    for connection in opened:
        connection.request("HEAD", FLAT, headers={"Cookie": str(plain.stub.cookie)})
        connection.getresponse().read()
    assert vsphere.connections.now(host) == 3
    for connection in opened:
        connection.close()
    eventually(lambda: vsphere.connections.now(host) == 0, "the connections close")
    assert vsphere.connections.peak(host) == 3


@pytest.mark.parametrize("leave", [lambda simulator: None, lambda simulator: simulator.faults.stay_silent("Login")])
def test_nothing_is_left_behind(leave: Callable[[VsphereSimulator], None], tmp_path: Path) -> None:
    """QEMU ends with the simulator, also when a client still waits for an answer; all files are below its folder."""
    failed: list[type[BaseException]] = []
    with VsphereSimulator(tmp_path / "v") as simulator:
        leave(simulator)
        pid = simulator.engine.pid

        def log_in() -> None:
            try:
                with client(simulator.host, simulator.port, simulator.ca_file, simulator.user, simulator.password):
                    failed.append(AssertionError)
            except (OSError, http.client.HTTPException, ExpatError) as error:
                failed.append(type(error))

        thread = Thread(target=log_in)
        thread.start()
        eventually(lambda: simulator.connections.accepted, "the client is connected")
    thread.join()
    assert len(failed) == 1
    assert not Path(f"/proc/{pid}").exists()
