"""What a sealed worker may ask of the kernel, tried directly and not through SQL; with all layers and less."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from catalog.answers import AnswerFormat
from catalog.sql.door.answer import SqlQuestion
from catalog.sql.door.door import DoorLimits, SqlDoor
from catalog.sql.door.layers import Layer
from catalog.sql.door.syscalls import _DENIED
from catalog.sql.entrance import Entrance
from tests.security.sql.canaries import Canaries
from tests.support.leaky_zygote import leaky

HEADERS = {
    1: Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    2: Path("/usr/include/asm-generic/unistd.h"),
}
NUMBER = re.compile(r"#define __NR(?:3264)?_(\w+)\s+(\d+)")
OF_FILES = {"read", "write", "create", "truncate", "unlink", "rename", "mkdir", "chmod", "reopen for writing"}
OF_CALLS = {"tcp", "udp", "unix", "abstract", "exec", "fork", "kill", "memfd", "chmod", "setuid", "unlink", "rename"}


def probed(canaries: Canaries, enters: Entrance, *without: str) -> dict[str, str]:
    """What became of each attempt: ok, or the error's number."""
    with SqlDoor(DoorLimits(), spares=0, new_zygote=leaky(("probe", *without))) as door:
        query = json.dumps({"file": str(canaries.secret), "tcp": canaries.tcp_port, "unix": str(canaries.unix)})
        with door.ask(SqlQuestion(query, AnswerFormat.JSON), enters) as answer:
            found: dict[str, str] = json.loads(b"".join(answer))
    return found


def succeeded(found: dict[str, str]) -> set[str]:
    """The attempts that worked."""
    return {name for name, result in found.items() if result == "ok"}


def test_sealed_processes_do_nothing_else(canaries: Canaries, whole: Entrance) -> None:
    """With all layers every attempt fails."""
    before = canaries.state()
    found = probed(canaries, whole)
    assert set(found) >= OF_FILES | OF_CALLS
    assert succeeded(found) == set()
    assert canaries.state() == before
    assert not canaries.called()


@pytest.mark.parametrize("layer", [layer for layer in Layer if layer is not Layer.NO_OPEN])
def test_one_layer_less_is_still_enough(canaries: Canaries, whole: Entrance, layer: Layer) -> None:
    """Without any one layer no file is read or changed; only seccomp stops sockets that are files."""
    before = canaries.state()
    found = succeeded(probed(canaries, whole, layer))
    without_seccomp = {"udp", "unix", "memfd", "fork"}
    assert found <= (without_seccomp if layer is Layer.SECCOMP else set()), found
    assert canaries.state() == before
    assert canaries.called() == ("unix" in found)


def test_attempts_are_real(canaries: Canaries, whole: Entrance) -> None:
    """Without the layers the attempts work, so that their failing says something."""
    layers = ("landlock, natively", Layer.NO_OPEN, Layer.SECCOMP, Layer.USER, Layer.LIMITS, Layer.NETWORK)
    found = succeeded(probed(canaries, whole, *layers))
    assert {"read", "create", "tcp", "unix", "exec", "fork", "memfd"} <= found


@pytest.mark.parametrize("column", HEADERS)
def test_numbers_are_the_kernels(column: int) -> None:
    """Every number is the one that the kernel's headers give its name."""
    if not HEADERS[column].exists():
        pytest.skip("no kernel headers here")
    known = {name: int(number) for name, number in NUMBER.findall(HEADERS[column].read_text())}
    rows = [line.split() for line in _DENIED.splitlines() if line and not line.startswith("#")]
    ours = {row[0]: int(row[column]) for row in rows if row[column] != "-"}
    assert len(ours) > 100
    assert {name: number for name, number in ours.items() if known.get(name, number) != number} == {}
    missing = {row[0] for row in rows if row[column] == "-"} & set(known)
    assert missing == set()
