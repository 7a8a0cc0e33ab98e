"""The server is gone: the store and the key bring everything back that was acknowledged."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from random import Random

import pytest

from catalog.home import Home
from catalog.log import EventLog
from ingest.wiring import opened
from tests.support.chunk_store import BytesDisk
from tests.support.lab import CHUNK, MIB, Lab, holdfast, start_holdfast


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """One machine, three points, a synthetic full, a verification, and a printed key."""
    lab = Lab(tmp_path)
    image = lab.images / "web.raw"
    image.write_bytes(Random(1).randbytes(3 * MIB))
    lab.ok("source", "add", "lab", "--kind", "image", "--path", lab.images)
    for salt in range(3):
        lab.ok("backup", "lab")
        with image.open("r+b") as file:
            file.seek(salt * MIB)
            file.write(Random(salt).randbytes(100_000))
    lab.ok("synth", "web")
    lab.ok("verify", "latest")
    lab.ok("key", "export", "--to", lab.root / "key.txt")
    return lab


def recovered(lab: Lab, *options: str, name: str = "new") -> Home:
    """Recover from the lab's store into a home beside it."""
    home = Home(lab.root / name)
    answer = holdfast(
        "--home", home.root, "recover", "--from", lab.home.store_dir, "--key", lab.root / "key.txt", *options
    )
    assert answer.code == 0, answer.err
    return home


def heads(home: Home, until: int) -> list[bytes]:
    """The chain's head at each position."""
    with EventLog.open(home.event_file) as log:
        return [log.chain_head(position) for position in range(1, until + 1)]


@pytest.mark.parametrize("options", [(), ("--copy",)])
def test_everything_acknowledged_comes_back(lab: Lab, options: tuple[str, ...]) -> None:
    """Each event with the same chain, each restore point byte for byte, and backups go on from there."""
    with EventLog.open(lab.home.event_file) as log:
        end = log.position()
    before, points = heads(lab.home, end), lab.json("points")
    lab.ok("restore", "latest", "--to", lab.root / "before.raw")
    with EventLog.open(lab.home.event_file) as log:
        end = log.position()
    before = heads(lab.home, end)
    if not options:
        (lab.root / "gone").mkdir()
    shutil.move(lab.home.store_dir, lab.root / "store")
    shutil.rmtree(lab.home.root)
    (lab.home.root).mkdir()
    shutil.move(lab.root / "store", lab.home.store_dir)
    home = recovered(lab, *options)
    assert heads(home, end) == before
    assert holdfast("--home", home.root, "points", "--json").json() == points
    answer = holdfast("--home", home.root, "restore", "latest", "--to", lab.root / "after.raw")
    assert answer.code == 0, answer.err
    assert (lab.root / "after.raw").read_bytes() == (lab.root / "before.raw").read_bytes()
    answer = holdfast("--home", home.root, "backup", "lab", "--json")
    assert answer.code == 0, answer.err
    assert answer.json()[0]["disks"][0]["level"] == "incremental"
    assert holdfast("--home", home.root, "verify").code == 0
    assert home.store_dir.is_symlink() == (not options)


def test_a_recovery_is_recorded_once(lab: Lab) -> None:
    """The new log says up to where it was made anew, and a second recovery finds the first."""
    home = recovered(lab)
    with EventLog.open(home.event_file) as log:
        topics = [type(one.event).__name__ for one in log.follow()]
    assert topics.count("RepositoryRecovered") == 1
    assert topics[-1] == "RepositoryRecovered"
    again = recovered(lab, name="newer")
    with EventLog.open(again.event_file) as log:
        assert [type(one.event).__name__ for one in log.follow()] == topics


def test_a_killed_recovery_goes_on(lab: Lab) -> None:
    """Killed at any moment there is no half a home; the next attempt ends with the same log."""
    store, key = lab.home.store_dir, lab.root / "key.txt"
    home = Home(lab.root / "new")
    for delay in (0.0, 0.02, 0.05, 0.1):
        process = start_holdfast("--home", home.root, "recover", "--from", store, "--key", key)
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        if home.config_file.exists():
            break
        assert not home.root.exists()
    if not home.config_file.exists():
        recovered(lab)
    assert holdfast("--home", home.root, "doctor").code == 0
    assert holdfast("--home", home.root, "verify").code == 0


def test_a_recovery_killed_over_its_index_goes_on(lab: Lab) -> None:
    """What the attempt left of an index is no index: the next one lays it out anew."""
    index = Home(lab.root / ".new.recovering").lake_dir
    (index / "data").mkdir(parents=True)
    (index / "lake.sqlite.0.new").touch()
    made = recovered(lab)
    assert [entry.name for entry in made.lake_dir.glob("*.new")] == []
    assert holdfast("--home", made.root, "doctor").code == 0


def test_an_attempt_with_other_options_leaves_nothing_behind(lab: Lab) -> None:
    """A store half copied is not taken for the store, nor the one that an earlier attempt named for this one's."""
    store = Home(lab.root / ".new.recovering").store_dir
    (store / "packs").mkdir(parents=True)
    home, key = lab.root / "new", lab.root / "key.txt"
    answer = holdfast("--home", home, "recover", "--from", lab.home.store_dir, "--key", key, "--json")
    assert (answer.code, answer.problem()["code"]) == (8, "recover-copy")
    shutil.rmtree(store)
    store.symlink_to(lab.images, target_is_directory=True)
    made = recovered(lab)
    assert made.store_dir.resolve() == lab.home.store_dir.resolve()
    assert holdfast("--home", made.root, "verify").code == 0


def test_another_key_or_place_is_refused(lab: Lab) -> None:
    """A key that is not the repository's, a folder that is no store, and a home that exists are errors."""
    other = Lab(lab.root / "other")
    other.ok("key", "export", "--to", lab.root / "other.txt")
    home, store = lab.root / "new", lab.home.store_dir
    for code, kind, arguments in (
        (6, "key-mismatch", ("--from", store, "--key", lab.root / "other.txt")),
        (5, "segments-missing", ("--from", lab.images, "--key", lab.root / "key.txt")),
    ):
        answer = holdfast("--home", home, "recover", *arguments, "--json")
        assert (answer.code, answer.problem()["code"]) == (code, kind)
        assert not home.exists()
    answer = holdfast("--home", lab.home.root, "recover", "--from", store, "--key", lab.root / "key.txt", "--json")
    assert (answer.code, answer.problem()["code"]) == (8, "home-exists")


def test_what_is_lost_is_told(lab: Lab) -> None:
    """Behind a damaged segment nothing is invented: what came before is there, and the rest is named."""
    segments = sorted((lab.home.store_dir / "events").iterdir())
    victim = segments[len(segments) // 2]
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.chmod(0o600)
    victim.write_bytes(data)
    home = lab.root / "new"
    answer = holdfast("--home", home, "recover", "--from", lab.home.store_dir, "--key", lab.root / "key.txt", "--json")
    assert answer.code == 3
    report = answer.json()
    assert victim.name in " ".join(report["lost"])
    assert report["position"] == int(victim.name.split("-")[0]) - 1
    assert holdfast("--home", home, "doctor").code == 0


def test_a_recovered_home_signs_on_and_agrees_with_kept_checkpoints(lab: Lab) -> None:
    """The signing key comes back sealed in the store, and checkpoints kept elsewhere say that nothing is missing."""
    (lab.root / "worm").mkdir()
    lab.ok("ledger", "place", "add", "worm", "--dir", lab.root / "worm")
    lab.ok("ledger", "checkpoint")
    key = lab.ok("ledger", "key").out
    lab.ok("ship")
    lab.ok("backup", "lab")
    home = recovered(lab)
    for arguments in (("ledger", "check"), ("ledger", "check", "--place", "worm"), ("ledger", "checkpoint")):
        answer = holdfast("--home", home.root, *arguments)
        assert answer.code == 0, answer.err
    assert holdfast("--home", home.root, "ledger", "key").out == key
    secret = home.ledger_key_file.read_bytes()
    assert home.ledger_key_file.stat().st_mode & 0o777 == 0o600
    assert not any(secret.strip() in path.read_bytes() for path in home.store_dir.rglob("*") if path.is_file())


def test_the_doctor_knows_what_the_store_lacks(lab: Lab) -> None:
    """Events that are not in the store yet are a warning, and a store that has more than the log is a failure."""
    assert _finding(lab)["status"] == "ok"
    segments = sorted((lab.home.store_dir / "events").iterdir())
    last = segments[-1].read_bytes()
    segments[-1].unlink()
    assert _finding(lab)["status"] == "warn"
    lab.ok("ship")
    assert _finding(lab)["status"] == "ok"
    longer = lab.home.store_dir / "events" / "000000000001-000000999999.seg"
    longer.write_bytes(last)
    assert _finding(lab)["status"] == "fail"
    longer.unlink()
    newest = max((lab.home.store_dir / "events").iterdir())
    newest.chmod(0o600)
    newest.write_bytes(segments[0].read_bytes())
    assert "another history" in _finding(lab)["detail"]


def _finding(lab: Lab) -> dict[str, str]:
    checks: list[dict[str, str]] = lab.run("doctor", "--json").json()
    return next(check for check in checks if check["check"] == "shipped")


def test_a_pack_that_the_index_knows_and_the_record_does_not_is_adopted(lab: Lab) -> None:
    """A run that died after the chunk index took its pack in, and before the event, leaves nothing unrecorded."""
    with opened(lab.home) as services:
        with services.store.writer() as writer:
            disk = BytesDisk(Random(9).randbytes(MIB))
            for _ in writer.write(disk, [(0, MIB // CHUNK)]):
                pass
        orphans = services.packs.unrecorded(services.store.packs())
        assert len(orphans) >= 1
    lab.ok("backup", "lab")
    with opened(lab.home) as services:
        assert services.packs.unrecorded(services.store.packs()) == []
    lab.ok("verify", "--level", "stored")
