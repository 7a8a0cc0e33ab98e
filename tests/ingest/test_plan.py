"""How a disk will be read is decided by facts alone, and every full has its cause."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.port import DiskFact, Tracked, Untracked
from catalog.domain.facts import DiskPoint
from ingest.plan import Full, Incremental, Plan, after_snapshot, base_token, plan_disk

FACT = DiskFact("vda", "vda", 1 << 30, "disk-1", "bitmap", 65_536)
LAST = DiskPoint(
    disk_id=UUID(int=1),
    label="vda",
    identity="disk-1",
    seq=4,
    parent_seq=3,
    run_id=UUID(int=2),
    level="incremental",
    cause="tracked",
    size_bytes=1 << 30,
    chunk_bytes=262_144,
    changed_bytes=0,
    read_bytes=0,
    new_chunks=0,
    stored_bytes=0,
    chunk_rows=0,
    zero_blocks=0,
    extent_rows=0,
    batches=0,
    merkle_root=b"",
    base_token="token",
)
ODD = msgspec.structs.replace(LAST, size_bytes=(1 << 30) - 65_536)
UNTRACKED = msgspec.structs.replace(LAST, base_token=None)


def _plan(fact: DiskFact = FACT, last: DiskPoint | None = LAST, *, full: bool = False) -> Plan:
    return plan_disk(fact, last, full_requested=full, chunk_bytes=262_144)


@pytest.mark.parametrize(
    ("plan", "cause"),
    [
        (_plan(last=None), "first-backup"),
        (_plan(full=True), "full-requested"),
        (_plan(replace(FACT, identity="disk-2")), "disk-replaced"),
        (_plan(replace(FACT, size_bytes=1 << 31, tracking="compare")), "disk-resized"),
        (_plan(replace(FACT, size_bytes=1 << 31), last=ODD), "disk-resized"),
        (after_snapshot(_plan(), Tracked(), 1 << 29), "disk-resized"),
        (after_snapshot(_plan(replace(FACT, size_bytes=ODD.size_bytes), last=ODD), Tracked(), 1 << 31), "disk-resized"),
        (_plan(replace(FACT, size_bytes=1 << 29)), "disk-resized"),
        (_plan(last=msgspec.structs.replace(LAST, chunk_bytes=65_536)), "chunk-size-changed"),
        (_plan(last=UNTRACKED), "no-base-token"),
        (after_snapshot(_plan(), Untracked("bitmap-inconsistent"), FACT.size_bytes), "bitmap-inconsistent"),
        (after_snapshot(_plan(last=UNTRACKED), Untracked("cbt-licence"), FACT.size_bytes), "cbt-licence"),
        (after_snapshot(_plan(last=UNTRACKED), Untracked("no-base"), FACT.size_bytes), "no-base-token"),
        (after_snapshot(_plan(last=None), Untracked("cbt-licence"), FACT.size_bytes), "first-backup"),
    ],
)
def test_every_full_has_its_cause(plan: Plan, cause: str) -> None:
    """What rules an incremental out is named by a stable code, and hands no base to the source."""
    assert plan == Full(cause)
    assert base_token(plan) is None


def test_tracked_and_compared_incrementals() -> None:
    """A tracking source gets the last point's token, as does one that compares by itself; another is compared here."""
    tracked = after_snapshot(_plan(), Tracked(), FACT.size_bytes)
    assert tracked == Incremental(LAST, tracked=True, cause="tracked")
    assert base_token(tracked) == "token"
    there = after_snapshot(_plan(replace(FACT, tracking="compare")), Tracked(), FACT.size_bytes)
    assert there == Incremental(LAST, tracked=True, cause="compared")
    assert base_token(there) == "token"
    untold = msgspec.structs.replace(LAST, base_token=None)
    compared = _plan(replace(FACT, tracking="compare"), untold)
    assert compared == Incremental(untold, tracked=False, cause="compared")
    assert after_snapshot(compared, Untracked("compare-only"), FACT.size_bytes) == compared
    assert base_token(compared) is None


def test_a_grown_disk_of_a_tracking_source_stays_incremental() -> None:
    """Whole chunks before, so that none of them grew: what lies behind them is told by the source, or zeros."""
    plan = _plan(replace(FACT, size_bytes=1 << 31))
    assert plan == Incremental(LAST, tracked=True, cause="tracked")
    assert after_snapshot(plan, Tracked(), 1 << 31) == plan
    assert after_snapshot(plan, Untracked("disk-resized"), 1 << 31) == Full("disk-resized")


@given(
    st.sampled_from(["disk-1", "disk-2"]),
    st.sampled_from([1 << 29, 1 << 30, 1 << 31]),
    st.sampled_from(["bitmap", "compare"]),
    st.booleans(),
)
def test_an_incremental_only_of_the_same_disk(identity: str, size: int, tracking: str, full: bool) -> None:
    """Whatever the facts, an incremental never crosses a replaced or shrunk disk or a request for a full."""
    fact = replace(FACT, identity=identity, size_bytes=size, tracking=tracking)  # type: ignore[arg-type]  # drawn
    plan = _plan(fact, full=full)
    grown = size > LAST.size_bytes and tracking == "bitmap"
    same = identity == LAST.identity and (size == LAST.size_bytes or grown)
    assert isinstance(plan, Incremental) == (same and not full)
