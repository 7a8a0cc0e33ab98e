"""Base tokens: good for the disk they were made of, and refused with a cause for all else."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from adapters.xen.records import Vdi, vdi_of
from adapters.xen.tokens import Base, parse, refusal, token
from tests.adapters.xen.records import vdi_record

LIVE = "11111111-0000-0000-0000-000000000001"
FROZEN = vdi_of("OpaqueRef:2", vdi_record(uuid="22222222-0000-0000-0000-000000000002", cbt_enabled=True))
BASE = Base(LIVE, "33333333-0000-0000-0000-000000000003", FROZEN.size_bytes)


def test_a_token_comes_back() -> None:
    """What a token says is uuids and a size; a reference of the pool's database is not in it."""
    text = token(LIVE, FROZEN)
    assert text is not None
    assert "OpaqueRef" not in text
    assert parse(text) == Base(LIVE, FROZEN.uuid, FROZEN.size_bytes)


def test_an_untracked_disk_has_no_token() -> None:
    """Without change tracking nothing can be asked later."""
    assert token(LIVE, replace(FROZEN, tracking=False)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "{}",
        '{"vdi":1}',
        "x" * 5000,
        "\ud800",
        msgspec.json.encode(BASE).decode().replace('"version":1', '"version":9'),
    ],
)
def test_what_is_no_token_is_none(text: str) -> None:
    """Foreign, cut off or of a version to come: none of it is guessed at."""
    assert parse(text) is None
    assert refusal(parse(text), LIVE, FROZEN) == "base-unreadable"


@pytest.mark.parametrize(
    ("base", "frozen", "cause"),
    [
        (BASE, FROZEN, None),
        (BASE, replace(FROZEN, size_bytes=FROZEN.size_bytes * 2), None),
        (BASE, replace(FROZEN, size_bytes=FROZEN.size_bytes - 1), "disk-shrunk"),
        (BASE, replace(FROZEN, tracking=False), "tracking-off"),
        (msgspec.structs.replace(BASE, vdi="other"), FROZEN, "disk-replaced"),
        (msgspec.structs.replace(BASE, snapshot=FROZEN.uuid), FROZEN, "base-is-this-snapshot"),
    ],
)
def test_when_a_base_is_good(base: Base, frozen: Vdi, cause: str | None) -> None:
    """For the same disk, tracked, not smaller, and another snapshot than the base's own; it may have grown."""
    assert refusal(base, LIVE, frozen) == cause
