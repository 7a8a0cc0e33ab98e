"""The ledger of a home: publishing, places, proofs of single events."""

from __future__ import annotations

import base64
import threading
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from catalog.domain.ledger import CheckpointPublished
from catalog.ledger.checkpoint import read_checkpoint
from catalog.ledger.history import DIRECTORY
from catalog.ledger.note import VerifierKey
from catalog.ledger.proofs import consistency_holds, inclusion_holds
from catalog.log.chain import leaf_of
from storage.errors import Conflict, Corrupt, Denied, HoldfastError, Invalid, NotFound, Unavailable
from tests.support.ledger_home import LedgerHome
from tests.support.log_events import note, notes


def kept(lab: LedgerHome) -> list[int]:
    """The sizes that the directory holds."""
    return sorted(int(path.stem) for path in lab.place.rglob("*.note"))


def test_published_and_recorded(lab: LedgerHome) -> None:
    """A checkpoint is at its place, verifies with the public key, and is recorded with its root."""
    ledger = lab.add_place()
    lab.log.save(*notes(20))
    event = ledger.publish()
    path = next(lab.place.rglob("*.note"))
    found = read_checkpoint(path.read_text(), VerifierKey.parse(ledger.public_key()))
    assert (found.size, found.root, found.head) == (event.size, event.root, lab.log.chain_head(event.size))
    assert event.places == ("vault",)
    assert event.failed == ()
    assert path.stat().st_mode & 0o222 == 0
    assert ledger.latest() == found
    assert list(lab.log.stream(event.originator_id))[-1] == event


def test_due(lab: LedgerHome) -> None:
    """It is published when there is a place, at once, then after enough events or time, and never for itself alone."""
    lab.log.save(*notes(5))
    assert lab.ledger().publish_if_due(lab.log.position) is None
    ledger = lab.add_place()
    assert ledger.publish_if_due(lab.log.position) is not None
    lab.author.skip(timedelta(days=400))
    assert ledger.publish_if_due(lab.log.position) is None
    lab.log.save(note(6))
    assert lab.ledger().publish_if_due(lab.log.position) is not None
    lab.log.save(*notes(9, first=7))
    assert ledger.publish_if_due(lab.log.position, every_events=10) is None
    lab.log.save(note(16))
    assert ledger.publish_if_due(lab.log.position, every_events=10) is not None
    assert len(kept(lab)) == 3


def test_nothing_is_published_that_the_store_lacks(lab: LedgerHome) -> None:
    """A checkpoint is over what was shipped and no more, so that a home made anew from the store continues it."""
    ledger = lab.add_place()
    lab.log.save(*notes(9))
    published = ledger.publish_if_due(lambda: 4)
    assert published is not None
    assert published.size == 4
    lab.author.skip(timedelta(days=1))
    assert ledger.publish_if_due(lambda: 4) is None
    assert ledger.publish_if_due(lambda: 3) is None
    later = ledger.publish_if_due(lambda: 7)
    assert later is not None
    assert later.size == 7
    assert lab.ledger().check().ok


def test_a_place_that_fails_is_told_and_tried_again(lab: LedgerHome) -> None:
    """Without its directory a place fails: that is recorded and shown, the others go on, and later it catches up."""
    ledger = lab.add_place()
    other = lab.place.with_name("other")
    other.mkdir()
    ledger.add_place("usb", DIRECTORY, {"path": str(other)})
    ledger.publish()
    other.rename(other.with_name("away"))
    lab.log.save(*notes(3))
    event = ledger.publish()
    assert (event.places, event.failed) == (("vault",), ("usb",))
    assert [(place.name, place.failing) for place in lab.ledger().status().places] == [("usb", True), ("vault", False)]
    size = lab.log.position()
    lab.author.skip(timedelta(minutes=10))
    assert ledger.publish_if_due(lab.log.position) is None
    assert lab.log.position() == size
    other.with_name("away").rename(other)
    again = lab.ledger().publish_if_due(lab.log.position)
    assert again is not None
    assert again.failed == ()
    assert not any(place.failing for place in ledger.status().places)


def test_a_lost_checkpoint_fails_the_place(lab: LedgerHome) -> None:
    """When what was kept at a place is gone, the place fails until somebody has looked at it."""
    ledger = lab.add_place()
    ledger.publish()
    next(lab.place.rglob("*.note")).unlink()
    lab.log.save(*notes(3))
    assert ledger.publish().failed == ("vault",)
    assert kept(lab) == []
    ledger.remove_place("vault")
    ledger.add_place("vault", DIRECTORY, {"path": str(lab.place)})
    assert ledger.publish().failed == ()


@pytest.mark.parametrize("content", [b"", b"rubbish\n", b"\xff\xfe", b"x" * 100_000])
def test_foreign_content_is_corrupt(lab: LedgerHome, content: bytes) -> None:
    """A place whose newest checkpoint is not one that we signed stops publishing."""
    ledger = lab.add_place()
    ledger.publish()
    folder = next(lab.place.iterdir())
    (folder / f"{10**6:020}.note").write_bytes(content)
    lab.log.save(*notes(3))
    with pytest.raises(Corrupt):
        ledger.publish()
    assert len(kept(lab)) == 2


def test_publishing_again_is_no_second_statement(lab: LedgerHome) -> None:
    """After a crash between place and record the same checkpoint is met at the place, and taken as kept."""
    ledger = lab.add_place()
    checkpoint = ledger.checkpoint()
    folder = lab.place / str(ledger.repository_id)
    folder.mkdir()
    (folder / f"{checkpoint.size:020}.note").write_text(checkpoint.note)
    event = ledger.publish()
    assert (event.size, event.places) == (checkpoint.size, ("vault",))


def test_places_are_checked_when_added(lab: LedgerHome) -> None:
    """A place must answer, have a name of its own, and know no other history of this repository."""
    ledger = lab.add_place()
    with pytest.raises(Conflict):
        ledger.add_place("vault", DIRECTORY, {"path": str(lab.place)})
    with pytest.raises(Unavailable):
        ledger.add_place("usb", DIRECTORY, {"path": "/nonexistent"})
    with pytest.raises(NotFound):
        ledger.remove_place("usb")
    lab.log.save(*notes(2))
    later = ledger.checkpoint()
    folder = lab.place / str(ledger.repository_id)
    folder.mkdir()
    (folder / f"{10**6:020}.note").write_text(later.note.replace("\n3\n", "\n1000000\n"))
    with pytest.raises(Corrupt):
        ledger.add_place("usb", DIRECTORY, {"path": str(lab.place)})


def test_a_lost_key_is_never_replaced(lab: LedgerHome) -> None:
    """Once something was signed, another key is not made up in silence."""
    ledger = lab.add_place()
    ledger.publish()
    text = lab.home.ledger_key_file.read_text()
    lab.home.ledger_key_file.unlink()
    with pytest.raises(Denied, match="not in"):
        lab.ledger().publish()
    assert not lab.home.ledger_key_file.exists()
    lab.home.ledger_key_file.write_text(text)
    lab.home.ledger_key_file.chmod(0o600)
    lab.ledger().publish()


def test_a_key_that_is_lost_for_good(lab: LedgerHome) -> None:
    """A new key is made on request only; what the old one signed is still compared with the log."""
    ledger = lab.add_place()
    ledger.publish()
    old = ledger.public_key()
    with pytest.raises(Conflict):
        ledger.renew_key()
    lab.home.ledger_key_file.unlink()
    new = lab.ledger().renew_key()
    assert new != old
    lab.log.save(*notes(10))
    ledger = lab.ledger()
    assert ledger.publish().failed == ()
    assert ledger.check().ok
    assert ledger.check().checkpoints == 5
    newest = max(lab.place.rglob("*.note"))
    with pytest.raises(Corrupt):
        read_checkpoint(newest.read_text(), VerifierKey.parse(old))
    first = min(lab.place.rglob("*.note"))
    first.chmod(0o644)
    first.write_text(first.read_text().replace("\n1\n", "\n2\n"))
    assert not ledger.check().ok


def test_event_proof(lab: LedgerHome) -> None:
    """The proof of one event holds with what is in it, before and after a checkpoint was published."""
    ledger = lab.add_place()
    lab.log.save(*notes(30))
    for _ in range(2):
        for position in (1, 2, 17, 31):
            proof = ledger.event_proof(position)
            state = base64.b64decode(proof["state"])
            leaf = leaf_of(UUID(proof["originator_id"]), proof["originator_version"], proof["topic"], state)
            checkpoint = read_checkpoint(proof["checkpoint"], VerifierKey.parse(proof["public_key"]))
            path = [base64.b64decode(node) for node in proof["path"]]
            assert inclusion_holds(leaf, position - 1, checkpoint.size, path, checkpoint.root)
        ledger.publish()
    with pytest.raises(NotFound):
        ledger.event_proof(1000)


def test_consistency_between_checkpoints(lab: LedgerHome) -> None:
    """Any two sizes are proven to be of one history; sizes that are none are refused."""
    ledger = lab.ledger()
    lab.log.save(*notes(25))
    roots = [ledger.checkpoint_at(size).root for size in range(26)]
    for old in range(0, 26, 3):
        for new in range(old, 26, 4):
            assert consistency_holds(old, new, roots[old], roots[new], ledger.consistency(old, new))
    for old, new in ((5, 4), (-1, 4), (1, 26)):
        with pytest.raises(Invalid):
            ledger.consistency(old, new)
    with pytest.raises(NotFound):
        ledger.latest()


def test_many_publish_at_once(lab: LedgerHome) -> None:
    """Ledgers of several processes that publish at the same moment leave one consistent record."""
    lab.add_place()
    lab.log.save(*notes(5))
    failures: list[HoldfastError] = []

    def work() -> None:
        ledger = lab.ledger()
        for _ in range(5):
            try:
                ledger.publish()
            except Conflict:
                continue
            except HoldfastError as error:
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert lab.ledger().check().ok
    events = [one.event for one in lab.log.follow() if isinstance(one.event, CheckpointPublished)]
    assert [event.size for event in events] == sorted(event.size for event in events)


def test_the_cache_is_used_and_may_vanish(lab: LedgerHome) -> None:
    """The tree's hashes are kept below the index; without them, or with wrong ones, the roots are the same."""
    ledger = lab.add_place()
    lab.log.save(*notes(700))
    ledger.publish()
    file = lab.home.ledger_dir / "level-08"
    assert file.stat().st_size == 2 * 32
    lab.log.save(*notes(10, first=701))
    wanted = ledger.checkpoint()
    file.write_bytes(bytes(64))
    assert lab.ledger().checkpoint() == wanted
    assert file.read_bytes() != bytes(64)
    file.unlink()
    assert lab.ledger().checkpoint() == wanted


def test_secrets_stay_references(lab: LedgerHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret is found by environment, file or command, never accepted as such, and in no error."""
    from catalog.ledger.references import check_reference, resolve

    monkeypatch.setenv("HF_TEST", "s3cret")
    (tmp_path / "secret").write_text("s3cret\n")
    for reference in ("env:HF_TEST", f"file:{tmp_path / 'secret'}", "command:printf s3cret"):
        assert resolve(reference) == "s3cret"
    for bare in ("s3cret", "env:", "", "http://x"):
        with pytest.raises(Invalid) as caught:
            check_reference(bare)
        assert "s3cret" not in str(caught.value)
    for gone in ("env:HF_NONE", "file:/nonexistent", "command:false", "command:nonexistent-program"):
        with pytest.raises(Denied):
            resolve(gone)
