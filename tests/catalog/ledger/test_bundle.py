"""Coverage proofs: what they prove, and that nothing else passes."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from random import Random
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from catalog.domain.facts import DiskLeftOut
from catalog.ledger.bundle import DIGEST_BYTES, MAGIC, Bundle, decode_bundle, encode_bundle
from catalog.ledger.verdict import BundleVerdict, check_bundle
from storage.errors import Corrupt, HoldfastError, Invalid, NotFound
from tests.support.ledger_home import DAY, START, LedgerHome


def estate(lab: LedgerHome, days: int = 20) -> tuple[Any, list[Any], list[Any]]:
    """Two machines that are backed up each day; returns the first one's id and points, and the other's points."""
    one, other = lab.author.machine("db"), lab.author.machine("web")
    mine, others = [], []
    for _ in range(days):
        mine.append(lab.author.backup(one, {}, name="db"))
        others.append(lab.author.backup(other, {}, name="web"))
        lab.author.skip(DAY - timedelta(minutes=6))
    return one, mine, others


def proven(lab: LedgerHome, request: Any) -> tuple[bytes, str]:
    """The bundle for a request, and the public key."""
    ledger = lab.ledger()
    return ledger.prove_coverage(request), ledger.public_key()


def test_covered(lab: LedgerHome) -> None:
    """A machine that was backed up each day is proven to be covered, with its verifications and deletions."""
    machine, points, _ = estate(lab)
    lab.verify(machine, points[7])
    lab.verify(machine, points[9])
    lab.delete(machine, points[6])
    content, key = proven(lab, lab.request(machine, 5, 15))
    verdict = check_bundle(content, key)
    assert verdict.passed
    assert verdict.complete
    assert verdict.names == ("lab/db",)
    assert (verdict.report.points, verdict.report.verified_points, verdict.report.deleted_points) == (10, 2, 0)
    assert len(content) < 20_000


def test_tombstones_of_the_period_are_told(lab: LedgerHome) -> None:
    """A point that was deleted in the period is counted, and does not cover from then on."""
    machine = lab.author.machine("db")
    first = lab.days(machine, 5)
    lab.delete(machine, first[-1])
    lab.days(machine, 10)
    content, key = proven(lab, lab.request(machine, 2, 12))
    verdict = check_bundle(content, key)
    assert verdict.report.deleted_points == 1
    content, key = proven(lab, lab.request(machine, 2, 12, rpo_seconds=49 * 3600))
    assert check_bundle(content, key).passed


def test_a_gap_is_proven(lab: LedgerHome) -> None:
    """Days without a backup are gaps, and so are days whose only backup was found damaged."""
    machine = lab.author.machine("db")
    lab.days(machine, 8)
    lab.author.skip(2 * DAY)
    points = lab.days(machine, 8)
    content, key = proven(lab, lab.request(machine, 1, 16))
    assert [gap.start.day for gap in check_bundle(content, key).report.gaps] == [8]
    lab.verify(machine, points[3])
    lab.verify(machine, points[3], "damaged")
    content, key = proven(lab, lab.request(machine, 1, 16))
    verdict = check_bundle(content, key)
    assert (len(verdict.report.gaps), verdict.report.damaged_points) == (2, 1)
    assert not verdict.passed


def test_left_out_disks(lab: LedgerHome) -> None:
    """Partial points cover only when the request accepts the disks that they lack."""
    machine = lab.author.machine("db")
    left = DiskLeftOut(disk_id=machine, label="scratch", reason="independent", way_out="")
    lab.days(machine, 6, result="partial", left_out=(left,))
    assert not check_bundle(*proven(lab, lab.request(machine, 1, 5))).passed
    verdict = check_bundle(*proven(lab, lab.request(machine, 1, 5, accepted=("scratch",))))
    assert verdict.passed
    assert [(disk.label, disk.points) for disk in verdict.report.left_out] == [("scratch", 4)]


def test_open_end_does_not_pass(lab: LedgerHome) -> None:
    """Without an event behind the period its last events could be withheld: the proof says so and does not pass."""
    machine, _, _ = estate(lab, 6)
    verdict = check_bundle(*proven(lab, lab.request(machine, 1, 7, rpo_seconds=3 * 86_400)))
    assert verdict.report.covered
    assert not verdict.complete
    assert not verdict.passed


def test_machines_and_periods_that_are_not_there(lab: LedgerHome) -> None:
    """An unknown machine is NotFound, a period before the machine Invalid, and so is a period that is none."""
    machine, points, _ = estate(lab, 3)
    with pytest.raises(NotFound):
        proven(lab, lab.request(points[0], 1, 2))
    with pytest.raises(Invalid, match="not known"):
        proven(lab, lab.request(machine, -5, -1))
    for bad in ({"rpo_seconds": 0}, {"rpo_seconds": 10**12}, {"end": START}):
        with pytest.raises(Invalid):
            proven(lab, msgspec.structs.replace(lab.request(machine, 1, 2), **bad))


def test_new_machine(lab: LedgerHome) -> None:
    """A machine that was first seen in the period is proven from then on, its first event included."""
    lab.author.skip(5 * DAY)
    machine = lab.author.machine("db")
    lab.days(machine, 8)
    verdict = check_bundle(*proven(lab, lab.request(machine, 0, 10)))
    assert verdict.passed
    assert verdict.report.known_from.day == 6


def test_earlier_checkpoint(lab: LedgerHome) -> None:
    """With a checkpoint that was published in the period, the proof shows that the log only grew since then."""
    machine = lab.author.machine("db")
    lab.days(machine, 3)
    ledger = lab.add_place()
    early = ledger.publish()
    lab.days(machine, 7)
    late = ledger.publish()
    verdict = check_bundle(*proven(lab, lab.request(machine, 1, 9)))
    assert [checkpoint.size for checkpoint in verdict.checkpoints] == [early.size, late.size]
    assert (lab.place / str(ledger.repository_id) / f"{late.size:020}.note").read_text() == verdict.checkpoints[1].note


def resealed(bundle: Bundle, **changes: Any) -> bytes:
    """The bundle, changed, in a file that is well formed."""
    return encode_bundle(msgspec.structs.replace(bundle, **changes))


def refused(content: bytes, key: str) -> str:
    """The code with which a bundle does not verify."""
    with pytest.raises(Corrupt) as caught:
        check_bundle(content, key)
    return caught.value.code


@pytest.fixture
def sample(lab: LedgerHome) -> tuple[LedgerHome, Any, Bundle, str]:
    """A proof of days 3 to 10, with verifications, that passes."""
    machine, points, _ = estate(lab, 14)
    for point in points[5:8]:
        lab.verify(machine, point)
        lab.verify(machine, point)
    content, key = proven(lab, lab.request(machine, 3, 10))
    assert check_bundle(content, key).passed
    return lab, machine, decode_bundle(content), key


def reproved(lab: LedgerHome, bundle: Bundle, events: Any, **changes: Any) -> bytes:
    """The bundle with other events and a right proof for them: what a liar with the database can make."""
    ledger = lab.ledger()
    size = ledger.checkpoint().size
    nodes = ledger.multiproof([event.position for event in events], size)
    return resealed(
        bundle,
        events=tuple(events),
        nodes=tuple(nodes),
        checkpoints=(ledger.checkpoint().note,),
        consistency=(),
        **changes,
    )


def test_an_omitted_event_is_noticed(sample: Any) -> None:
    """Whichever event is left out, even with a right tree proof for the rest, the proof passes no more.

    The one exception is what FORMAT.md says is not proven: the last verification of a restore point can be withheld.
    """
    lab, machine, bundle, key = sample
    last = {event.originator_id: event.position for event in bundle.events}
    for number, event in enumerate(bundle.events):
        fewer = bundle.events[:number] + bundle.events[number + 1 :]
        assert refused(resealed(bundle, events=fewer), key) == "bundle-root"
        withheld = event.originator_id != machine.bytes and last[event.originator_id] == event.position
        assert passes(reproved(lab, bundle, fewer), key) == withheld


def passes(content: bytes, key: str) -> bool:
    """Whether a bundle verifies and proves coverage."""
    try:
        return check_bundle(content, key).passed
    except Corrupt as error:
        assert error.code in ("bundle-format", "bundle-claim")  # noqa: PT017
        return False


def test_brackets(sample: Any) -> None:
    """A proof that begins too late does not verify, and one that ends too early does not pass."""
    lab, machine, bundle, key = sample
    late = [event for event in bundle.events if event.originator_id != machine.bytes or event.version > 12]
    assert refused(reproved(lab, bundle, late), key) == "bundle-format"
    last = max(event.version for event in bundle.events if event.originator_id == machine.bytes)
    early = [event for event in bundle.events if event.originator_id != machine.bytes or event.version < last]
    verdict = check_bundle(reproved(lab, bundle, early), key)
    assert not verdict.passed
    assert not verdict.complete


def test_other_machines_events(sample: Any) -> None:
    """Events of another machine, or of its points, are refused, and so is a proof said to be another machine's."""
    lab, machine, bundle, key = sample
    rows = [lab.log.evidence.stored(at) for at in range(1, lab.log.position() + 1)]
    kinds = type(bundle.events[0])
    others = [
        kinds(row.position, row.originator_id.bytes, row.originator_version, row.topic, row.state)
        for row in rows
        if row.topic.startswith("RunOpened") and row.originator_id != machine
    ]
    more = sorted([*bundle.events, others[4]], key=lambda event: event.position)
    assert refused(reproved(lab, bundle, more), key) == "bundle-format"
    stranger = msgspec.structs.replace(bundle.request, machine_id=rows[1].originator_id)
    assert stranger.machine_id != machine
    assert refused(resealed(bundle, request=stranger), key) == "bundle-format"


def test_another_request_or_claim(sample: Any) -> None:
    """Neither the request nor the claim can be changed into something the events do not say."""
    _, _, bundle, key = sample
    assert refused(resealed(bundle, claim=msgspec.structs.replace(bundle.claim, points=8)), key) == "bundle-claim"
    for changes in (
        {"rpo_seconds": 3600},
        {"end": bundle.request.end + 3 * DAY},
        {"start": bundle.request.start - DAY},
    ):
        request = msgspec.structs.replace(bundle.request, **changes)
        assert not passes(resealed(bundle, request=request), key)


def test_changed_events(sample: Any) -> None:
    """An event that is changed, moved or swapped with another is not the one that was signed."""
    _, _, bundle, key = sample
    for number, event in enumerate(bundle.events):
        changed = msgspec.structs.replace(event, state=event.state[:-1] + bytes([event.state[-1] ^ 1]))
        events = (*bundle.events[:number], changed, *bundle.events[number + 1 :])
        assert refused(resealed(bundle, events=events), key) == "bundle-root"
    one, two = bundle.events[3], bundle.events[4]
    swapped = (
        msgspec.structs.replace(two, position=one.position),
        msgspec.structs.replace(one, position=two.position),
    )
    assert refused(resealed(bundle, events=(*bundle.events[:3], *swapped, *bundle.events[5:])), key) == "bundle-root"
    assert refused(resealed(bundle, events=bundle.events[::-1]), key) == "bundle-format"


def test_another_key(sample: Any, tmp_path: Any) -> None:
    """A proof that was signed with another key does not verify; a key that is none is Invalid."""
    _, _, bundle, key = sample
    other = LedgerHome(tmp_path / "other")
    try:
        assert refused(encode_bundle(bundle), other.ledger().public_key()) == "ledger-signature"
    finally:
        other.close()
    for text in ("", "name", key[:-3], key.replace("holdfast", "holdfort")):
        with pytest.raises(Invalid):
            check_bundle(encode_bundle(bundle), text)


def small(lab: LedgerHome) -> tuple[bytes, str]:
    """A proof of two days."""
    machine = lab.author.machine("db")
    lab.days(machine, 3)
    return proven(lab, lab.request(machine, 0, 2))


def test_every_byte(lab: LedgerHome) -> None:
    """A file with any one byte changed, or cut anywhere, does not verify."""
    content, key = small(lab)
    assert check_bundle(content, key).passed
    for at in range(len(content)):
        for bit in (1, 0x80):
            refused(content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :], key)
        refused(content[:at], key)
    refused(content + b"\x00", key)


def test_every_byte_inside(lab: LedgerHome) -> None:
    """A changed byte behind the checksum, with a new checksum, makes no proof of anything that is not so."""
    content, key = small(lab)
    good = check_bundle(content, key)
    plain = zstandard.ZstdDecompressor().decompress(content[len(MAGIC) + DIGEST_BYTES :])
    random = Random(7)
    for at in range(len(plain)):
        changed = plain[:at] + bytes([plain[at] ^ (1 << random.randrange(8))]) + plain[at + 1 :]
        body = zstandard.ZstdCompressor().compress(changed)
        try:
            verdict = check_bundle(MAGIC + sha256(body).digest() + body, key)
        except Corrupt:
            continue
        assert true_still(verdict, good), at


def true_still(verdict: BundleVerdict, good: BundleVerdict) -> bool:
    """A changed request that the same events happen to satisfy is a true statement; nothing else may be."""
    same = replace(verdict, request=good.request, report=good.report) == good
    return (
        same and verdict.report.points == good.report.points and verdict.request.machine_id == good.request.machine_id
    )


@given(st.binary(max_size=400), st.booleans())
def test_garbage(data: bytes, framed: bool) -> None:
    """Any bytes raise Corrupt and nothing else."""
    body = zstandard.ZstdCompressor().compress(data) if framed else data
    with pytest.raises(Corrupt):
        decode_bundle(MAGIC + sha256(body).digest() + body)
    with pytest.raises(Corrupt):
        decode_bundle(data)


@given(st.integers(0, 2**40), st.binary(max_size=20))
def test_lying_sizes(size: int, rest: bytes) -> None:
    """A file that claims to be huge is refused before memory is taken for it."""
    body = b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + rest
    with pytest.raises(HoldfastError):
        decode_bundle(MAGIC + sha256(body).digest() + body)


@pytest.mark.parametrize("name", ["checkpoints", "consistency", "events", "nodes"])
def test_endless_lists(sample: Any, name: str) -> None:
    """Lists that are far too long are refused before a megabyte is taken for them."""
    _, _, bundle, _ = sample
    fields = msgspec.msgpack.decode(msgspec.msgpack.Encoder(uuid_format="bytes").encode(bundle))
    fields[name] = [""] * 8_000_000 if name == "checkpoints" else [b""] * 8_000_000
    body = zstandard.ZstdCompressor().compress(msgspec.msgpack.encode(fields))
    plain_bytes = zstandard.frame_content_size(body)
    del fields
    tracemalloc.start()
    try:
        with pytest.raises(Corrupt):
            decode_bundle(MAGIC + sha256(body).digest() + body)
        assert tracemalloc.get_traced_memory()[1] < plain_bytes + (1 << 20)
    finally:
        tracemalloc.stop()


def test_a_quarter_is_small_and_quick(lab: LedgerHome) -> None:
    """A quarter of daily restore points with their verifications takes less than a megabyte."""
    machine, points, _ = estate(lab, 100)
    for point in points:
        lab.verify(machine, point)
    content, key = proven(lab, lab.request(machine, 2, 94))
    assert len(content) < 300_000
    verdict = check_bundle(content, key)
    assert verdict.passed
    assert verdict.report.points == 92


OFFLINE = """
import sys
import tracemalloc
for name in ("eventsourcing", "sqlite3", "duckdb", "pyarrow", "numpy", "blake3", "fastapi"):
    sys.modules[name] = None
from pathlib import Path
from catalog.cli.app import run
import catalog.cli.prove
sys.exit(run(["prove", "check", sys.argv[1], "--key", sys.argv[2], "--json"]))
"""


def test_offline(lab: LedgerHome, tmp_path: Any) -> None:
    """A proof is checked with its file and the key: no home, no database library, no index."""
    content, key = small(lab)
    file = tmp_path / "q.proof"
    file.write_bytes(content)
    command = [sys.executable, "-c", OFFLINE, str(file), key]
    done = subprocess.run(command, capture_output=True, check=False, env={"HOLDFAST_HOME": "/nonexistent"})
    assert done.returncode == 0, done.stderr
    assert msgspec.json.decode(done.stdout)["passed"] is True
    file.write_bytes(content[:-1])
    done = subprocess.run(command, capture_output=True, check=False, env={"HOLDFAST_HOME": "/nonexistent"})
    assert done.returncode == 4
