"""The simulated pool does what xapi and its storage manager are published to do, as far as backups meet it."""

from __future__ import annotations

import random
import ssl
import urllib.request
from base64 import b64decode
from threading import Event
from typing import Any

import pytest

from adapters.errors import AdapterError
from adapters.xen.session import Session
from tests.adapters.xen.conftest import MakeSession, StartPool
from tests.support.eventually import eventually
from tests.support.xapi import XapiSimulator, cbt
from tests.support.xapi.building import NO_TRACKING, DiskSpec, MachineSpec, SrSpec
from tests.support.xapi.cbt import BLOCK_BYTES, CbtLog
from tests.support.xapi.faults import HoldTask, LoseReply, Meanwhile
from tests.support.xapi.published import NULL, XapiFailure
from tests.support.xapi.server import HttpRequest
from tests.support.xapi.world import NbdServer

DRIVERS = (SrSpec("local"), SrSpec("closed", type="gfs2", features=NO_TRACKING))


def code(session: Session, method: str, *arguments: object) -> str:
    """The code of the error that a call ends in."""
    with pytest.raises(AdapterError) as caught:
        session.call(method, *arguments)
    return caught.value.code


def disk_of(session: Session, vm: str, place: str = "0") -> str:
    """The disk in a place of a machine or of a snapshot."""
    vbds = [session.call("VBD.get_record", vbd) for vbd in session.call("VM.get_VBDs", vm)]
    (found,) = [vbd["VDI"] for vbd in vbds if vbd["userdevice"] == place]
    return str(found)


def frozen(session: Session, pool: XapiSimulator, machine: str = "web") -> str:
    """The disk of a new snapshot of a machine."""
    return disk_of(session, session.call("VM.snapshot", pool.vm(machine), "a snapshot", []))


def blocks(session: Session, older: str, newer: str) -> set[int]:
    """The blocks that changed."""
    return set_bits(b64decode(session.call("VDI.list_changed_blocks", older, newer)))


def set_bits(bitmap: bytes) -> set[int]:
    """The numbers of the bits that are set, the highest of the first byte being 0."""
    return {at * 8 + bit for at, byte in enumerate(bitmap) for bit in range(8) if byte & (0x80 >> bit)}


# --- what is published ---


def test_calls_are_checked_as_published(pool: XapiSimulator, session_of: MakeSession) -> None:
    """Unknown methods, wrong numbers and wrong types of arguments, and unknown objects fail as at a pool."""
    session, vm = session_of(pool), pool.vm("web")
    assert code(session, "VM.fly", vm) == "message-method-unknown"
    assert code(session, "VM.get_record") == "message-parameter-count-mismatch"
    assert code(session, "VM.get_record", vm, vm) == "message-parameter-count-mismatch"
    assert code(session, "VDI.resize", pool.vdi("web"), "large") == "field-type-error"
    assert code(session, "VM.set_name_label", vm, True) == "field-type-error"
    assert code(session, "VM.snapshot_with_quiesce", vm, "x") == "not-implemented"
    assert code(session, "VM.get_record", "OpaqueRef:none") == "handle-invalid"
    assert code(session, "VM.get_by_uuid", "none") == "uuid-invalid"
    session.call("VM.add_to_other_config", vm, "ours", "1")
    assert code(session, "VM.add_to_other_config", vm, "ours", "2") == "map-duplicate-key"
    session.call("VM.remove_from_other_config", vm, "ours")
    session.call("VM.add_tags", vm, "kept")
    record = session.call("VM.get_record", vm)
    assert (record["other_config"], record["tags"], record["name_label"]) == ({}, ["kept"], "web")
    with pytest.raises(AssertionError):
        XapiFailure("NO_SUCH_FAILURE")


def test_a_snapshot_is_a_machine_of_its_own(pool: XapiSimulator, session_of: MakeSession) -> None:
    """A snapshot has copies of the disks that later writes leave alone, without those that were to be left out."""
    session, vm = session_of(pool), pool.vm("db")
    pool.write("db", 0, 0, b"then")
    taken = session.call("VM.snapshot", vm, "ours", [pool.vdi("db", 1)])
    pool.write("db", 0, 0, b"now!")
    record = session.call("VM.get_record", taken)
    assert (record["is_a_snapshot"], record["snapshot_of"], record["power_state"]) == (True, vm, "Halted")
    disk = session.call("VDI.get_record", disk_of(session, taken))
    assert (disk["is_a_snapshot"], disk["snapshot_of"]) == (True, pool.vdi("db"))
    assert pool.disks.content(disk_of(session, taken))[:4] == b"then"
    assert len(record["VBDs"]) == 2  # a disk and the empty drive
    assert len(record["VIFs"]) == 1
    session.call("VM.revert", taken)
    assert pool.content("db", 0)[:4] == b"then"
    session.call("VM.destroy", taken)
    assert session.call("VDI.get_uuid", disk_of(session, vm))


@pytest.mark.parametrize(
    ("disk", "failure"),
    [
        (DiskSpec(sharable=True), "vdi-is-sharable"),
        (DiskSpec(on_boot="reset"), "vdi-on-boot-mode-incompatible-with-operation"),
    ],
)
def test_some_disks_keep_a_machine_from_snapshots(
    start_pool: StartPool, session_of: MakeSession, disk: DiskSpec, failure: str
) -> None:
    """Pitfall 41: disks that are shared or reset on boot fail VM.snapshot, unless they are left out."""
    pool = start_pool([MachineSpec("odd", disks=(DiskSpec(), disk))])
    session = session_of(pool)
    assert code(session, "VM.snapshot", pool.vm("odd"), "ours", []) == failure
    session.call("VM.snapshot", pool.vm("odd"), "ours", [pool.vdi("odd", 1)])


def test_a_snapshot_whose_reply_is_lost_can_still_come(pool: XapiSimulator, session_of: MakeSession) -> None:
    """While a pool is at work its task is pending and its machine says so: not there yet is not never."""
    session, vm, until = session_of(pool), pool.vm("web"), Event()
    pool.faults.on("VM.snapshot", HoldTask(until))
    pool.faults.on("VM.snapshot", LoseReply())
    with pytest.raises(AdapterError) as caught:
        session.task("VM.snapshot", vm, "ours", [])
    assert caught.value.code == "reply-lost"
    (task,) = session.call("task.get_all_records").values()
    assert (task["status"], task["name_label"]) == ("pending", "Async.VM.snapshot")
    eventually(lambda: "snapshot" in session.call("VM.get_current_operations", vm).values(), "the machine says so")
    assert session.call("VM.get_by_name_label", "ours") == []
    until.set()
    eventually(lambda: session.call("VM.get_by_name_label", "ours"), "the snapshot comes")
    eventually(lambda: session.call("VM.get_current_operations", vm) == {}, "the machine is at rest")


# --- changed blocks ---


def test_changed_blocks_come_from_the_writes_really_made(pool: XapiSimulator, session_of: MakeSession) -> None:
    """Pitfall 32: exactly the blocks written between two snapshots are told, through snapshots between them."""
    session = session_of(pool)
    session.call("VDI.enable_cbt", pool.vdi("web"))
    first = frozen(session, pool)
    pool.write("web", 0, 0, b"x")
    pool.write("web", 0, 8 * BLOCK_BYTES - 1, b"xy")
    second = frozen(session, pool)
    pool.write("web", 0, (4 << 20) - 1, b"x")
    third = frozen(session, pool)
    assert blocks(session, first, second) == {0, 7, 8}
    assert blocks(session, second, third) == {63}
    assert blocks(session, first, third) == {0, 7, 8, 63}
    assert blocks(session, third, frozen(session, pool)) == set()


def test_a_snapshot_that_goes_leaves_its_changes(pool: XapiSimulator, session_of: MakeSession) -> None:
    """What a destroyed snapshot in the middle of a chain told is told by the next one."""
    session = session_of(pool)
    session.call("VDI.enable_cbt", pool.vdi("web"))
    first = frozen(session, pool)
    pool.write("web", 0, 5 * BLOCK_BYTES, b"x")
    middle = frozen(session, pool)
    last = frozen(session, pool)
    session.call("VDI.destroy", middle)
    assert blocks(session, first, last) == {5}


@pytest.mark.parametrize("seed", range(6))
def test_changed_blocks_are_those_written_whatever_happens_between(seed: int) -> None:
    """Pitfall 32: through any order of writes, snapshots, growth and removals, a bitmap tells the blocks written."""
    dice, logs, blocks_now = random.Random(seed), {"disk": CbtLog(64 * BLOCK_BYTES)}, 64
    taken: list[str] = []
    written: dict[str, set[int]] = {}
    for step in range(200):
        match dice.choice(("write", "write", "snapshot", "snapshot", "forget", "grow")):
            case "write":
                block, length = dice.randrange(blocks_now), dice.choice((1, BLOCK_BYTES, BLOCK_BYTES + 1))
                length = min(length, (blocks_now - block) * BLOCK_BYTES)
                logs["disk"].mark(block * BLOCK_BYTES, length)
                touched = set(range(block, block + -(-length // BLOCK_BYTES)))
                for since in written.values():
                    since.update(touched)
            case "snapshot":
                name = f"snapshot {step}"
                cbt.snapshot(logs, "disk", name)
                for older in taken:
                    bitmap = b64decode(cbt.changed_blocks(logs, older, name))
                    assert set_bits(bitmap) == written[older]
                    assert len(bitmap) == blocks_now // 8
                taken.append(name)
                written[name] = set()
            case "forget" if len(taken) > 1:
                gone = taken.pop(dice.randrange(len(taken)))
                cbt.forget(logs, gone)
                del written[gone]
            case "grow" if blocks_now < 256:
                blocks_now += 8
                logs["disk"].resize(blocks_now * BLOCK_BYTES)
    assert len(taken) > 10


def test_a_grown_disk_has_a_longer_bitmap(pool: XapiSimulator, session_of: MakeSession) -> None:
    """Pitfall 33: growth adds bits, which are set where the new room was written to."""
    session = session_of(pool)
    session.call("VDI.enable_cbt", pool.vdi("web"))
    first = frozen(session, pool)
    pool.grow("web", 0, 6 << 20)
    pool.write("web", 0, 5 << 20, b"x")
    second = frozen(session, pool)
    assert len(b64decode(session.call("VDI.list_changed_blocks", first, second))) == 12
    assert blocks(session, first, second) == {80}
    assert pool.record("VDI", second)["virtual_size"] == 6 << 20


def test_a_chain_that_grew_by_less_than_a_byte_is_inconsistent() -> None:
    """Pitfall 33: the storage manager takes growth that needs no further byte of bits for an inconsistency."""
    logs = {"disk": CbtLog(BLOCK_BYTES)}
    for name, size_blocks in (("a", 1), ("b", 1), ("c", 2)):
        logs["disk"].resize(size_blocks * BLOCK_BYTES)
        cbt.snapshot(logs, "disk", name)
    with pytest.raises(XapiFailure) as caught:
        cbt.changed_blocks(logs, "a", "c")
    assert caught.value.details[0] == "SR_BACKEND_FAILURE_459"


def test_unrelated_disks_have_no_changed_blocks(pool: XapiSimulator, session_of: MakeSession) -> None:
    """Pitfall 34: the same disk, the wrong order, another chain, and tracking switched off and on fail."""
    session = session_of(pool)
    for machine in ("web", "db"):
        session.call("VDI.enable_cbt", pool.vdi(machine))
    first, second, other = frozen(session, pool), frozen(session, pool), frozen(session, pool, "db")
    for pair in ((first, first), (second, first), (first, other)):
        assert code(session, "VDI.list_changed_blocks", *pair) == "sr-backend-failure-460"
    session.call("VDI.disable_cbt", pool.vdi("web"))
    session.call("VDI.enable_cbt", pool.vdi("web"))
    third = frozen(session, pool)
    assert code(session, "VDI.list_changed_blocks", first, third) == "sr-backend-failure-460"
    assert blocks(session, first, second) == set()
    assert code(session, "VDI.list_changed_blocks", third, pool.vdi("web")) == "vdi-in-use"


def test_data_destroy_keeps_the_metadata(pool: XapiSimulator, session_of: MakeSession) -> None:
    """Pitfall 36: the bytes go, what is known of changes stays; a second time does nothing."""
    session = session_of(pool)
    untracked = frozen(session, pool)
    assert code(session, "VDI.data_destroy", pool.vdi("web")) == "operation-not-allowed"
    session.call("VDI.enable_cbt", pool.vdi("web"))
    taken = session.call("VM.snapshot", pool.vm("web"), "ours", [])
    disk = disk_of(session, taken)
    session.call("VM.destroy", taken)
    session.call("VDI.data_destroy", disk)
    session.call("VDI.data_destroy", disk)
    assert session.call("VDI.get_type", disk) == "cbt_metadata"
    assert not pool.disks.path(disk).exists()
    assert code(session, "VDI.get_nbd_info", disk) == "vdi-incompatible-type"
    pool.write("web", 0, 0, b"x")
    assert blocks(session, disk, frozen(session, pool)) == {0}
    session.call("VM.destroy", pool.records.find("VM", name_label="a snapshot")[0])
    assert code(session, "VDI.data_destroy", untracked) == "vdi-no-cbt-metadata"


def test_data_destroy_waits_for_who_uses_the_disk(pool: XapiSimulator, session_of: MakeSession) -> None:
    """Pitfall 35: a disk that a host still serves is in use, as is one whose snapshot is still a machine."""
    session = session_of(pool)
    pool.world.data_destroy_seconds = 0.2
    session.call("VDI.enable_cbt", pool.vdi("web"))
    taken = session.call("VM.snapshot", pool.vm("web"), "ours", [])
    disk = disk_of(session, taken)
    assert code(session, "VDI.data_destroy", disk) == "vdi-in-use"
    session.call("VM.destroy", taken)
    served = pool.attach_to_control_domain(disk)
    assert code(session, "VDI.data_destroy", disk) == "vdi-in-use"
    assert session.call("VDI.get_type", disk) == "user"
    pool.detach(served)
    session.call("VDI.data_destroy", disk)


def test_tracking_needs_a_licence_a_driver_and_a_disk_of_the_right_kind(
    start_pool: StartPool, session_of: MakeSession
) -> None:
    """Pitfalls 40 and 41: without licence or driver there is no tracking; the licence is asked about only then."""
    disks = (DiskSpec(), DiskSpec(sr="closed"), DiskSpec(type="suspend"), DiskSpec(on_boot="reset"))
    pool = start_pool([MachineSpec("web", disks=disks)], srs=DRIVERS)
    session = session_of(pool)
    assert code(session, "VDI.enable_cbt", pool.vdi("web", 1)) == "sr-operation-not-supported"
    assert code(session, "VDI.enable_cbt", pool.vdi("web", 2)) == "vdi-incompatible-type"
    assert code(session, "VDI.enable_cbt", pool.vdi("web", 3)) == "vdi-on-boot-mode-incompatible-with-operation"
    session.call("VDI.enable_cbt", pool.vdi("web"))
    pool.restrict_cbt()
    session.call("VDI.disable_cbt", pool.vdi("web"))
    assert code(session, "VDI.enable_cbt", pool.vdi("web")) == "licence-restriction"


def test_a_disk_that_moves_is_another_one(pool: XapiSimulator, session_of: MakeSession) -> None:
    """Pitfall 43: a tracked disk cannot be moved; once moved it has another uuid and no tracking."""
    session, shared = session_of(pool), pool.records.find("SR", name_label="shared")[0]
    pool.write("web", 0, 0, b"kept")
    old = pool.record("VDI", pool.vdi("web"))["uuid"]
    session.call("VDI.enable_cbt", pool.vdi("web"))
    assert code(session, "VDI.pool_migrate", pool.vdi("web"), shared, {}) == "vdi-cbt-enabled"
    pool.migrate_disk("web", 0, "shared")
    record = pool.record("VDI", pool.vdi("web"))
    assert (record["uuid"] != old, record["cbt_enabled"], record["SR"]) == (True, False, shared)
    assert pool.content("web")[:4] == b"kept"
    assert code(session, "VDI.get_by_uuid", old) == "uuid-invalid"


# --- restore, data ---


def test_a_machine_can_be_made_again_from_its_records(pool: XapiSimulator, session_of: MakeSession) -> None:
    """Records as they were read make a machine, a disk, a slot and an interface; what is missing is refused."""
    session, vm = session_of(pool), pool.vm("web")
    record = session.call("VM.get_record", vm)
    made = session.call("VM.create", {**record, "name_label": "again"})
    vdi = session.call("VDI.create", {**session.call("VDI.get_record", pool.vdi("web")), "name_label": "again"})
    assert pool.disks.content(vdi) == bytes(4 << 20)
    for vbd in record["VBDs"]:
        slot = session.call("VBD.get_record", vbd)
        session.call("VBD.create", {**slot, "VM": made, "VDI": vdi if slot["type"] == "Disk" else NULL})
    for vif in record["VIFs"]:
        session.call("VIF.create", {**session.call("VIF.get_record", vif), "VM": made})
    again = session.call("VM.get_record", made)
    assert (again["power_state"], again["memory_static_max"], len(again["VBDs"])) == ("Halted", 512 << 20, 2)
    assert again["uuid"] != record["uuid"]
    session.call("VM.start", made, False, False)
    assert code(session, "VM.destroy", made) == "vm-bad-power-state"
    session.call("VM.hard_shutdown", made)
    session.call("VM.destroy", made)
    assert session.call("VDI.get_VBDs", vdi) == []
    assert code(session, "VM.create", {"name_label": "too little"}) == "field-type-error"


def test_nbd_servers_are_told_of_by_network_and_host(start_pool: StartPool, session_of: MakeSession) -> None:
    """Pitfall 37: a disk is served where its storage is plugged and a network is for NBD, and nowhere else."""
    pool = start_pool(hosts=2)
    session = session_of(pool)
    assert session.call("VDI.get_nbd_info", pool.vdi("web")) == []
    pool.serve_nbd(NbdServer(10809, "PEM", "host0.test"))
    pool.serve_nbd(NbdServer(10810, "PEM", "host1.test"), host=1)
    (server,) = session.call("VDI.get_nbd_info", pool.vdi("web"))
    assert (server["address"], server["port"], server["subject"]) == ("127.0.0.1", 10809, "host0.test")
    uuid = pool.record("VDI", pool.vdi("web"))["uuid"]
    assert server["exportname"] == f"/{uuid}?session_id={session.session_id().reveal()}"
    for network in pool.records.find("network"):
        pool.records.set("network", network, purpose=[])
    assert session.call("VDI.get_nbd_info", pool.vdi("web")) == []


def test_files_are_served_beside_the_calls(pool: XapiSimulator) -> None:
    """What else hosts serve is registered by its path and gets the request as it came."""

    def serve(request: HttpRequest) -> None:
        assert (request.method, request.path, request.host) == ("GET", "/export_raw_vdi", pool.world.master)
        request.send(200, {"Content-Type": "application/octet-stream"}, [b"of ", request.query["vdi"].encode()])

    pool.http["/export_raw_vdi"] = serve
    context = ssl.create_default_context(cafile=pool.ca_file)
    url = f"https://{pool.host}:{pool.port}/export_raw_vdi/?vdi=one&format=raw"
    with urllib.request.urlopen(url, context=context, timeout=60) as answer:
        assert answer.read() == b"of one"


# --- events ---


def test_events_tell_what_happened_since_a_token(pool: XapiSimulator, session_of: MakeSession) -> None:
    """A first call tells of everything there is, the next ones of what was made, changed and destroyed since."""
    session, vm = session_of(pool), pool.vm("web")
    batch = session.call("event.from", ["VM"], "", 0.0)
    assert {event["operation"] for event in batch["events"]} == {"add"}
    assert int(batch["valid_ref_counts"]["vm"]) == len(batch["events"]) == 3
    token = batch["token"]
    assert session.call("event.from", ["vm"], token, 0.0)["events"] == []
    made = session.call("VM.clone", vm, "copy")
    session.call("VM.set_name_label", vm, "renamed")
    events = session.call("event.from", ["VM"], token, 60.0)["events"]
    assert [(event["operation"], event["ref"]) for event in events] == [("add", made), ("mod", vm)]
    token = session.call("event.from", ["*"], token, 0.0)["token"]
    session.call("VM.destroy", made)
    (event,) = session.call("event.from", [f"VM/{made}"], token, 60.0)["events"]
    assert (event["operation"], event["class"], "snapshot" in event) == ("del", "vm", False)
    assert code(session, "event.from", ["VM"], "no token", 0.0) == "event-from-token-parse-failure"


def test_waiting_for_events_ends_with_the_session(pool: XapiSimulator, session_of: MakeSession) -> None:
    """An expiry wakes who waits for events, and the wait goes on in the next session."""
    session = session_of(pool)
    token = session.call("event.from", ["VM"], "", 0.0)["token"]
    done: list[Any] = []

    def expire() -> None:
        if not done:
            done.append(True)
            pool.expire_sessions()
            pool.records.touch("VM", pool.vm("web"))

    pool.faults.on("event.from", Meanwhile(expire))
    assert len(session.call("event.from", ["VM"], token, 60.0)["events"]) == 1
    assert session.epoch == 2
