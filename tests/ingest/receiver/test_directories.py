"""Directories of files: backed up as an archive that any tar reads, restored file by file."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from random import Random

import pytest

from catalog.domain import events as ev
from ingest.agent.walk import MAX_DEPTH
from tests.support.agent_lab import AgentLab, Receiving
from tests.support.file_tree import assert_same_tree, make_tree
from tests.support.lab import CHUNK, KIB, MIB


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of every kind."""
    path = tmp_path / "tree"
    make_tree(path, Random(1))
    return path


def _extracted(agents: AgentLab, point: str) -> Path:
    archive = agents.lab.restore(point)
    target = archive.with_suffix(".files")
    target.mkdir()
    command = ["tar", "--xattrs", "--xattrs-include=*", "-xpf", archive, "-C", target]
    subprocess.run(command, check=True, capture_output=True)
    return target


def test_every_file_comes_back(agents: AgentLab, door: Receiving, tree: Path) -> None:
    """Content, names, modes, owners, times, links, holes and attributes are as they were, after each backup."""
    token = agents.token("web")
    first = door.sent(token, "web", "--directory", tree)
    assert (first["result"], first["disks"][0]["level"]) == ("complete", "full")
    assert_same_tree(tree, _extracted(agents, first["restore_point"]))
    (tree / "sub" / "file-7").write_bytes(b"another length")
    (tree / "small").unlink()
    (tree / "new").mkdir()
    (tree / "new" / "file").write_bytes(Random(2).randbytes(200_000))
    second = door.sent(token, "web", "--directory", tree)
    assert (second["result"], second["disks"][0]["cause"]) == ("complete", "compared")
    assert_same_tree(tree, _extracted(agents, second["restore_point"]))


def test_unchanged_files_cost_nothing(agents: AgentLab, door: Receiving, tree: Path) -> None:
    """An unchanged directory changes no block; a changed file costs about itself, sent and stored, if it grew too."""
    token = agents.token("web")
    door.sent(token, "web", "--directory", tree)
    again = door.sent(token, "web", "--directory", tree)
    assert again["disks"][0]["changed_bytes"] == 0
    (tree / "large").write_bytes(Random(3).randbytes(900_000))
    grown = door.sent(token, "web", "--directory", tree)
    shown = agents.lab.json("show", grown["restore_point"])["disks"][0]
    assert shown["stored_bytes"] < 900_000 + 4 * CHUNK
    assert grown["sent_bytes"] < 900_000 + 80 * CHUNK
    assert_same_tree(tree, _extracted(agents, grown["restore_point"]))


def test_what_cannot_be_read_makes_it_partial(agents: AgentLab, door: Receiving, tree: Path) -> None:
    """What could not be read is named, in the catalog too; the result is partial and the exit code says so."""
    deep = tree
    for _ in range(MAX_DEPTH + 1):
        deep /= "d"
    deep.mkdir(parents=True)
    made = door.sent(agents.token("web"), "web", "--directory", tree, code=3)
    assert made["result"] == "partial"
    (left_out,) = made["left_out"]
    assert "nested too deep" in left_out["reason"]
    (known,) = agents.lab.json("show", made["restore_point"])["left_out"]
    assert known == left_out


def test_what_changes_meanwhile_makes_it_partial(agents: AgentLab, door: Receiving, tree: Path) -> None:
    """A file that changes while it is read is told with the point, and the next run has it whole."""
    growing = tree / "growing"
    growing.write_bytes(b"log")
    token = agents.token("web")
    writer = subprocess.Popen(["sh", "-c", f"while sleep 0.01; do date +%N >>{growing}; done"])
    try:
        made = door.sent(token, "web", "--directory", tree, code=3)
    finally:
        writer.kill()
        writer.wait()
    assert [one["disk"] for one in made["left_out"]] == [f"{tree}: files that changed"]
    assert "growing (it changed while it was read)" in made["left_out"][0]["reason"]
    again = door.sent(token, "web", "--directory", tree)
    assert_same_tree(tree, _extracted(agents, again["restore_point"]))


def test_a_directory_without_a_snapshot_says_so(agents: AgentLab, door: Receiving, tree: Path) -> None:
    """A live directory is crash consistent at best, and the event says why."""
    made = door.sent(agents.token("web"), "web", "--directory", tree)
    assert made["consistency"] == "crash"
    assert agents.lab.of_type(ev.SnapshotCreated)[-1].fallback_cause == "agent-not-frozen"


def test_a_device_and_a_directory_of_one_name_are_different_disks(
    agents: AgentLab, door: Receiving, tmp_path: Path
) -> None:
    """A path that was a file and becomes a directory is another disk, read in full."""
    path = tmp_path / "thing"
    path.write_bytes(Random(5).randbytes(MIB))
    os.truncate(path, 64 * MIB)
    token = agents.token("web")
    door.sent(token, "web", "--device", path)
    path.unlink()
    path.mkdir()
    (path / "file").write_bytes(b"x" * 100 * KIB)
    made = door.sent(token, "web", "--directory", path)
    assert made["disks"][0]["cause"] == "disk-replaced"
    assert_same_tree(path, _extracted(agents, made["restore_point"]))
