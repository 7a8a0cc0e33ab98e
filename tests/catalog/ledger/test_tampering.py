"""Every change of the log shows against an older checkpoint, and nothing shows when there was none."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from catalog.ledger.check import Kept, LedgerCheck
from catalog.ledger.ledger import Ledger
from storage.errors import Corrupt
from tests.support.ledger_home import LedgerHome
from tests.support.log_events import notes

EVENTS = 24


@pytest.fixture
def signed(lab: LedgerHome) -> tuple[LedgerHome, list[Kept]]:
    """A log of 24 events, with a checkpoint after each sixth that only the auditor has."""
    kept = []
    for first in range(1, EVENTS, 6):
        lab.log.save(*notes(6, first=first))
        kept.append(Kept("auditor", lab.ledger().checkpoint()))
    return lab, kept


def checked(lab: LedgerHome, kept: list[Kept]) -> LedgerCheck:
    """What a check against these checkpoints finds."""
    return lab.ledger().check(kept)


def test_a_clean_log(signed: tuple[LedgerHome, list[Kept]]) -> None:
    """An untouched log agrees with each checkpoint, as it grows."""
    lab, kept = signed
    for event in notes(12, first=EVENTS + 1):
        lab.log.save(event)
        found = checked(lab, kept)
        assert found.ok
        assert (found.events, found.checkpoints) == (event.originator_version, 4)


def test_no_false_alarm(tmp_path: Path) -> None:
    """Logs of many sizes, published at random moments, never contradict what was published."""
    random = Random(11)
    for number in range(8):
        lab = LedgerHome(tmp_path / str(number))
        ledger = lab.add_place()
        for event in notes(random.randrange(5, 30)):
            lab.log.save(event)
            if random.random() < 0.15:
                ledger = random.choice([ledger, lab.ledger()])
                ledger.publish()
        assert lab.ledger().check().ok
        lab.close()


def edit(lab: LedgerHome, at: int) -> None:
    """Change one byte of a state."""
    lab.sql(("UPDATE stored_events SET state = CAST(state || x'00' AS BLOB) WHERE id = ?", (at,)))


def rename(lab: LedgerHome, at: int) -> None:
    """Make an event another one."""
    lab.sql(("UPDATE stored_events SET topic = 'PackSealed/1' WHERE id = ?", (at,)))


def swap(lab: LedgerHome, at: int) -> None:
    """Exchange two events."""
    lab.sql(
        ("UPDATE stored_events SET id = -1 WHERE id = ?", (at,)),
        ("UPDATE stored_events SET id = ? WHERE id = ?", (at, at + 1)),
        ("UPDATE stored_events SET id = ? WHERE id = -1", (at + 1,)),
    )


def drop(lab: LedgerHome, at: int) -> None:
    """Remove an event and close the gap."""
    lab.sql(
        ("DELETE FROM stored_events WHERE id = ?", (at,)),
        *(("UPDATE stored_events SET id = id - 1 WHERE id = ?", (later,)) for later in range(at + 1, EVENTS + 1)),
    )


def insert(lab: LedgerHome, at: int) -> None:
    """Put an event in between."""
    lab.sql(
        *(("UPDATE stored_events SET id = id + 1 WHERE id = ?", (later,)) for later in range(EVENTS, at - 1, -1)),
        (
            "INSERT INTO stored_events SELECT ?, ?, 1, topic, state FROM stored_events WHERE id = 1 OR id = 2 LIMIT 1",
            (at, "0" * 32),
        ),
    )


@pytest.mark.parametrize("at", [1, 6, 7, 17, 23])
@pytest.mark.parametrize("change", [edit, rename, swap, drop, insert])
@pytest.mark.parametrize("recomputed", [False, True])
def test_a_changed_log(signed: tuple[LedgerHome, list[Kept]], change: object, at: int, recomputed: bool) -> None:
    """An edit, a swap, a removal or an insertion anywhere is found, also with the whole chain computed anew."""
    lab, kept = signed
    change(lab, at)  # type: ignore[operator]
    if recomputed:
        lab.recompute_chain()
    found = checked(lab, kept)
    assert not found.ok
    first = found.findings[0]
    if recomputed:
        assert first.where == "auditor"
        assert first.first <= at + (change is drop) <= first.last + 1
        assert first.last - first.first < 6
    else:
        assert first.first in (at, at + 1)


@pytest.mark.parametrize("left", [0, 1, 5, 6, 11, 23])
def test_a_lost_tail(signed: tuple[LedgerHome, list[Kept]], left: int) -> None:
    """A log cut short, with chain and counters made to fit, lacks what the checkpoints were signed over."""
    lab, kept = signed
    lab.sql(("DELETE FROM stored_events WHERE id > ?", (left,)))
    lab.recompute_chain()
    found = checked(lab, kept)
    assert {(one.first, one.last) for one in found.findings} == {
        (left + 1, size) for size in (6, 12, 18, 24) if size > left
    }


@pytest.mark.parametrize("grown", [0, 3, 6, 30])
def test_a_fork_is_noticed_when_publishing(lab: LedgerHome, tmp_path: Path, grown: int) -> None:
    """A log that was rolled back and went on otherwise contradicts the place: Corrupt, and nothing is published."""
    ledger = lab.add_place()
    lab.log.save(*notes(10))
    ledger.publish()
    lab.copy(tmp_path / "copy")
    lab.log.save(*notes(6, first=11))
    ledger.publish()
    lab.roll_back(tmp_path / "copy")
    other = [event for event in notes(grown + 10, first=11) if event.originator_version <= 10 + grown]
    lab.log.save(*(type(event)(**{**fields(event), "what": "other"}) for event in other))
    before = sorted(path.name for path in lab.place.rglob("*.note"))
    for fresh in (lab.ledger(), lab.ledger()):
        with pytest.raises(Corrupt) as caught:
            fresh.publish()
        assert caught.value.code == ("ledger-rolled-back" if grown < 6 else "ledger-fork")
    assert sorted(path.name for path in lab.place.rglob("*.note")) == before
    assert not lab.ledger().check().ok


def fields(event: object) -> dict[str, object]:
    """The fields of an event."""
    return {name: getattr(event, name) for name in event.__struct_fields__}  # type: ignore[attr-defined]


@pytest.mark.parametrize("at", [1, 4, 9])
def test_a_rewritten_history_is_noticed_when_publishing(lab: LedgerHome, at: int) -> None:
    """Somebody who edits an old event and recomputes all that the database holds is caught by the next checkpoint."""
    lab.log.save(*notes(10))
    lab.add_place().publish()
    edit(lab, at)
    lab.recompute_chain()
    lab.reopen()
    lab.log.save(*notes(1, first=11))
    with pytest.raises(Corrupt):
        lab.ledger().publish_if_due(lab.log.position, every_events=1)
    with pytest.raises(Corrupt):
        lab.ledger().publish()
    found = lab.ledger().check()
    assert {one.where for one in found.findings} == {"the log's own record", "vault"}


def test_a_rewritten_record_of_checkpoints(lab: LedgerHome) -> None:
    """Somebody who also rewrites what the log says of its checkpoints is still caught by the place."""
    ledger = lab.add_place()
    lab.log.save(*notes(10))
    event = ledger.publish()
    position = lab.log.position()
    rewrite(lab, ledger, event.size, position)
    lab.reopen()
    found = lab.ledger().check()
    assert [one.where for one in found.findings] == ["vault"]
    with pytest.raises(Corrupt, match="contradicts"):
        lab.ledger().publish()


def rewrite(lab: LedgerHome, ledger: Ledger, size: int, position: int) -> None:
    """Edit event 5, then make chain, tree and the recorded checkpoint fit."""
    from catalog.log.mapper import MsgpackMapper

    edit(lab, 5)
    lab.recompute_chain()
    ledger = lab.ledger()
    forged = ledger._tree.root(size)
    mapper = MsgpackMapper()
    published = ledger._followed().published[-1]
    stored = mapper.to_stored_event(type(published)(**{**fields(published), "root": forged}))
    lab.sql(("UPDATE stored_events SET state = ? WHERE id = ?", (stored.state, position)))
    lab.recompute_chain()
