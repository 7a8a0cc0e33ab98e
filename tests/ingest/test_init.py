"""Creating a repository: whole or not at all, and never over something else."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from catalog.home import Home
from ingest import wiring
from ingest.wiring import InitOptions, init_home
from tests.support.lab import Lab, holdfast, make_image


def test_a_new_home_is_ready(tmp_path: Path) -> None:
    """`init --json` says where and what it is; the directory and the key are the owner's only."""
    root = tmp_path / "deep" / "home"
    record = holdfast("--home", root, "init", "--chunk-bytes", "131072", "--json").json()
    assert record["home"] == str(root)
    assert (record["chunk_bytes"], record["encrypted"]) == (131_072, True)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert stat.S_IMODE((root / "keys" / "repository.key").stat().st_mode) == 0o600
    assert holdfast("--home", root, "machines", "--json").json() == []


def test_init_twice_is_a_conflict(tmp_path: Path) -> None:
    """The second init exits 8 and changes nothing."""
    root = tmp_path / "home"
    assert holdfast("--home", root, "init").code == 0
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    answer = holdfast("--home", root, "init", "--json")
    assert (answer.code, answer.problem()["code"]) == (8, "home-exists")
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_a_directory_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    """Somebody else's directory is no place for a repository; an empty one is."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    answer = holdfast("--home", tmp_path / "home", "init", "--json")
    assert (answer.code, answer.problem()["code"]) == (8, "home-not-empty")
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["letter.txt"]
    (tmp_path / "empty").mkdir()
    assert holdfast("--home", tmp_path / "empty", "init").code == 0


def test_an_init_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong half way, no half repository stays."""

    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wiring, "create_lake", fail)
    answer = holdfast("--home", tmp_path / "home", "init", "--json")
    assert (answer.code, answer.problem()["kind"]) == (9, "limit")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("chunk_bytes", [0, 1, 65_535, 100_000, 8 << 20])
def test_impossible_chunk_sizes_are_refused(tmp_path: Path, chunk_bytes: int) -> None:
    """A chunk is a power of two from 64 KiB to 4 MiB."""
    answer = holdfast("--home", tmp_path / "home", "init", "--chunk-bytes", str(chunk_bytes), "--json")
    assert (answer.code, answer.problem()["code"]) == (2, "chunk-size")
    assert list(tmp_path.iterdir()) == []


def test_without_encryption_chunks_are_readable(tmp_path: Path) -> None:
    """`--no-encryption` stores in the clear what encryption hides, and both restore."""
    text = b"a sentence that would be found in the clear " * 4000
    for encrypted in (True, False):
        lab = Lab(tmp_path / str(encrypted), encrypted=encrypted)
        image = lab.images / "vm.raw"
        make_image(image, 1 << 20, [(0, text[:100_000])])
        lab.add_images()
        lab.backup()
        found = any(b"a sentence that would" in pack.read_bytes() for pack in lab.packs())
        assert found is not encrypted
        assert lab.restored("latest") == image.read_bytes()


def test_a_home_is_found(tmp_path: Path) -> None:
    """The option comes before HOLDFAST_HOME, and that before the default."""
    assert Home.locate(tmp_path, {"HOLDFAST_HOME": "/x"}).root == tmp_path
    assert Home.locate(None, {"HOLDFAST_HOME": "/x"}).root == Path("/x")
    assert Home.locate(None, {}).root.name == "holdfast"


def test_no_home_is_said(tmp_path: Path) -> None:
    """A command without a repository exits 5 and says how to make one."""
    answer = holdfast("--home", tmp_path / "none", "machines", "--json")
    assert (answer.code, answer.problem()["code"]) == (5, "home-missing")
    assert "init" in answer.problem()["hint"]


def test_a_broken_home_file_is_said(tmp_path: Path) -> None:
    """A holdfast.json that does not parse is exit 4."""
    init_home(Home(tmp_path / "home"), InitOptions())
    (tmp_path / "home" / "holdfast.json").write_text(json.dumps({"format": 1}))
    answer = holdfast("--home", tmp_path / "home", "machines", "--json")
    assert (answer.code, answer.problem()["code"]) == (4, "home-config")
