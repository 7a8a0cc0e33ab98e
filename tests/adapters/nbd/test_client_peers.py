"""The client against real servers, nbdkit and qemu-nbd, and against libnbd reading the same exports."""

from __future__ import annotations

import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from adapters.errors import AdapterError, SourceDenied, SourceInvalid, SourceNotFound, SourceUnavailable
from adapters.nbd import BASE_ALLOCATION, NbdClient, NbdReader
from adapters.nbd.client import exports
from tests.support.eventually import eventually
from tests.support.hostile_nbd import read
from tests.support.nbd_peers import nbdcopy_bytes, nbdinfo_map, nbdkit, need, qemu_nbd

MIB = 1 << 20


def pattern(offset: int, length: int) -> bytes:
    """The content of nbdkit's pattern plugin: each 8 bytes hold their offset."""
    first = offset // 8
    words = np.arange(first, (offset + length + 7) // 8, dtype=">u8") * 8
    return words.astype(">u8").tobytes()[offset - first * 8 :][:length]


def sparse_qcow2(folder: Path, size: str = "64M") -> Path:
    """Create a qcow2 with data, written zeros and holes."""
    need("qemu-img", "qemu-io")
    image = folder / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, size], check=True)
    commands = [
        "write -P 1 1M 200k",
        "write -z 2M 64k",
        "write -P 2 10M 3M",
        "write -z 30M 1M",
        "write -P 4 60M 1",
    ]
    arguments = [word for command in commands for word in ("-c", command)]
    subprocess.run(["qemu-io", "-f", "qcow2", *arguments, image], check=True, stdout=subprocess.DEVNULL)
    return image


@pytest.mark.parametrize("structured", [True, False])
def test_reads_of_any_shape(folder: Path, structured: bool) -> None:
    """Small, odd, long and last reads give the pattern, with structured and with simple replies."""
    size = 40 * MIB + 13
    with nbdkit(folder, *([] if structured else ["--no-sr"]), "pattern", str(size)) as address:
        client = NbdClient(address)
        assert client.size_bytes == size
        for offset, length in ((0, 1), (1, 7), (8191, 8193), (size - 1, 1), (5, 35 * MIB), (size, 0)):
            assert read(client, offset, length) == pattern(offset, length)
        for offset, length in ((size, 1), (size - 1, 2), (-1, 1), (1 << 62, 1)):
            with pytest.raises(SourceInvalid):
                read(client, offset, length)
        client.close()


@pytest.mark.parametrize("connections", [1, 3])
def test_threads_share_a_client(folder: Path, connections: int) -> None:
    """Concurrent reads over one or several connections, answered out of order, each get their own bytes."""
    dice = random.Random(3)
    spans = [(dice.randrange(30 * MIB), dice.choice([1, 511, 65536, 3 * MIB])) for _ in range(300)]
    with nbdkit(folder, "--filter=delay", "pattern", "40M", "delay-read=1ms") as address:
        client = NbdClient(address, connections=connections)
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda span: read(client, *span), spans))
        client.close()
    assert all(answer == pattern(*span) for answer, span in zip(answers, spans, strict=True))


@pytest.mark.parametrize("minimum", [512, 4096, 65536])
def test_block_sizes_are_kept(folder: Path, minimum: int) -> None:
    """A server that fails every unaligned or long request serves reads of any shape."""
    policy = [f"blocksize-minimum={minimum}", "blocksize-preferred=65536", "blocksize-maximum=128k"]
    with nbdkit(
        folder, "--filter=blocksize-policy", "pattern", "8M", *policy, "blocksize-error-policy=error"
    ) as address:
        client = NbdClient(address)
        for offset, length in ((0, 1), (minimum - 1, 2), (3, 5 * MIB), (8 * MIB - 1, 1)):
            assert read(client, offset, length) == pattern(offset, length)
        assert [s.length for s in client.block_status(BASE_ALLOCATION)] == [8 * MIB]
        client.close()


def test_a_failing_read_raises_and_the_next_succeeds(folder: Path) -> None:
    """An I/O error of the server fails that read only."""
    trigger = folder / "fail"
    arguments = ["--filter=error", "pattern", "1M", "error-pread=EIO", "error-rate=100%", f"error-file={trigger}"]
    with nbdkit(folder, *arguments) as address:
        client = NbdClient(address)
        trigger.touch()
        with pytest.raises(SourceUnavailable) as caught:
            read(client, 4096, 4096)
        assert caught.value.code == "nbd-read-error"
        assert "4096 bytes at 4096" in str(caught.value)
        trigger.unlink()
        assert read(client, 4096, 4096) == pattern(4096, 4096)
        client.close()


def test_errors_among_many_requests(folder: Path) -> None:
    """When a share of the requests fails at random, every read raises or is right."""
    with nbdkit(folder, "--filter=error", "pattern", "8M", "error-pread=EIO", "error-pread-rate=20%") as address:
        client = NbdClient(address)

        def outcome(offset: int) -> str:
            try:
                return "right" if read(client, offset, 2 * MIB) == pattern(offset, 2 * MIB) else "wrong"
            except SourceUnavailable:
                return "raised"

        with ThreadPoolExecutor(4) as pool:
            outcomes = set(pool.map(outcome, range(0, 4 * MIB, 65536)))
        client.close()
    assert outcomes <= {"right", "raised"}
    assert "raised" in outcomes


def test_a_server_that_dies_is_lost(folder: Path) -> None:
    """Reads in flight raise when the server is killed."""
    with nbdkit(folder, "--filter=delay", "pattern", "1M", "delay-read=600") as address:
        client = NbdClient(address)
        errors: list[str] = []

        def reading() -> None:
            try:
                read(client, 0, 4096)
            except AdapterError as error:
                errors.append(error.code)

        threads = [Thread(target=reading) for _ in range(3)]
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(30)
    client.close()
    assert errors == ["nbd-lost"] * 3


def test_close_wakes_a_read(folder: Path) -> None:
    """Closing the client ends a read that waits in another thread."""
    with nbdkit(folder, "--filter=delay", "pattern", "1M", "delay-read=600") as address:
        client = NbdClient(address)
        errors: list[str] = []

        def reading() -> None:
            try:
                read(client, 0, 4096)
            except AdapterError as error:
                errors.append(error.code)

        thread = Thread(target=reading)
        thread.start()
        eventually(lambda: client.in_flight, "the read was sent")
        client.close()
        client.close()
        thread.join(30)
    assert errors == ["nbd-closed"]
    with pytest.raises(AdapterError):
        read(client, 0, 1)


def test_bytes_and_extents_equal_libnbd(folder: Path) -> None:
    """On a sparse qcow2, bytes equal nbdcopy's and block status equals nbdinfo's."""
    with qemu_nbd(folder, "-r", "-f", "qcow2", str(sparse_qcow2(folder))) as address:
        client = NbdClient(address)
        assert read(client, 0, client.size_bytes) == nbdcopy_bytes(address)
        statuses = [(s.start, s.length, s.flags) for s in client.block_status(BASE_ALLOCATION)]
        assert statuses == nbdinfo_map(address)
        assert len(statuses) > 5
        reader = NbdReader(client)
        extents = list(reader.extents())
        assert [e.start for e in extents] == [0, *(e.end for e in extents[:-1])]
        assert sum(e.length for e in extents if not e.zero) < 5 * MIB
        client.close()


def test_ranges_of_block_status(folder: Path) -> None:
    """A range starts and ends where it was asked to, inside extents too."""
    with qemu_nbd(folder, "-r", "-f", "qcow2", str(sparse_qcow2(folder))) as address:
        client = NbdClient(address)
        whole = list(client.block_status(BASE_ALLOCATION))
        part = list(client.block_status(BASE_ALLOCATION, 11 * MIB, 4 * MIB))
        assert (part[0].start, part[-1].start + part[-1].length) == (11 * MIB, 15 * MIB)
        for status in part:
            held = next(w for w in whole if w.start <= status.start < w.start + w.length)
            assert status.flags == held.flags
        assert list(client.block_status(BASE_ALLOCATION, 5, 0)) == []
        with pytest.raises(SourceInvalid):
            list(client.block_status(BASE_ALLOCATION, 0, 64 * MIB + 1))
        client.close()


def test_several_contexts(folder: Path) -> None:
    """A dirty bitmap and the allocation are asked on one connection; each equals what nbdinfo says."""
    image = folder / "disk.qcow2"
    need("qemu-img", "qemu-io")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "16M"], check=True)
    for name in ("b0", "b1"):
        subprocess.run(["qemu-img", "bitmap", "--add", image, name], check=True)
        subprocess.run(
            ["qemu-io", "-c", f"write {1 + int(name[1])}M 64k", image], check=True, stdout=subprocess.DEVNULL
        )
    contexts = [BASE_ALLOCATION, "qemu:dirty-bitmap:b0", "qemu:dirty-bitmap:b1"]
    with qemu_nbd(folder, "-r", "-f", "qcow2", "-B", "b0", str(image)) as address:
        client = NbdClient(address, contexts=contexts)
        assert client.contexts == set(contexts[:2])
        for context in contexts[:2]:
            statuses = [(s.start, s.length, s.flags) for s in client.block_status(context)]
            assert statuses == nbdinfo_map(address, context)
        dirty = [(s.start, s.length) for s in client.block_status(contexts[1]) if s.flags & 1]
        assert dirty == [(MIB, 65536), (2 * MIB, 65536)]
        with pytest.raises(SourceNotFound):
            client.block_status(contexts[2])
        client.close()


def test_a_server_without_extents_is_all_data(folder: Path) -> None:
    """Without base:allocation the reader reports one extent of data."""
    with nbdkit(folder, "--no-sr", "memory", "1M") as address:
        reader = NbdReader(NbdClient(address))
        assert [(e.start, e.length, e.zero) for e in reader.extents()] == [(0, MIB, False)]
        reader.close()


def test_an_empty_export(folder: Path) -> None:
    """An export of no bytes has no extents and refuses every read."""
    with nbdkit(folder, "memory", "0") as address:
        reader = NbdReader(NbdClient(address))
        assert reader.size_bytes == 0
        assert list(reader.extents()) == []
        with pytest.raises(SourceInvalid):
            reader.pread_into(0, memoryview(bytearray(1)))
        reader.close()


def test_exports_are_listed_and_chosen(folder: Path) -> None:
    """LIST names the exports; one that does not exist raises SourceNotFound."""
    (folder / "files").mkdir()
    (folder / "files" / "one").write_bytes(b"1" * 512)
    (folder / "files" / "two").write_bytes(b"2" * 1024)
    with nbdkit(folder, "file", f"dir={folder / 'files'}") as address:
        assert sorted(exports(address)) == ["one", "two"]
        client = NbdClient(address, "two")
        assert read(client, 1000, 24) == b"2" * 24
        client.close()
        with pytest.raises(AdapterError):
            NbdClient(address, "three")
    with (
        qemu_nbd(folder, "-r", "-f", "raw", "-x", "right", str(folder / "files" / "two")) as address,
        pytest.raises(SourceNotFound) as caught,
    ):
        NbdClient(address, "wrong")
    assert caught.value.code == "nbd-no-export"


def test_a_server_that_requires_tls_says_so(folder: Path) -> None:
    """Without a TLS policy such a server raises SourceDenied with a hint."""
    need("nbdkit")
    (folder / "psk").write_text("user:" + "ab" * 32)
    with nbdkit(folder, "--tls=require", f"--tls-psk={folder / 'psk'}", "memory", "1M") as address:
        with pytest.raises(SourceDenied) as caught:
            NbdClient(address)
        assert caught.value.code == "nbd-tls-required"
        assert caught.value.hint


def test_nobody_there(folder: Path) -> None:
    """A missing socket and a dead one have their own errors."""
    with pytest.raises(SourceNotFound) as caught:
        NbdClient(f"unix:{folder}/none")
    assert caught.value.code == "nbd-no-socket"
    with nbdkit(folder, "memory", "1M") as address:
        pass
    with pytest.raises(AdapterError):
        NbdClient(address)
    with pytest.raises(SourceUnavailable) as unreached:
        NbdClient("127.0.0.1:1")
    assert unreached.value.code == "nbd-connect"
