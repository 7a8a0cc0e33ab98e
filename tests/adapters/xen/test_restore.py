"""Machines and disks given back to a pool: bytes equal, what could not be is said, and nothing half made stays."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from random import Random

import pytest

from adapters.errors import AdapterError, SourceConflict, SourceInvalid, SourceLimit, SourceNotFound
from adapters.port import ConfigurationFile, Extent, MachineRestore, Untracked
from adapters.xen.restore.padded import Padded
from adapters.xen.restore.recipe import read_recipe
from adapters.xen.source import XenSource
from tests.adapters.xen.conftest import MakeSource, StartPool
from tests.adapters.xen.freezes import bases_of, frozen, machine_named
from tests.support.xapi import XapiSimulator
from tests.support.xapi.building import NO_TRACKING, DiskSpec, MachineSpec, SrSpec
from tests.support.xapi.data import serve_streams
from tests.support.xapi.faults import CutStream, Fail, FailTask, LoseReply

KIB, MIB = 1 << 10, 1 << 20
LABEL = "holdfast-restore-1"


class Image:
    """A disk's content, of which the second MiB is known to be zeros."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.size_bytes = len(content)

    def extents(self) -> Iterator[Extent]:
        yield Extent(0, MIB, zero=False)
        if self.size_bytes > MIB:
            yield Extent(MIB, MIB, zero=True)
            yield Extent(2 * MIB, self.size_bytes - 2 * MIB, zero=False)

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.content[offset : offset + len(buffer)]


CONTENTS = [
    Random(number).randbytes(MIB) + bytes(MIB) + Random(number + 9).randbytes(size - 2 * MIB)
    for number, size in enumerate((4 * MIB, 6 * MIB))
]


@pytest.fixture
def pool(start_pool: StartPool) -> XapiSimulator:
    """A machine with two disks, and the handlers of streams."""
    pool = start_pool([MachineSpec("web", disks=(DiskSpec(4 * MIB), DiskSpec(6 * MIB, sr="shared")))])
    serve_streams(pool)
    return pool


def configuration_of(source: XenSource, name: str = "web") -> tuple[ConfigurationFile, ...]:
    """What a backup stores of a machine."""
    with frozen(source, name) as snapshot:
        return tuple(snapshot.configuration)


def wanted(source: XenSource, name: str = "web again") -> MachineRestore:
    """The machine `web` under another name."""
    images = {str(place): Image(content) for place, content in enumerate(CONTENTS)}
    return MachineRestore(name, LABEL, configuration_of(source), images)


# --- a new machine ---


def test_a_new_machine(pool: XapiSimulator, source: XenSource) -> None:
    """It has the settings, disks, drives and cards of the old one, is halted, and tells all bytes as written."""
    written: list[int] = []
    made = source.restore_machine(wanted(source), written.append)
    assert [pool.content("web again", place) for place in (0, 1)] == CONTENTS
    assert sum(written) >= sum(map(len, CONTENTS)) - 2 * MIB
    new, old = (pool.record("VM", pool.vm(name)) for name in ("web again", "web"))
    assert (made.key, made.name, new["power_state"]) == (new["uuid"], "web again", "Halted")
    for field in ("memory_static_max", "VCPUs_max", "HVM_boot_params", "platform", "actions_after_crash"):
        assert new[field] == old[field]
    kinds = [
        (vbd["userdevice"], vbd["type"], vbd["bootable"]) for vbd in (pool.record("VBD", ref) for ref in new["VBDs"])
    ]
    assert sorted(kinds) == [("0", "Disk", True), ("1", "Disk", False), ("2", "CD", False)]
    repositories = [pool.record("SR", pool.record("VDI", pool.vdi("web again", place))["SR"]) for place in (0, 1)]
    assert [one["name_label"] for one in repositories] == ["local", "shared"]
    (card,) = (pool.record("VIF", ref) for ref in new["VIFs"])
    (first,) = (pool.record("VIF", ref) for ref in old["VIFs"])
    assert card["network"] == first["network"]
    assert card["MAC"] != first["MAC"]
    assert card["locking_mode"] == "disabled"
    assert any("new addresses, and let nothing through" in note for note in made.notes)


def test_the_new_machine_can_be_backed_up(pool: XapiSimulator, source: XenSource) -> None:
    """It is a machine of its own, with its own tracking."""
    source.restore_machine(wanted(source), lambda _: None)
    with frozen(source, "web again") as snapshot:
        assert snapshot.disks.keys() == {"0", "1"}


def test_a_name_that_is_taken(source: XenSource) -> None:
    """Nothing is made beside a machine of the same name."""
    with pytest.raises(SourceConflict) as caught:
        source.restore_machine(wanted(source, "web"), lambda _: None)
    assert caught.value.code == "name-taken"


@pytest.mark.parametrize("call", ["VM.create", "VDI.create"])
def test_a_lost_reply_makes_nothing_twice(pool: XapiSimulator, source: XenSource, call: str) -> None:
    """What was made is found by its mark and used."""
    pool.faults.on(call, LoseReply())
    request = wanted(source)
    before = pool.calls[call]
    source.restore_machine(request, lambda _: None)
    assert pool.calls[call] - before == (1 if call == "VM.create" else 2)
    assert [pool.content("web again", place) for place in (0, 1)] == CONTENTS


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ("PUT /import_raw_vdi", CutStream(MIB)),
        ("PUT /import_raw_vdi", FailTask("VDI_IO_ERROR", ("Device I/O errors",))),
        ("VBD.create", Fail("DEVICE_ALREADY_EXISTS", ("0",))),
        ("VIF.create", Fail("HANDLE_INVALID", ("network", "x"))),
    ],
)
def test_what_fails_in_the_middle_leaves_nothing(
    pool: XapiSimulator, source: XenSource, call: str, fault: Fail | FailTask | CutStream
) -> None:
    """A stream that was cut, or a task that failed after all bytes: machine and disks are removed again."""
    request = wanted(source)
    before = len(pool.records.find("VDI"))
    pool.faults.on(call, fault)
    with pytest.raises(AdapterError):
        source.restore_machine(request, lambda _: None)
    assert pool.records.find("VM", name_label="web again") == []
    assert len(pool.records.find("VDI")) == before


def test_what_cannot_be_removed_is_told(pool: XapiSimulator, source: XenSource) -> None:
    """The error names what remains, by the kind and the label, as its hint and as a note."""
    request = wanted(source)
    pool.faults.on("PUT /import_raw_vdi", CutStream(MIB))
    pool.faults.on("VDI.destroy", Fail("OPERATION_NOT_ALLOWED", ("x",)))
    with pytest.raises(AdapterError) as caught:
        source.restore_machine(request, lambda _: None)
    assert LABEL in caught.value.hint
    assert caught.value.__notes__ == [caught.value.hint]


def test_a_disk_that_a_host_still_holds_is_removed_all_the_same(pool: XapiSimulator, source: XenSource) -> None:
    """A host lets go of a disk some time after its import broke off: it is asked again."""
    request = wanted(source)
    before = len(pool.records.find("VDI"))
    pool.faults.on("PUT /import_raw_vdi", CutStream(MIB))
    pool.faults.on("VDI.destroy", Fail("VDI_IN_USE", ("x", "destroy")), times=3)
    with pytest.raises(AdapterError) as caught:
        source.restore_machine(request, lambda _: None)
    assert caught.value.hint == ""
    assert len(pool.records.find("VDI")) == before


def test_an_interrupted_caller_leaves_nothing(pool: XapiSimulator, source: XenSource) -> None:
    """Whoever stops the restore between two pieces gets an exception back, and no machine."""

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    request = wanted(source)
    with pytest.raises(KeyboardInterrupt):
        source.restore_machine(request, stop)
    assert pool.records.find("VM", name_label="web again") == []


def test_storage_and_networks_that_are_not_here(
    start_pool: StartPool, source_of: MakeSource, pool: XapiSimulator
) -> None:
    """In another pool the disks go where there is room and the card is left out, and both are said."""
    request = wanted(source_of(pool))
    other = start_pool([], srs=(SrSpec("elsewhere", features=NO_TRACKING),))
    serve_streams(other)
    (network,) = other.records.find("network")
    other.records.set("network", network, name_label="another one")
    made = source_of(other).restore_machine(request, lambda _: None)
    assert [other.content("web again", place) for place in (0, 1)] == CONTENTS
    said = "; ".join(made.notes)
    assert "on the storage repository elsewhere" in said
    assert "network card 0 was left out" in said


def test_no_room(pool: XapiSimulator, source: XenSource) -> None:
    """Storage that is full is told before anything is made but the machine, which goes again."""
    request = wanted(source)
    for sr in pool.records.find("SR"):
        pool.records.set("SR", sr, physical_size=MIB)
    with pytest.raises(SourceLimit) as caught:
        source.restore_machine(request, lambda _: None)
    assert caught.value.code == "sr-full"
    assert pool.records.find("VM", name_label="web again") == []


def test_what_is_not_made_again_is_said(source: XenSource) -> None:
    """Devices, protections and withheld settings are named in the notes."""
    (file, *_) = configuration_of(source)
    document = json.loads(file.content)
    document["others"] = {"VTPMs": 1, "VGPUs": 2}
    document["VM"] |= {"ha_restart_priority": "restart", "blocked_operations": {"destroy": "no"}}
    document["withheld"] = ["VM.other_config: password"]
    recipe = read_recipe([ConfigurationFile("config.json", json.dumps(document).encode())])
    said = "; ".join(recipe.notes)
    for words in ("virtual TPMs (1)", "virtual GPUs (2)", "high availability", "blocked", "VM.other_config: password"):
        assert words in said
    assert "blocked_operations" not in recipe.vm


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ([], "configuration-missing"),
        ([b"{}"], "configuration-unreadable"),
        ([b"\xff"], "configuration-unreadable"),
        ([b'{"format": 99}'], "configuration-format"),
        ([b'{"format": 1, "VM": {}, "VBDs": [{}]}'], "configuration-unreadable"),
    ],
)
def test_a_configuration_that_is_none(files: list[bytes], code: str) -> None:
    """Missing, cut or of another version: said as such, and nothing is guessed."""
    with pytest.raises((SourceNotFound, SourceInvalid)) as caught:
        read_recipe([ConfigurationFile("config.json", content) for content in files])
    assert caught.value.code == code


def test_storage_that_rounds_up(source: XenSource) -> None:
    """What lies behind the image is zeros, read or told."""
    padded = Padded(Image(CONTENTS[0]), 5 * MIB)
    assert list(padded.extents())[-1] == Extent(4 * MIB, MIB, zero=True)
    buffer = bytearray(os.urandom(2 * KIB))
    padded.pread_into(4 * MIB - KIB, memoryview(buffer))
    assert bytes(buffer) == CONTENTS[0][-KIB:] + bytes(KIB)
    padded.pread_into(4 * MIB + KIB, memoryview(buffer))
    assert bytes(buffer) == bytes(2 * KIB)


# --- a disk in place ---


def halted(pool: XapiSimulator) -> None:
    """Shut the machine down."""
    pool.records.set("VM", pool.vm("web"), power_state="Halted")
    for vbd in pool.records.find("VBD", VM=pool.vm("web")):
        pool.records.set("VBD", vbd, currently_attached=False)


def test_a_disk_in_place(pool: XapiSimulator, source: XenSource) -> None:
    """All its bytes are the image's, zeros over old data included; its tracking is off, so no base survives."""
    bases = bases_of(source, "web")
    halted(pool)
    pool.write("web", 0, MIB, b"old data where the image has zeros")
    machine = machine_named(source, "web")
    source.require_overwritable(machine, "0")
    source.restore_disk(machine, "0", Image(CONTENTS[0]), LABEL, lambda _: None)
    assert pool.content("web", 0) == CONTENTS[0]
    with frozen(source, "web", bases) as snapshot:
        assert isinstance(snapshot.disks["0"].tracking, Untracked)
        assert not isinstance(snapshot.disks["1"].tracking, Untracked)


def test_a_running_machine_is_refused(pool: XapiSimulator, source: XenSource) -> None:
    """Before and at the restore, and its disk is as it was."""
    machine = machine_named(source, "web")
    before = pool.content("web")
    for attempt in (
        lambda: source.require_overwritable(machine, "0"),
        lambda: source.restore_disk(machine, "0", Image(CONTENTS[0]), LABEL, lambda _: None),
    ):
        with pytest.raises(SourceConflict) as caught:
            attempt()
        assert caught.value.code == "machine-running"
    assert pool.content("web") == before


def test_another_size_is_refused(pool: XapiSimulator, source: XenSource) -> None:
    """The tracking stays on, since nothing was written."""
    bases_of(source, "web")
    halted(pool)
    with pytest.raises(SourceConflict) as caught:
        source.restore_disk(machine_named(source, "web"), "0", Image(CONTENTS[1]), LABEL, lambda _: None)
    assert caught.value.code == "disk-resized"
    assert pool.record("VDI", pool.vdi("web"))["cbt_enabled"]


def test_an_import_that_fails_says_what_the_disk_is_now(pool: XapiSimulator, source: XenSource) -> None:
    """Partly old and partly new: told as a hint."""
    halted(pool)
    pool.faults.on("PUT /import_raw_vdi", CutStream(MIB))
    with pytest.raises(AdapterError) as caught:
        source.restore_disk(machine_named(source, "web"), "0", Image(CONTENTS[0]), LABEL, lambda _: None)
    assert "overwritten in part" in caught.value.hint


def test_disks_that_cannot_be_overwritten(pool: XapiSimulator, source: XenSource) -> None:
    """A disk that is not there, and one that others write to."""
    halted(pool)
    machine = machine_named(source, "web")
    with pytest.raises(SourceNotFound):
        source.require_overwritable(machine, "9")
    pool.records.set("VDI", pool.vdi("web"), sharable=True)
    with pytest.raises(SourceInvalid):
        source.require_overwritable(machine, "0")
