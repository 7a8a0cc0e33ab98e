"""`holdfast ledger` and `holdfast prove` as people and scripts use them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from catalog.domain.ledger import CheckpointPublished
from tests.support.lab import MIB, Answer, Lab, holdfast, make_image, write_at
from tests.support.ledger_home import LedgerHome
from tests.support.log_events import notes


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LedgerHome]:
    """A home whose machine `db` has a restore point on each of twelve days, but for the eighth."""
    made = LedgerHome(tmp_path)
    machine = made.author.machine("db")
    made.days(machine, 7, name="db")
    made.days(machine, 1, commit=False)
    made.days(machine, 4, name="db")
    yield made
    made.close()


def run(lab: LedgerHome, *arguments: str | Path) -> Answer:
    """A command on this home."""
    return holdfast("--home", lab.home.root, *arguments)


def prove(lab: LedgerHome, to: str, file: Path, *more: str) -> Answer:
    """Prove coverage from the third of January on."""
    period = ("--from", "2026-01-03", "--to", to, "--rpo", "25h")
    return run(lab, "prove", "coverage", "--machine", "db", *period, "-o", file, *more)


def test_prove_and_check(lab: LedgerHome, tmp_path: Path) -> None:
    """A covered period exits 0 and one with a gap 1, at the maker's and at the checker's, who needs no home."""
    key = run(lab, "ledger", "key").out.strip()
    (tmp_path / "key").write_text(key + "\n")
    for to, code in (("2026-01-06", 0), ("2026-01-10", 1)):
        file = tmp_path / f"{to}.proof"
        assert prove(lab, to, file).code == code
        for given in (key, str(tmp_path / "key")):
            answer = holdfast("--home", "/nonexistent", "prove", "check", file, "--key", given, "--json")
            assert answer.code == code
            record = answer.json()
            assert record["passed"] is (code == 0)
            assert record["machine"] == ["lab/db"]
            assert len(record["gaps"]) == code
    assert "not covered from 2026-01-07T" in prove(lab, "2026-01-10", tmp_path / "more.proof").err


def test_proofs_that_do_not_verify(lab: LedgerHome, tmp_path: Path) -> None:
    """A damaged file and another log's key exit 4, what is no key 2, no file 5; a file is never overwritten."""
    file = tmp_path / "a.proof"
    prove(lab, "2026-01-06", file)
    key = run(lab, "ledger", "key").out.strip()
    assert prove(lab, "2026-01-06", file).code == 8
    content = file.read_bytes()
    (tmp_path / "bad.proof").write_bytes(content[:-1])
    for bad, with_key, code in (
        (tmp_path / "bad.proof", key, 4),
        (file, key[:-2] + "==", 2),
        (tmp_path / "none.proof", key, 5),
        (file, str(tmp_path / "none"), 5),
    ):
        answer = holdfast("prove", "check", bad, "--key", with_key, "--json")
        assert answer.code == code, answer
        assert answer.problem()["exit"] == code


@pytest.mark.parametrize(
    "words",
    [("--from", "soon"), ("--from", "2026-01-03T00:00:00"), ("--rpo", "1w"), ("--rpo", "0h"), ("--from", "9999-12-31")],
)
def test_what_cannot_be_asked(lab: LedgerHome, tmp_path: Path, words: tuple[str, str]) -> None:
    """Times without zone, unknown units and periods that are none exit 2."""
    assert prove(lab, "2026-01-06", tmp_path / "a.proof", *words).code == 2
    assert not (tmp_path / "a.proof").exists()


def test_checkpoints_and_check(lab: LedgerHome, tmp_path: Path) -> None:
    """A checkpoint kept elsewhere shows an edit, with exit 4 and the positions it lies within."""
    assert run(lab, "ledger", "place", "add", "usb", "--dir", lab.place, "--json").code == 0
    made = run(lab, "ledger", "checkpoint")
    assert made.code == 0
    (tmp_path / "mine").write_bytes(made.raw)
    key = run(lab, "ledger", "key").out.strip()
    checks: tuple[tuple[str | Path, ...], ...] = (
        (), ("--place", "usb"), ("--checkpoint", tmp_path / "mine"), ("--checkpoint", tmp_path / "mine", "--key", key),
    )  # fmt: skip
    lab.log.save(*notes(4))
    for check in checks:
        assert run(lab, "ledger", "check", *check).code == 0
    status = run(lab, "ledger", "status", "--json").json()
    assert (status["places"][0]["name"], status["places"][0]["failing"]) == ("usb", False)
    lab.sql(("UPDATE stored_events SET state = CAST(state || x'00' AS BLOB) WHERE id = 5", ()))
    lab.recompute_chain()
    for check in checks:
        answer = run(lab, "ledger", "check", *check, "--json")
        assert answer.code == 4
        found = answer.json()["findings"][0]
        assert (found["first"], found["last"]) == (1, status["published_size"])


def test_places(lab: LedgerHome) -> None:
    """Places are added, listed and removed; a bare secret, two kinds at once and no directory are refused."""
    assert run(lab, "ledger", "place", "add", "usb", "--dir", lab.place).code == 0
    assert [place["name"] for place in run(lab, "ledger", "place", "list", "--json").json()] == ["usb"]
    assert run(lab, "ledger", "place", "add", "usb", "--dir", lab.place).code == 8
    for words, code in (
        ((), 2),
        (("--dir", str(lab.place), "--s3", "bucket"), 2),
        (("--s3", "bucket/x", "--secret-key", "hunter2"), 2),
        (("--s3", "bucket/x", "--secret-key", "env:HF_UNSET", "--access-key", "env:HF_UNSET"), 6),
        (("--dir", "/nonexistent/x"), 7),
    ):
        answer = run(lab, "ledger", "place", "add", "other", *words)
        assert answer.code == code, answer
        assert "hunter2" not in answer.err
    assert run(lab, "ledger", "place", "remove", "usb").code == 0
    assert run(lab, "ledger", "place", "remove", "usb").code == 5
    lab.reopen()
    assert run(lab, "ledger", "place", "list", "--json").json() == []


def doctor(lab: Lab) -> dict[str, Any]:
    """What doctor says of the ledger."""
    return next(check for check in lab.run("doctor", "--json").json() if check["check"] == "ledger")


def test_backups_publish(tmp_path: Path) -> None:
    """A backup ends with a checkpoint when one is due; doctor says what reaches which place."""
    made = Lab(tmp_path)
    image = made.images / "vm.raw"
    make_image(image, 2 * MIB, [(0, Random(5).randbytes(MIB))])
    made.add_images()
    made.backup()
    assert made.of_type(CheckpointPublished) == []
    assert doctor(made)["status"] == "warn"
    vault = tmp_path / "vault"
    vault.mkdir()
    made.ok("ledger", "place", "add", "usb", "--dir", vault)
    made.backup()
    (published,) = made.of_type(CheckpointPublished)
    assert published.places == ("usb",)
    assert doctor(made)["status"] == "ok"
    write_at(image, MIB, b"change")
    made.backup()
    assert len(made.of_type(CheckpointPublished)) == 1
    vault.rename(tmp_path / "away")
    assert made.run("ledger", "checkpoint").code == 3
    assert doctor(made)["status"] == "fail"
    (tmp_path / "away").rename(vault)
    made.ok("ledger", "checkpoint")
    made.home.ledger_key_file.unlink()
    assert doctor(made)["status"] == "fail"
