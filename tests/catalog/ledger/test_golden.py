"""Files that were written once must be understood for ever."""

from __future__ import annotations

from catalog.ledger.checkpoint import read_checkpoint, sign_checkpoint
from catalog.ledger.note import VerifierKey
from catalog.ledger.verdict import check_bundle
from tests.support.golden_ledger import FOLDER, KEY

PUBLIC = (FOLDER / "key-1.txt").read_text()


def test_key() -> None:
    """The first key is read, and is the one that the same seed and name make today."""
    assert VerifierKey.parse(PUBLIC) == KEY.verifier
    assert str(KEY.verifier) + "\n" == PUBLIC


def test_checkpoint() -> None:
    """The first checkpoint verifies, and signing the same today gives the same bytes."""
    note = (FOLDER / "checkpoint-1.note").read_text()
    found = read_checkpoint(note, VerifierKey.parse(PUBLIC))
    assert found.size == 26
    assert found.root.hex() == "d47155bb384afd04558451900537aec7e079d5252da43ae0d3cd05e9f343e759"
    assert sign_checkpoint(KEY, found.size, found.root, found.head).note == note


def test_coverage_proof() -> None:
    """The first coverage proof passes, and says what it said then."""
    verdict = check_bundle((FOLDER / "coverage-1.proof").read_bytes(), PUBLIC)
    assert verdict.passed
    assert verdict.names == ("lab/db", "lab/vm")
    report = verdict.report
    assert (report.points, report.verified_points, report.damaged_points, report.deleted_points) == (5, 1, 0, 1)
    assert [checkpoint.size for checkpoint in verdict.checkpoints] == [8, 26]
    assert verdict.events == 22
