"""NBD reads at a whole simulated pool, through a real session: expiry, a new master, two hosts, disks in use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import SourceUnavailable
from adapters.xen.transport.choose import choose_transport
from adapters.xen.transport.facts import VdiFacts, purposes_of
from adapters.xen.transport.nbdread import NbdRead
from adapters.xen.transport.opening import open_reader
from tests.adapters.xen.transport.pools import MIB, SIZE, PoolLab, pool_lab
from tests.support.eventually import eventually
from tests.support.xapi.data import nbd_hosts, tell_of
from tests.support.xapi.nbd_proxy import NbdProxy


@contextmanager
def nbd_lab(folder: Path, hosts: int = 1, **options: Any) -> Iterator[tuple[PoolLab, list[NbdProxy]]]:
    """A pool whose disk is on storage that all hosts see, served by each of them."""
    with pool_lab(folder, hosts=hosts, sr="shared") as lab, nbd_hosts(lab.pool, folder, **options) as proxies:
        yield lab, proxies


def read(reader: Any, offset: int = 0, length: int = SIZE) -> bytes:
    """Read a range into bytes."""
    buffer = bytearray(length)
    reader.pread_into(offset, memoryview(buffer))
    return bytes(buffer)


def test_a_session_that_expires_mid_read_costs_nothing_but_time(tmp_path: Path) -> None:
    """The session ends and the host drops its connections: we log in again, and read on by a new name."""
    with nbd_lab(tmp_path) as (lab, (proxy,)):
        content = lab.pool.content("web")
        reader = NbdRead(lab.access(lab.snapshot()))
        assert read(reader, 0, MIB) == content[:MIB]
        epoch = lab.session.epoch
        lab.pool.expire_sessions()
        proxy.drop_all()
        assert read(reader) == content
        assert lab.session.epoch == epoch + 1
        assert len(set(proxy.entered)) == 2
        reader.close()


def test_a_new_master_in_the_middle_costs_nothing_but_time(tmp_path: Path) -> None:
    """The pool gets another master while its hosts drop everything: the read goes on through it."""
    with nbd_lab(tmp_path, hosts=2) as (lab, proxies):
        reader = NbdRead(lab.access(lab.snapshot()))
        lab.pool.change_master(1)
        for proxy in proxies:
            proxy.drop_all()
        assert read(reader) == lab.pool.content("web")
        assert lab.session.master == lab.pool.addresses[1]
        reader.close()


def test_a_host_that_went_is_replaced_by_another(tmp_path: Path) -> None:
    """Whichever host served the disk may go: another one that sees it serves the rest."""
    with nbd_lab(tmp_path, hosts=2) as (lab, proxies):
        reader = NbdRead(lab.access(lab.snapshot()))
        (serving,) = [proxy for proxy in proxies if proxy.open]
        serving.limit = 0
        serving.drop_all()
        assert read(reader) == lab.pool.content("web")
        assert serving.refused
        reader.close()


def test_the_disk_is_free_once_the_reader_is_closed(tmp_path: Path) -> None:
    """A host attaches a disk as long as a connection is open: after `close` it can be destroyed."""
    with nbd_lab(tmp_path) as (lab, _):
        vdi = lab.snapshot()
        reader = NbdRead(lab.access(vdi))
        assert len(lab.pool.records.find("VBD", VDI=vdi)) == 1
        reader.close()
        eventually(lambda: not lab.pool.records.find("VBD", VDI=vdi), "the host gave the disk back")
        lab.session.call("VDI.destroy", vdi)


@pytest.mark.parametrize(
    ("purpose", "allowed", "kind"),
    [
        ("nbd", ("nbd", "export"), "nbd"),
        ("insecure_nbd", ("nbd", "export"), "export"),
        ("insecure_nbd", ("nbd", "export", "insecure_nbd"), "insecure_nbd"),
    ],
)
def test_what_was_chosen_is_what_carries(tmp_path: Path, purpose: str, allowed: tuple[str, ...], kind: str) -> None:
    """From the pool's networks to the bytes: the kind that was chosen, and no other, reads the disk."""
    with nbd_lab(tmp_path, purpose=purpose) as (lab, (proxy,)):
        vdi = lab.snapshot()
        access = lab.access(vdi, insecure_nbd="insecure_nbd" in allowed)
        purposes = purposes_of(lab.session.call("network.get_all_records").values())
        addresses = len(lab.session.call("VDI.get_nbd_info", vdi))
        choice = choose_transport(VdiFacts(access.label, access.size_bytes, purposes, addresses), allowed)
        reader = open_reader(choice, access)
        assert (choice.kind, reader.transport, read(reader)) == (kind, kind, lab.pool.content("web"))
        reader.close()
        assert bool(proxy.entered) == (kind != "export")


def test_a_pool_without_an_nbd_network_says_so(tmp_path: Path) -> None:
    """Where the pool names no address, the reader says what an administrator can do."""
    with pool_lab(tmp_path) as lab:
        with pytest.raises(SourceUnavailable) as error:
            NbdRead(lab.access(lab.snapshot()))
        assert error.value.code == "nbd-no-network"


def test_a_certificate_that_is_renewed_is_followed(tmp_path: Path) -> None:
    """The host's certificate is what the pool says it is at each connection, not what it was at the first."""
    with nbd_lab(tmp_path) as (lab, (proxy,)):
        reader = NbdRead(lab.access(lab.snapshot()))
        proxy.change_certificate()
        tell_of(lab.pool, proxy, 0)
        proxy.drop_all()
        assert read(reader) == lab.pool.content("web")
        reader.close()


def test_no_secret_is_kept_anywhere(tmp_path: Path) -> None:
    """Session ids are in no file that we leave, and in no text that shows a reader or how it reaches its disk."""
    with nbd_lab(tmp_path) as (lab, _):
        access = lab.access(lab.snapshot())
        reader = NbdRead(access)
        read(reader)
        shown = f"{reader!r} {access!r} {replace(access, label='x')!r} {vars(reader)!r}"
        kept = "".join(path.name + path.read_text() for path in lab.runtime_dir.rglob("*") if path.is_file())
        assert lab.session_ids()
        assert not any(session in shown + kept for session in lab.session_ids())
        reader.close()
