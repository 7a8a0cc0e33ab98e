"""Server-free snapshots: the machine's snapshot is gone before the reading, and nothing stays, whatever fails."""

from __future__ import annotations

import pytest

from adapters.errors import SourceInvalid, SourceUnavailable
from adapters.vmware.transport.array.flow import ServerFree, clean
from tests.support.array_memory import Died, Machine, MemoryArray, Site

LABEL = "holdfast-run-1"
STEPS = ["take", "snapshot", "drop", "present"]


def flow(site: Site, said: list[str]) -> ServerFree:
    """A flow that announces its steps into `said`."""
    return ServerFree(Machine(site), MemoryArray(site), "/vol/vol1/lun1", LABEL, said.append)


def test_the_machine_s_snapshot_lives_until_the_array_has_its_own() -> None:
    """Take, snapshot, drop, present, in this order, each announced before it acts; release leaves nothing."""
    site, said = Site(), []
    run = flow(site, said)
    presented = run.take()
    assert str(presented.lun(None)) == "/vol/vol1/lun1"
    assert site.calls == STEPS
    assert said == ["machine-snapshot", "array-snapshot", "machine-snapshot-dropped", "clone"]
    assert (site.machine, site.snapshots, site.clones) == (set(), {LABEL}, {LABEL})
    run.release()
    run.release()
    assert site.empty


@pytest.mark.parametrize("acted", [False, True])
@pytest.mark.parametrize("at", range(1, len(STEPS) + 1))
def test_a_step_that_fails_leaves_nothing(at: int, acted: bool) -> None:
    """Whichever step fails, even one that did its work and lost the reply, everything is taken back."""
    site = Site(at, acted=acted)
    with pytest.raises(SourceUnavailable, match=f"{STEPS[at - 1]} failed"):
        flow(site, []).take()
    assert site.empty


@pytest.mark.parametrize("acted", [False, True])
@pytest.mark.parametrize("at", range(1, len(STEPS) + 3))
def test_what_a_dead_process_left_is_cleaned_by_its_label(at: int, acted: bool) -> None:
    """Whenever our process dies, during take or release, the next one removes what is left, knowing only the label."""
    site, said = Site(at, acted=acted, dies=True), []
    run = flow(site, said)

    def whole() -> None:
        run.take()
        run.release()

    with pytest.raises(Died):
        whole()
    assert site.empty or said  # nothing exists that was not announced
    site.revive()
    left = MemoryArray(site).labels()
    leftovers = clean(Machine(site), MemoryArray(site), [LABEL])
    assert site.empty
    assert [leftover.action for leftover in leftovers] == ["removed"] * len(left)
    assert clean(Machine(site), MemoryArray(site), [LABEL]) == []


def test_what_cannot_be_cleaned_is_told() -> None:
    """A label that resists is named with the reason, and the next label is cleaned all the same."""
    site = Site(1)
    site.snapshots |= {LABEL, "holdfast-run-2"}
    first, second = clean(Machine(site), MemoryArray(site), [LABEL, "holdfast-run-2"])
    assert first.action == "not removed: drop failed"
    assert second.action == "removed"
    assert site.snapshots == {LABEL}


def test_a_release_that_fails_goes_on() -> None:
    """When the clone cannot be withdrawn the failure is told, after everything was tried."""
    site = Site(len(STEPS) + 1)
    run = flow(site, [])
    run.take()
    with pytest.raises(SourceUnavailable, match="withdraw failed"):
        run.release()
    site.revive()
    clean(Machine(site), MemoryArray(site), [LABEL])
    assert site.empty


def test_a_foreign_label_is_refused() -> None:
    """Neither the flow nor the cleaning touches what does not bear our mark."""
    site = Site()
    with pytest.raises(SourceInvalid):
        ServerFree(Machine(site), MemoryArray(site), "v", "somebody-else", lambda _: None)
    with pytest.raises(SourceInvalid):
        clean(Machine(site), MemoryArray(site), ["somebody-else"])
    assert not site.calls
