"""Sources: added once they answer, listed, checked, removed; what they call things cannot hurt."""

from __future__ import annotations

import pytest

from catalog.domain import events as ev
from catalog.domain.ids import source_id
from ingest.sources import add_agents, remove_source
from tests.support.lab import MIB, Lab, make_image


def test_a_source_lives_and_goes(lab: Lab) -> None:
    """It is listed and checked, its removal keeps the restore points, and it can be added again."""
    make_image(lab.images / "vm.raw", MIB, [(0, b"1")])
    (row,) = lab.json("source", "add", "lab", "--kind", "image", "--path", lab.images)
    assert (row["machine"], row["disks"], row["size_bytes"]) == ("vm", 1, MIB)
    (listed,) = lab.json("source", "list")
    assert listed == {"source": "lab", "kind": "image", "settings": {"path": str(lab.images)}}
    assert lab.json("source", "check", "lab")["product"] == "Image folder"
    point = lab.backup_one()["restore_point"]
    lab.ok("source", "remove", "lab")
    assert lab.json("source", "list") == []
    assert lab.fails(5, "backup", "lab")["code"] == "source-unknown"
    assert lab.restored(point) == (lab.images / "vm.raw").read_bytes()
    lab.add_images()
    assert lab.backup_one()["disks"][0]["level"] == "incremental"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (["lab", "--kind", "floppy", "--path", "/srv"], 2, "source-kind"),
        (["lab", "--kind", "image"], 2, "source-settings"),
        (["lab", "--kind", "image", "--path", "/srv", "--qmp", "/srv/x"], 2, "source-settings"),
        (["a/b", "--kind", "image", "--path", "/srv"], 2, "source-name"),
        (["x" * 65, "--kind", "image", "--path", "/srv"], 2, "source-name"),
        (["lab", "--kind", "image", "--path", "/nowhere/at/all"], 5, "image-missing"),
        (["lab", "--kind", "qemu", "--qmp", "/nowhere/qmp"], 7, None),
    ],
)
def test_what_cannot_be_a_source_is_refused(lab: Lab, arguments: list[str], exit_code: int, code: str | None) -> None:
    """Wrong settings, names and places have their own codes, and nothing is recorded."""
    problem = lab.fails(exit_code, "source", "add", *arguments)
    assert code in (None, problem["code"])
    assert lab.of_type(ev.SourceAdded) == []


def test_a_name_is_taken_once(lab: Lab) -> None:
    """A second source of the same name is a conflict."""
    make_image(lab.images / "vm.raw", MIB, [])
    lab.add_images()
    arguments = ["source", "add", "lab", "--kind", "image", "--path", lab.images]
    assert lab.fails(8, *arguments)["code"] == "source-exists"  # type: ignore[arg-type]  # a path among texts


def test_an_unknown_machine_is_said(lab: Lab) -> None:
    """The error names what the source does show, and gives a hint."""
    make_image(lab.images / "vm.raw", MIB, [])
    lab.add_images()
    problem = lab.fails(5, "backup", "lab/other")
    assert problem["code"] == "machine-unknown"
    assert "vm" in problem["detail"]
    assert problem["hint"]


def test_names_cannot_steer_a_terminal(lab: Lab) -> None:
    """Escapes in an image's name are taken out of every text, and stay exact in JSON."""
    name = "vm\x1b[2J\x07\x9b31m"
    make_image(lab.images / f"{name}.raw", MIB, [(0, b"1")])
    lab.ok("source", "add", "lab", "--kind", "image", "--path", lab.images)
    lab.ok("backup", "lab")
    for command in (["machines"], ["points"], ["show", "latest"], ["events"], ["sql", "SELECT name FROM machines"]):
        answer = lab.ok(*command)
        assert not {"\x1b", "\x07", "\x9b"} & set(answer.out + answer.err), command
    assert lab.json("machines")[0]["name"] == name
    problem = lab.run("backup", f"lab/{name}x")
    assert problem.code == 5
    assert "\x1b" not in problem.err


def test_the_name_of_agents_is_kept_for_them(lab: Lab) -> None:
    """The source of agents is recorded once, and again after it was removed."""
    with lab.services() as services:
        add_agents(services)
        add_agents(services)
        remove_source(services, "agent")
        add_agents(services)
        stream = services.log.stream(source_id(services.config.repository_id, "agent"))
        kinds = [type(event).__name__ for event in stream]
    assert kinds == ["SourceAdded", "SourceRemoved", "SourceAdded"]
