"""nbdkit's vddk plugin: what it is told, what it really took, and that nothing of it stays. Real nbdkit, no VDDK."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.errors import AdapterError, SourceCorrupt, SourceDenied, SourceInvalid, SourceUnavailable
from adapters.port import Extent
from adapters.secret import Secret
from adapters.vmware.transport.childreader import ChildReader
from adapters.vmware.transport.limits import HostConnections
from adapters.vmware.transport.nbdkit import UNREPORTED, vddk_missing
from adapters.vmware.transport.strays import end_strays
from adapters.vmware.transport.vddk import RUN_PREFIX, open_vddk, vddk_arguments
from tests.support.eventually import eventually
from tests.support.vddk import VddkStandIn
from tests.support.vmware_access import PASSWORD, disk_access

MIB = 1 << 20
CONTENT = os.urandom(3 * MIB) + bytes(MIB) + os.urandom(MIB)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VddkStandIn:
    """A stand-in that serves CONTENT."""
    stand_in = VddkStandIn(tmp_path / "stand-in", monkeypatch)
    stand_in.disk(CONTENT)
    return stand_in


@pytest.fixture
def places() -> HostConnections:
    """The host's places."""
    return HostConnections("vc", 2)


@pytest.fixture
def runtime_dir(tmp_path: Path) -> Iterator[Path]:
    """Where run folders are; none is left at the end."""
    yield tmp_path / "runtime"
    assert not list((tmp_path / "runtime").glob("*"))


def opened(
    stand_in: VddkStandIn, runtime_dir: Path, places: HostConnections, kind: str = "nbdssl", size: int = len(CONTENT)
) -> ChildReader:
    """Open a reader of the stand-in's disk."""
    return open_vddk(disk_access(runtime_dir, vddk_dir=stand_in.vddk_dir, size_bytes=size), kind, places)


def children(runtime_dir: Path) -> list[tuple[int, bytes]]:
    """Return the processes whose command line names the runtime folder, with it."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if os.fsencode(f"--pid-file={runtime_dir}") in command:
            found.append((int(entry.name), command))
    return found


def test_the_disk_is_read(stand_in: VddkStandIn, runtime_dir: Path, places: HostConnections) -> None:
    """Bytes and zero extents come through nbdkit as the disk has them, unaligned reads included."""
    reader = opened(stand_in, runtime_dir, places)
    try:
        assert list(reader.extents()) == [
            Extent(0, 3 * MIB, zero=False),
            Extent(3 * MIB, MIB, zero=True),
            Extent(4 * MIB, MIB, zero=False),
        ]
        for offset, length in [(0, len(CONTENT)), (1, 7), (len(CONTENT) - 1, 1)]:
            buffer = bytearray(length)
            reader.pread_into(offset, memoryview(buffer))
            assert bytes(buffer) == CONTENT[offset : offset + length]
        with pytest.raises(SourceInvalid, match="outside the disk"):
            reader.pread_into(len(CONTENT) - 1, memoryview(bytearray(2)))
    finally:
        reader.close()
        reader.close()
    with pytest.raises(SourceUnavailable, match="closed"):
        reader.pread_into(0, memoryview(bytearray(1)))
    assert not children(runtime_dir)
    assert places.open == 0


@pytest.mark.parametrize("kind", ["san", "hotadd", "nbdssl", "nbd"])
def test_vddk_is_told_all_it_needs(
    stand_in: VddkStandIn, runtime_dir: Path, places: HostConnections, kind: str
) -> None:
    """The plugin gets server, machine, snapshot, file and the one transport; what it took is the reader's."""
    reader = opened(stand_in, runtime_dir, places, kind)
    reader.close()
    told = stand_in.told()
    assert told["password_read"] == PASSWORD
    assert told["readonly"] is True
    assert {key: told[key] for key in ("server", "port", "user", "vm", "snapshot", "transports", "file", "libdir")} == {
        "server": "localhost",
        "port": "443",
        "user": "backup@vsphere.local",
        "vm": "moref=vm-16",
        "snapshot": "snapshot-7",
        "transports": kind,
        "file": "[ds 1] web 01/web 01.vmdk",
        "libdir": str(stand_in.vddk_dir),
    }
    assert told["thumbprint"] == ":".join(["AB"] * 20)
    assert reader.transport == kind


def test_another_transport_is_told(stand_in: VddkStandIn, runtime_dir: Path, places: HostConnections) -> None:
    """When VDDK takes another transport than it was told, the reader says which."""
    stand_in.knobs(transport="nbd")
    reader = opened(stand_in, runtime_dir, places, "san")
    reader.close()
    assert reader.transport == "nbd"


def test_an_unreported_transport_is_no_claim(stand_in: VddkStandIn, runtime_dir: Path, places: HostConnections) -> None:
    """When nbdkit does not say what VDDK took, the reader does not claim the chosen one."""
    stand_in.knobs(transport=False)
    reader = opened(stand_in, runtime_dir, places, "san")
    reader.close()
    assert reader.transport == UNREPORTED


def test_the_password_is_nowhere(
    stand_in: VddkStandIn, runtime_dir: Path, places: HostConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the command line, nor the environment, nor any file of the run folder holds the password."""
    monkeypatch.setenv("VC_PASSWORD", PASSWORD)
    reader = opened(stand_in, runtime_dir, places)
    ((pid, command),) = children(runtime_dir)
    held = command + Path(f"/proc/{pid}/environ").read_bytes()
    for path in runtime_dir.rglob("*"):
        held += path.read_bytes() if path.is_file() else b""
    reader.close()
    assert PASSWORD.encode() not in held
    assert "VC_PASSWORD" not in stand_in.told()["environment"]


@pytest.mark.parametrize(
    ("words", "kind", "code"),
    [
        ("VixDiskLib_Open: [ds 1] x: Unknown error 13 (0xd)", SourceUnavailable, "vddk-open"),
        ('Please verify whether the "thumbprint" parameter matches', SourceDenied, "certificate-untrusted"),
        (
            "VixDiskLib_ConnectEx: Cannot complete login due to an incorrect user name or password",
            SourceDenied,
            "vddk-denied",
        ),
        (f"a library that prints {PASSWORD}", SourceUnavailable, "vddk-open"),
    ],
)
def test_a_refusal_is_translated(
    stand_in: VddkStandIn,
    runtime_dir: Path,
    places: HostConnections,
    words: str,
    kind: type[AdapterError],
    code: str,
) -> None:
    """Why VDDK does not open a disk is told in its own words, without the password, and nothing stays."""
    stand_in.knobs(refuse=words)
    with pytest.raises(kind) as refused:
        opened(stand_in, runtime_dir, places)
    assert refused.value.code == code
    assert words.replace(PASSWORD, "***") in refused.value.why
    assert PASSWORD not in f"{refused.value} {refused.value!r} {refused.value.__cause__}"
    assert places.open == 0


def test_a_disk_smaller_than_its_capacity_is_refused(
    stand_in: VddkStandIn, runtime_dir: Path, places: HostConnections
) -> None:
    """A device that ends before the disk does is not read at all."""
    with pytest.raises(SourceCorrupt) as refused:
        opened(stand_in, runtime_dir, places, size=len(CONTENT) + 512)
    assert refused.value.code == "disk-too-small"


@pytest.mark.parametrize("knob", ["broken_from", "dies_from"])
def test_a_read_that_fails_is_an_error(
    stand_in: VddkStandIn, runtime_dir: Path, places: HostConnections, knob: str
) -> None:
    """An I/O error, or nbdkit's death in the middle of the disk, raises; what was read before stands."""
    stand_in.knobs(**{knob: 2 * MIB})
    reader = opened(stand_in, runtime_dir, places)
    buffer = memoryview(bytearray(MIB))
    reader.pread_into(0, buffer)
    assert buffer == CONTENT[:MIB]
    with pytest.raises(AdapterError):
        reader.pread_into(2 * MIB, buffer)
    reader.close()


def test_places_are_respected(stand_in: VddkStandIn, runtime_dir: Path) -> None:
    """An open disk holds one of its host's places until it is closed."""
    places = HostConnections("vc", 1)
    reader = opened(stand_in, runtime_dir, places)
    assert places.open == 1
    reader.close()
    opened(stand_in, runtime_dir, places).close()
    assert places.open == 0


def test_a_password_of_two_lines_is_refused(stand_in: VddkStandIn, runtime_dir: Path, places: HostConnections) -> None:
    """nbdkit would read the first line only, and be refused by the server for it."""
    access = disk_access(runtime_dir, vddk_dir=stand_in.vddk_dir, password=Secret(lambda: "one\ntwo"))
    with pytest.raises(SourceInvalid, match="two lines"):
        open_vddk(access, "nbdssl", places)


def test_a_name_with_a_control_character_is_refused(tmp_path: Path) -> None:
    """No name can smuggle in another argument."""
    with pytest.raises(SourceInvalid):
        vddk_arguments(disk_access(tmp_path, path="a\nb"), ["nbdssl"], 3)


def test_what_is_missing_is_said(tmp_path: Path, stand_in: VddkStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing directory, library, plugin or nbdkit is each told; with all there, nothing is."""
    assert "no VDDK directory" in str(vddk_missing(None))
    assert "is no directory" in str(vddk_missing(tmp_path / "absent"))
    assert vddk_missing(stand_in.vddk_dir) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert vddk_missing(stand_in.vddk_dir) == "nbdkit is not installed"
    with pytest.raises(SourceUnavailable) as refused:
        open_vddk(disk_access(tmp_path / "runtime", vddk_dir=stand_in.vddk_dir), "nbdssl", HostConnections("vc"))
    assert refused.value.code == "vddk-missing"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (
            "nbdkit: error: cannot open plugin 'vddk': nbdkit-vddk-plugin.so: cannot open shared object file",
            "no vddk plugin",
        ),
        ("nbdkit: error: /x/lib64/libvixDiskLib.so.8: cannot open shared object file: No such file", "VDDK's library"),
    ],
)
def test_an_absent_plugin_is_told(
    tmp_path: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch, words: str, why: str
) -> None:
    """nbdkit without the plugin, or without VDDK's library, is said in those words, before and at the opening."""
    (tmp_path / "nbdkit").write_text(f'#!/bin/sh\necho "{words}" >&2\nexit 1\n')
    (tmp_path / "nbdkit").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert why in str(vddk_missing(tmp_path))
    with pytest.raises(SourceUnavailable) as refused:
        open_vddk(disk_access(runtime_dir, vddk_dir=tmp_path), "nbdssl", HostConnections("vc"))
    assert refused.value.code == "vddk-missing"
    assert why in refused.value.why


WORKER = """
import sys, time
from pathlib import Path
from adapters.vmware.transport.vddk import open_vddk
from tests.support.vmware_access import disk_access
reader = open_vddk(disk_access(Path(sys.argv[1]), vddk_dir=Path(sys.argv[2]), size_bytes=512), "nbdssl")
print("open", flush=True)
time.sleep(600)
"""


def test_a_killed_worker_leaves_no_nbdkit(stand_in: VddkStandIn, runtime_dir: Path) -> None:
    """When our process is killed nbdkit ends by itself; the next run removes the folders it left."""
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, runtime_dir, stand_in.vddk_dir],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[4],
    )
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"open\n"
        assert len(children(runtime_dir)) == 1
        assert end_strays(runtime_dir, "localhost", "vm-16") == []  # its owner lives
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
    eventually(lambda: not children(runtime_dir), "nbdkit noticed")
    assert end_strays(runtime_dir, "localhost", "vm-17") == []
    (leftover,) = end_strays(runtime_dir, "localhost", "vm-16")
    assert "web 01.vmdk" in leftover.what


def test_a_stray_is_ended(stand_in: VddkStandIn, runtime_dir: Path) -> None:
    """A nbdkit to which nobody ever connected is ended by the next run of its machine, and of no other."""
    run_dir = runtime_dir / f"{RUN_PREFIX}stray"
    run_dir.mkdir(parents=True)
    about = {"machine": "vm-16", "host": "localhost", "label": "[ds 1] web.vmdk", "socket_dir": ""}
    (run_dir / "owner").write_text(json.dumps(about))
    command = ["nbdkit", "-f", f"--pid-file={run_dir / 'pid'}", "-U", str(stand_in.folder / "s"), "null"]
    with subprocess.Popen(command) as stray:
        eventually((run_dir / "pid").exists, "nbdkit is up")
        assert end_strays(runtime_dir, "localhost", "vm-17") == []
        assert end_strays(runtime_dir, "elsewhere", "vm-16") == []
        assert stray.poll() is None
        (leftover,) = end_strays(runtime_dir, "localhost", "vm-16")
        assert leftover.action == "ended"
        assert leftover.what == f"nbdkit {stray.pid} of [ds 1] web.vmdk"
