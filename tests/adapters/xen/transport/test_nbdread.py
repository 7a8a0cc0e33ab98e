"""VDIs over NBD: the right bytes from the right host, through lost connections and sessions, and no secret shown."""

from __future__ import annotations

import hashlib
import random
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from adapters.errors import (
    AdapterError,
    SourceConflict,
    SourceDenied,
    SourceInvalid,
    SourceLimit,
    SourceNotFound,
    SourceUnavailable,
)
from adapters.port import Extent
from adapters.xen.transport.nbdinfo import nbd_places
from adapters.xen.transport.nbdread import NbdRead
from tests.adapters.xen.transport.conftest import DISK, MIB, UUID, Lab
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.hold_places import other_process
from tests.support.xapi.nbd_proxy import NbdProxy


def read(reader: NbdRead, offset: int = 0, length: int = len(DISK)) -> bytes:
    """Read a range into bytes."""
    buffer = bytearray(length)
    reader.pread_into(offset, memoryview(buffer))
    return bytes(buffer)


def refused(lab: Lab) -> AdapterError:
    """Return what opening raises."""
    with pytest.raises(AdapterError) as error:
        lab.read()
    assert lab.pool.id not in f"{error.value!r} {error.value} {error.value.hint} {error.value.__context__}"
    return error.value


def test_the_disk_is_read(lab: Lab) -> None:
    """Extents and bytes are the disk's, through real TLS, in whatever order they are read."""
    reader = lab.read()
    assert list(reader.extents()) == [
        Extent(0, 3 * MIB, zero=False),
        Extent(3 * MIB, 4 * MIB, zero=True),
        Extent(7 * MIB, MIB, zero=False),
    ]
    for offset, length in [(7 * MIB + 5, 1000), (0, len(DISK)), (len(DISK), 0)]:
        assert read(reader, offset, length) == DISK[offset : offset + length]
    with pytest.raises(SourceInvalid, match="outside the disk"):
        read(reader, len(DISK), 1)
    assert (reader.size_bytes, reader.transport) == (len(DISK), "nbd")
    assert lab.proxy.entered == [f"/{UUID}?session_id={lab.pool.id}"]
    assert not lab.time.sleeps
    reader.close()
    reader.close()
    with pytest.raises(SourceUnavailable, match="closed"):
        read(reader, 0, 1)
    eventually(lambda: lab.proxy.open == 0, "the host has no connection any more")


@pytest.mark.parametrize("structured", [True, False])
def test_a_host_without_block_status_is_read_whole(lab: Lab, tmp_path: Path, *, structured: bool) -> None:
    """Where the host tells no zeros, as today's do not, all is data: never a guess."""
    with NbdProxy(tmp_path / "old", lab.pool.served, holes=False, structured=structured) as old:
        lab.info = lambda uuid, session: [old.info(uuid, session)]
        reader = lab.read()
        if not structured:
            assert list(reader.extents()) == [Extent(0, len(DISK), zero=False)]
        assert not any(extent.zero for extent in reader.extents())
        assert read(reader) == DISK
        reader.close()


def test_threads_share_the_connection(lab: Lab) -> None:
    """Reads of several threads at once are each right, over one connection, also while it is lost."""
    reader = lab.read()
    lab.proxy.cut_after = 2 * MIB
    places = [random.Random(number).randrange(len(DISK) - 70_000) for number in range(60)]
    with ThreadPoolExecutor(6) as pool:
        pieces = list(pool.map(lambda offset: read(reader, offset, 70_000), places))
    assert pieces == [DISK[offset : offset + 70_000] for offset in places]
    assert (lab.proxy.accepted, lab.proxy.entered[0]) == (2, lab.proxy.entered[1])


def test_a_lost_connection_is_replaced(lab: Lab) -> None:
    """A connection that is cut in the middle of an answer costs nothing but time."""
    reader = lab.read()
    lab.proxy.cut_after = MIB
    assert read(reader) == DISK
    assert (lab.proxy.accepted, len(lab.time.sleeps)) == (2, 1)


def test_a_session_that_ends_in_the_middle_costs_no_byte(lab: Lab) -> None:
    """After a new log-in the export's name is taken anew: the old one's session is dead, and never used again."""
    reader = lab.read()
    assert read(reader, 0, MIB) == DISK[:MIB]
    old = lab.pool.id
    lab.pool.log_in_again()
    lab.proxy.drop_all()
    assert read(reader) == DISK
    assert list(reader.extents())[1] == Extent(3 * MIB, 4 * MIB, zero=True)
    assert lab.proxy.entered == [f"/{UUID}?session_id={session}" for session in (old, lab.pool.id)]


def test_a_session_that_is_dead_before_the_connection_is_asked_for_again(lab: Lab) -> None:
    """A session may end between the pool's answer and the connection: the name is taken again."""
    stale = lab.pool.id
    lab.pool.log_in_again()
    answers = iter([stale])
    lab.info = lambda uuid, session: [lab.proxy.info(uuid, next(answers, session))]
    assert read(lab.read()) == DISK


def test_block_status_goes_on_where_it_broke(lab: Lab) -> None:
    """Extents stay gapless through a lost connection."""
    reader = lab.read()
    lab.proxy.drop_all()
    extents = list(reader.extents())
    assert [extent.start for extent in extents] == [0, *(extent.end for extent in extents[:-1])]
    assert extents[-1].end == len(DISK)


def test_patience_ends(lab: Lab) -> None:
    """A host that stays away is an error, after a bounded time and ever longer pauses."""
    reader = lab.read()
    lab.pool.vdis[UUID] = Path("/nowhere")
    lab.proxy.drop_all()
    with pytest.raises(AdapterError) as lost:
        read(reader)
    assert isinstance(lost.value, SourceUnavailable | SourceNotFound)
    assert lab.pool.id not in str(lost.value)
    assert 0 < sum(lab.time.sleeps) <= 60
    assert lab.time.sleeps == sorted(lab.time.sleeps)


def test_a_disk_that_is_gone_is_no_matter_of_patience(lab: Lab) -> None:
    """A snapshot that somebody destroyed is told at once."""
    reader = lab.read()
    lab.pool.vdis.clear()
    lab.proxy.drop_all()
    with pytest.raises(SourceNotFound, match="gone"):
        read(reader)
    assert sum(lab.time.sleeps) <= 1


def test_another_address_is_tried(lab: Lab) -> None:
    """A host that does not answer is passed over for one that does."""
    with socket.create_server(("127.0.0.1", 0)) as dead:
        port = dead.getsockname()[1]
    lab.info = lambda uuid, session: [
        record | change for record in [lab.proxy.info(uuid, session)] for change in ({"port": port}, {}, {"port": port})
    ]
    assert read(lab.read()) == DISK
    assert not lab.time.sleeps


def test_a_wrong_certificate_is_refused(lab: Lab, tmp_path: Path) -> None:
    """A server with another certificate than the pool tells of gets no export name, and is not asked twice."""
    other = Authority(tmp_path / "other").issue("server", [lab.proxy.subject]).read_text()
    lab.info = lambda uuid, session: [lab.proxy.info(uuid, session) | {"cert": other}]
    error = refused(lab)
    assert (type(error), error.code) == (SourceDenied, "nbd-tls-pin")
    assert (lab.proxy.entered, lab.proxy.accepted, lab.time.sleeps) == ([], 1, [])


def test_a_wrong_subject_is_refused(lab: Lab) -> None:
    """A certificate that is not for the host that the pool names is not used, though it is the pinned one."""
    lab.info = lambda uuid, session: [lab.proxy.info(uuid, session) | {"subject": "xen2.example"}]
    error = refused(lab)
    assert (type(error), error.code, lab.proxy.accepted) == (SourceDenied, "nbd-tls-name", 0)


@pytest.mark.parametrize("subject", ["*.pool.example", "10.0.0.7"])
def test_wildcards_and_certificates_without_names_are_pinned(lab: Lab, tmp_path: Path, subject: str) -> None:
    """A wildcard is told as it stands; for a certificate with addresses only, the pool tells the host's own name."""
    with NbdProxy(tmp_path / "odd", lab.pool.served, subject=subject) as odd:
        told = subject if subject.startswith("*") else "xenserver-abc"
        lab.info = lambda uuid, session: [odd.info(uuid, session) | {"subject": told}]
        reader = lab.read()
        assert read(reader, 0, 4096) == DISK[:4096]
        reader.close()


def test_a_renewed_certificate_is_followed(lab: Lab) -> None:
    """A host whose certificate was renewed in the middle is trusted again once the pool tells of the new one."""
    reader = lab.read()
    lab.proxy.change_certificate()
    lab.proxy.drop_all()
    assert read(reader) == DISK


def test_a_certificate_that_the_pool_does_not_know_ends_the_read(lab: Lab) -> None:
    """Who answers in the host's place in the middle of a disk, with a certificate of his own, gets nothing."""
    reader = lab.read()
    old = lab.proxy.certificate
    lab.info = lambda uuid, session: [lab.proxy.info(uuid, session) | {"cert": old}]
    entered = len(lab.proxy.entered)
    lab.proxy.change_certificate()
    lab.proxy.drop_all()
    with pytest.raises(SourceDenied) as denied:
        read(reader)
    assert (denied.value.code, len(lab.proxy.entered)) == ("nbd-tls-pin", entered)


def test_no_network_for_nbd_is_told(lab: Lab) -> None:
    """An empty list is no passing trouble: it says what an administrator can do."""
    lab.info = lambda *_: []
    error = refused(lab)
    assert (type(error), error.code, lab.time.sleeps) == (SourceUnavailable, "nbd-no-network", [])
    assert "purpose nbd" in error.hint


def test_clear_text_is_refused_unless_allowed(lab: Lab, tmp_path: Path) -> None:
    """A host without TLS gets nothing of a reader that wants TLS; with the settings' leave it is read, and named so."""
    with NbdProxy(tmp_path / "plain", lab.pool.served, plain=True) as plain:
        lab.info = lambda uuid, session: [plain.info(uuid, session)]
        error = refused(lab)
        assert (type(error), plain.entered) == (SourceDenied, [])
        assert error.code in {"nbd-tls-refused", "nbd-policy"}
        with pytest.raises(SourceInvalid, match="clear text"):
            lab.read(secure=False)
        reader = lab.read(secure=False, insecure_nbd=True)
        assert (read(reader), reader.transport) == (DISK, "insecure_nbd")
        reader.close()


def test_a_disk_of_another_size_is_refused(lab: Lab) -> None:
    """What the host serves must have the disk's size, at the first connection and at each later one."""
    with pytest.raises(SourceConflict) as error:
        lab.read(size_bytes=len(DISK) - 512)
    assert error.value.code == "disk-size-changed"
    reader = lab.read()
    with open(lab.pool.vdis[UUID], "ab") as file:
        file.write(bytes(512))
    lab.proxy.drop_all()
    with pytest.raises(SourceConflict):
        read(reader)


@pytest.mark.parametrize(
    "change",
    [{"cert": "no certificate"}, {"cert": ""}, {"port": "many"}, {"exportname": None, "address": None, "port": None}],
)
def test_an_answer_that_makes_no_sense_is_refused(lab: Lab, change: dict[str, object]) -> None:
    """A malformed list is an error of its own, and its words are not repeated."""
    lab.info = lambda uuid, session: [lab.proxy.info(uuid, session) | change]
    error = refused(lab)
    assert (type(error), error.code) == (SourceInvalid, "nbd-info")


def test_addresses_are_told_as_pools_tell_them(lab: Lab) -> None:
    """A port is a string, an IPv6 address has its prefix behind it; several addresses of one host are one host's."""
    told = ["10.0.0.7", "2001:db8::7/64", "xen1.example"]
    lab.info = lambda uuid, session: [lab.proxy.info(uuid, session) | {"address": one, "port": "10809"} for one in told]
    places = nbd_places(lab.pool.access(UUID, lab.runtime_dir), secure=True)
    assert [place.address for place in places] == ["10.0.0.7:10809", "[2001:db8::7]:10809", "xen1.example:10809"]
    assert len({place.host for place in places}) == 1
    assert lab.pool.id not in repr(places)


def test_more_disks_than_places_are_all_read(lab: Lab) -> None:
    """Disks that are read at once take turns at a host, also while it still counts connections that just ended."""
    lab.proxy.limit = 4
    access = lab.pool.access(UUID, lab.runtime_dir, connections_per_host=4)

    def one(_: int) -> bytes:
        reader = NbdRead(access)
        try:
            return read(reader, MIB, 2 * MIB)
        finally:
            reader.close()

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(one, range(12))) == {DISK[MIB : 3 * MIB]}


def test_a_host_that_others_use_to_its_limit_is_waited_for(lab: Lab) -> None:
    """The 17th connection is hung up on: we ask again until a place is free, and give up when none ever is."""
    proxy = lab.proxy
    others = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(proxy.limit)]
    try:
        eventually(lambda: proxy.open == proxy.limit, "the host is full")
        error = refused(lab)
        assert (type(error), error.code) == (SourceUnavailable, "nbd-lost")
        assert proxy.refused > 1
        passing = lab.time.sleep

        def one_leaves(seconds: float) -> None:
            passing(seconds)
            others.pop().close()
            eventually(lambda: proxy.open < proxy.limit, "one left")

        lab.time.sleep = one_leaves  # type: ignore[method-assign]
        assert read(lab.read(), 0, 4096) == DISK[:4096]
    finally:
        for other in others:
            other.close()


def test_our_own_limit_is_waited_for_and_told(lab: Lab) -> None:
    """Where our own jobs have all places, a disk waits for its turn, and says so when none comes."""
    first = lab.read(connections_per_host=1)
    with pytest.raises(SourceLimit) as full:
        lab.read(connections_per_host=1)
    assert full.value.code == "host-connections"
    assert 30 < lab.time.now <= 50
    first.close()
    assert read(lab.read(connections_per_host=1), 0, 512) == DISK[:512]


def test_another_process_counts(lab: Lab) -> None:
    """Places that a job of another process holds at the host are not taken twice; its kill -9 frees them."""
    der = ssl.PEM_cert_to_DER_cert(lab.proxy.certificate)
    name = f"xen-nbd {hashlib.sha256(der).hexdigest()}"
    with other_process(lab.runtime_dir, name, 16, 16) as process:
        with pytest.raises(SourceLimit):
            lab.read()
        assert not lab.proxy.accepted
        process.kill()
        process.wait(60)
        assert read(lab.read(turn_seconds=1e6), 0, 512) == DISK[:512]


def test_what_fails_to_open_holds_no_place(lab: Lab) -> None:
    """A connection that is refused gives its place back."""
    for _ in range(20):
        with pytest.raises(SourceConflict):
            lab.read(size_bytes=512)
    (folder,) = lab.runtime_dir.glob("places-*")
    assert len(list(folder.iterdir())) == 1


def test_nothing_shows_the_session(lab: Lab) -> None:
    """Neither the reader nor how to reach the disk shows the session's id."""
    reader = lab.read()
    assert lab.pool.id not in repr(reader) + repr(lab.pool.access(UUID, lab.runtime_dir)) + str(vars(reader))
