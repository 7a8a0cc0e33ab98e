"""The command line as others use it: help and JSON everywhere, data on stdout, talk on stderr, exit codes."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer.main

from catalog.cli.app import EXIT_BROKEN_PIPE, app
from storage.errors import EXIT_CODES
from tests.support.lab import MIB, REPOSITORY, Lab, flip, holdfast, make_image, write_at


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found += _commands(command, (*path, name))  # type: ignore[arg-type]  # it has commands
        else:
            found.append((*path, name))
    return found


COMMANDS = _commands(typer.main.get_group(app))  # type: ignore[arg-type]  # typer's own click


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A repository with a machine and two restore points."""
    made = Lab(tmp_path)
    image = made.images / "vm.raw"
    make_image(image, 2 * MIB, [(0, Random(91).randbytes(MIB))])
    made.add_images()
    made.backup()
    write_at(image, MIB, b"change")
    made.backup()
    return made


def test_every_command_is_there() -> None:
    """The commands that people script against exist."""
    names = {" ".join(command) for command in COMMANDS}
    assert names >= {
        "backup", "demo", "doctor", "events", "export", "init", "key export", "key import", "machines", "points",
        "rebuild index", "restore", "show", "source add", "source check", "source list", "source remove", "sql",
        "synth", "verify",
    }  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    """`--help` exits 0, says what the command is for, and offers `--json`."""
    answer = holdfast(*command, "--help")
    assert answer.code == 0
    assert "Usage:" in answer.out
    assert "--json" in answer.out
    assert answer.err == ""


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (["show", "beefbeef"], 5, "restore-point-unknown"),
        (["show"], 2, "usage"),
        (["points", "nobody"], 5, "machine-unknown"),
        (["events", "--limit", "0"], 2, "page-limit"),
        (["sql", "SELEC 1"], 2, "sql-syntax"),
        (["sql", "SELECT * FROM nothing"], 2, "sql-unknown-name"),
        (["sql", "DROP VIEW chunks"], 2, "sql-not-a-query"),
        (["no-such-command"], 2, "usage"),
        (["key", "import", "/nowhere/key"], 5, "system"),
        (["backup", "nowhere"], 5, "source-unknown"),
    ],
)
def test_errors_are_json_objects(lab: Lab, arguments: list[str], exit_code: int, code: str) -> None:
    """With `--json` an error is one object on stderr with all its fields, and stdout stays empty."""
    answer = lab.run(*arguments, "--json")
    problem = answer.problem()
    assert problem.keys() == {"kind", "code", "title", "detail", "hint", "exit"}
    assert (answer.code, problem["exit"], problem["code"]) == (exit_code, exit_code, code)
    assert EXIT_CODES[problem["kind"]] == exit_code
    assert answer.raw == b""


def test_errors_in_text_say_what_to_do(lab: Lab) -> None:
    """Without `--json` the same is said in words, with the code and the exit code."""
    answer = lab.run("show", "beefbeef")
    assert answer.err.startswith("error: ")
    assert "[restore-point-unknown, exit 5]" in answer.err


def test_pipes_get_plain_tables(lab: Lab) -> None:
    """Outside a terminal answers are tab-separated, uncut and uncoloured."""
    for command in (["machines"], ["points"], ["events"], ["source", "list"], ["doctor"]):
        lines = lab.ok(*command).out.splitlines()
        columns = lines[0].count("\t")
        assert columns > 0
        assert all(line.count("\t") == columns for line in lines), command
        assert "\x1b" not in "".join(lines)


def test_stdout_is_data_only(lab: Lab) -> None:
    """Every command's JSON parses as a whole: no progress, no warning, no greeting in it."""
    point = lab.json("points")[0]["restore_point"]
    for command in (
        ["machines"], ["points"], ["points", "vm"], ["show", point], ["events"], ["source", "list"], ["doctor"],
        ["source", "check", "lab"], ["sql", "SELECT 1 AS one"], ["verify"], ["synth", "vm", "--plan"],
        ["rebuild", "index"], ["key", "export"], ["backup", "lab"],
    ):  # fmt: skip
        assert lab.json(*command) is not None, command


ASKED = "SELECT restore_point_id, machine, size_bytes, recorded_at FROM restore_points ORDER BY position"


def _from_csv(raw: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(raw.decode())))


def _from_table(raw: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(raw.decode()), delimiter="\t"))


READERS: dict[str, Callable[[bytes], list[dict[str, object]]]] = {
    "table": _from_table,  # type: ignore[dict-item]  # texts are objects
    "csv": _from_csv,  # type: ignore[dict-item]  # likewise
    "json": json.loads,
    "arrow": lambda raw: pa.ipc.open_stream(raw).read_all().to_pylist(),  # type: ignore[no-any-return]  # untyped
    "parquet": lambda raw: pq.read_table(pa.BufferReader(raw)).to_pylist(),  # type: ignore[no-any-return]  # untyped
}


@pytest.mark.parametrize("answer_format", READERS)
def test_sql_answers_in_five_formats(lab: Lab, answer_format: str) -> None:
    """Each format is read back to the same rows."""
    rows = READERS[answer_format](lab.ok("sql", ASKED, "--format", answer_format).raw)
    expected = lab.json("sql", ASKED)
    assert len(rows) == len(expected) == 2
    for row, wanted in zip(rows, expected, strict=True):
        assert row.keys() == wanted.keys()
        assert (row["restore_point_id"], row["machine"]) == (wanted["restore_point_id"], "vm")
        assert int(str(row["size_bytes"])) == wanted["size_bytes"] == 2 * MIB
        assert str(row["recorded_at"])[:10] == wanted["recorded_at"][:10]


@pytest.mark.parametrize("answer_format", READERS)
def test_sql_without_rows_keeps_its_columns(lab: Lab, answer_format: str) -> None:
    """An empty answer is an empty table in every format, not an error."""
    raw = lab.ok("sql", "SELECT machine FROM restore_points WHERE false", "--format", answer_format).raw
    assert READERS[answer_format](raw) == []


def test_sql_as_of_a_position_and_a_time(lab: Lab) -> None:
    """`--as-of` answers as the catalog stood at a position, or at the last one of a time."""
    committed = lab.json("sql", "SELECT position, recorded_at FROM events WHERE topic LIKE 'RestorePointCommitted/%'")
    query = "SELECT count(*) AS n FROM restore_points"
    first = committed[0]
    for as_of, count in ((first["position"] - 1, 0), (first["position"], 1), (first["recorded_at"], 1)):
        assert lab.json("sql", query, "--as-of", str(as_of)) == [{"n": count}]
    assert lab.run("sql", query, "--as-of", "yesterday", "--json").problem()["code"] == "as-of-invalid"


def test_events_page(lab: Lab) -> None:
    """`--after` and `--limit` walk the log without a gap or a repeat; a machine's events are a part of it."""
    every = [row["position"] for row in lab.json("events", "--limit", "1000")]
    walked: list[int] = []
    while page := lab.json("events", "--limit", "7", "--after", str(walked[-1] if walked else 0)):
        walked += [row["position"] for row in page]
    assert walked == every == list(range(1, len(every) + 1))
    assert 0 < len(lab.json("events", "--machine", "vm")) < len(every)


def test_doctor_is_content_with_a_fresh_home(lab: Lab) -> None:
    """Nothing fails in a sound home."""
    assert {check["check"] for check in lab.json("doctor") if check["status"] == "fail"} == set()


@pytest.mark.parametrize("fault", ["key", "events", "index", "packs"])
def test_doctor_names_the_fault(lab: Lab, fault: str) -> None:
    """A planted fault fails the check of its name first, with a way out; doctor exits 4 and still runs the others."""
    if fault == "key":
        lab.home.key_file.chmod(0o644)
    elif fault == "events":
        import sqlite3

        database = sqlite3.connect(lab.home.event_file)
        database.execute("UPDATE chain SET leaf = zeroblob(32) WHERE notification_id = 3")
        database.commit()
        database.close()
    elif fault == "index":
        flip(lab.tables("events")[0], 100)
    else:
        lab.packs()[0].unlink()
    answer = lab.run("doctor", "--json")
    assert answer.code == 4
    failed = [check for check in answer.json() if check["status"] == "fail"]
    assert failed[0]["check"] == fault
    assert len(failed) == 1 or fault == "events"  # which others read
    assert len(answer.json()) >= 7
    assert failed[0]["detail"]
    assert failed[0]["hint"]


def test_a_lost_key_comes_back(lab: Lab) -> None:
    """What `key export` printed brings the key back after its file is gone; another repository's is refused."""
    text = lab.ok("key", "export").out
    lab.ok("key", "export", "--to", lab.root / "printed")
    assert (lab.root / "printed").read_text() == text
    assert (lab.root / "printed").stat().st_mode & 0o077 == 0
    lab.home.key_file.unlink()
    assert lab.fails(6, "backup", "lab")["code"] == "key-missing"
    other = Lab(lab.root / "other")
    other.ok("key", "export", "--to", lab.root / "foreign")
    assert lab.fails(6, "key", "import", lab.root / "foreign")["code"] == "key-mismatch"
    lab.ok("key", "import", lab.root / "printed")
    assert lab.restored("latest") == (lab.images / "vm.raw").read_bytes()


def test_a_rebuilt_index_has_the_same_rows(lab: Lab) -> None:
    """`rebuild index` gives every view the rows that it had."""
    views = ("machines", "disks", "snapshots", "extents", "chunks", "disk_points", "restore_points", "events")
    lab.ok("verify")
    lab.ok("machines")
    before = {view: lab.json("sql", f"SELECT * FROM {view} ORDER BY ALL") for view in views}  # noqa: S608 - our names
    assert all(before.values())
    lab.ok("rebuild", "index")
    assert {view: lab.json("sql", f"SELECT * FROM {view} ORDER BY ALL") for view in views} == before  # noqa: S608


def test_the_key_is_nowhere_but_in_its_file(lab: Lab) -> None:
    """The master key, as bytes, hex, base64 or base32, is in no event, file, output, error or repr but its own."""
    master = base64.b64decode(json.loads(lab.home.key_file.read_text())["key"])
    canaries = (
        master, master.hex().encode(), base64.b64encode(master), base64.b32encode(master)[:40],
    )  # fmt: skip
    lab.run("verify")
    lab.run("restore", "latest", "--to", lab.root / "out.raw")
    commands = (
        ["machines"], ["points"], ["show", "latest"], ["events", "--limit", "1000"], ["source", "list"], ["doctor"],
        ["backup", "lab"], ["sql", "SELECT body FROM events"], ["backup", "nobody"], ["key", "import", lab.images],
    )  # fmt: skip
    told = b""
    for command in commands:
        for option in ((), ("--json",)):
            answer = lab.run(*command, *option)  # type: ignore[arg-type]  # a path among texts
            told += answer.raw + answer.err.encode()
    with lab.services() as services:
        told += repr(services).encode() + repr(services.store).encode() + repr(vars(services.store)).encode()
    told += b"".join(repr(event).encode() for event in lab.recorded())
    files = [path for path in lab.home.root.rglob("*") if path.is_file() and path != lab.home.key_file]
    assert len(files) > 5
    for canary in canaries:
        assert canary not in told
        assert [path for path in files if canary in path.read_bytes()] == []


def test_a_reader_that_leaves_early_is_no_error(lab: Lab) -> None:
    """`holdfast events | head -1` ends without a traceback."""
    command = [sys.executable, "-c", "from ingest.cli import main; main()", "--home", str(lab.home.root)]
    query = "SELECT range AS n FROM range(1000000)"
    process = subprocess.Popen([*command, "sql", query], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"n\n"
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), err) == (EXIT_BROKEN_PIPE, b"")


def test_a_terminal_gets_a_table(lab: Lab) -> None:
    """On a terminal the same answer is an aligned table; controls in names are still taken out."""
    import pty

    make_image(lab.images / "evil\x1b[2J.raw", MIB, [(0, b"1")])
    lab.backup(target="lab")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from ingest.cli import main; main()", "--home", str(lab.home.root), "machines"]
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, cwd=REPOSITORY, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(ours)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert "size bytes" in shown.decode()
    assert b"\x1b[2J" not in shown
    assert b"2.0 MiB" in shown
