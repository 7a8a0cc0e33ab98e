"""Server-free snapshots: the machine's snapshot is gone before the reading, and nothing stays, whatever fails."""

from __future__ import annotations

import pytest

from adapters.errors import SourceInvalid, SourceUnavailable
from adapters.vmware.transport.array.flow import ServerFree, clean
from tests.support.array_memory import Died, Machine, MemoryArray, Site

NAME = "holdfast-run-1"
VOLUMES = ["/vol/vol1/lun1", "/vol/vol1/lun2"]
LABELS = {f"{NAME}-0", f"{NAME}-1"}
STEPS = ["snapshot", "snapshot", "held", "drop", "present", "present"]
RELEASE = ["withdraw", "withdraw", "remove", "remove"]


def prepared(site: Site) -> ServerFree:
    """The array's part of a snapshot of two volumes."""
    run = ServerFree(MemoryArray(site), NAME)
    for volume in [*VOLUMES, VOLUMES[0]]:
        run.want(volume)
    return run


def take(site: Site, run: ServerFree) -> None:
    """Take it, of a machine that is frozen."""
    machine = Machine(site)
    run.take(machine.held, machine.drop)


def ours(label: str) -> bool:
    """Whether a label is of the dead run."""
    return label.startswith(f"{NAME}-")


def test_the_machine_s_snapshot_lives_until_the_array_has_its_own() -> None:
    """Freeze every volume, see that the machine stood still, drop its snapshot, present; release leaves nothing."""
    site = Site()
    run = prepared(site)
    take(site, run)
    assert [str(run.presented(volume).lun(None)) for volume in VOLUMES] == VOLUMES
    assert site.calls == STEPS
    assert (site.frozen, site.snapshots, site.clones) == (False, LABELS, LABELS)
    run.release()
    run.release()
    assert site.calls == [*STEPS, *RELEASE]
    assert site.empty
    with pytest.raises(SourceUnavailable):
        run.presented(VOLUMES[0])


@pytest.mark.parametrize("acted", [False, True])
@pytest.mark.parametrize("at", range(1, len(STEPS) + 1))
def test_a_step_that_fails_leaves_nothing(at: int, acted: bool) -> None:
    """Whichever step fails, even one that did its work and lost the reply, all of the array's part is taken back."""
    site = Site(at, acted=acted)
    with pytest.raises(SourceUnavailable, match=f"{STEPS[at - 1]} failed"):
        take(site, prepared(site))
    assert not site.snapshots | site.clones


@pytest.mark.parametrize("acted", [False, True])
@pytest.mark.parametrize("at", range(1, len(STEPS + RELEASE) + 1))
def test_what_a_dead_process_left_is_cleaned_by_its_label(at: int, acted: bool) -> None:
    """Whenever our process dies, during take or release, the next one removes what is left, knowing only the label."""
    site = Site(at, acted=acted, dies=True)
    run = prepared(site)

    def whole() -> None:
        take(site, run)
        run.release()

    with pytest.raises(Died):
        whole()
    site.revive()
    left = MemoryArray(site).labels()
    leftovers = clean(MemoryArray(site), ours)
    assert not site.snapshots | site.clones
    assert [leftover.action for leftover in leftovers] == ["removed"] * len(left)
    assert clean(MemoryArray(site), ours) == []


def test_what_cannot_be_cleaned_is_told() -> None:
    """A label that resists is named with the reason, the next one is cleaned all the same, others are left alone."""
    site = Site(1)
    site.snapshots |= {*LABELS, "holdfast-another-0"}
    first, second = clean(MemoryArray(site), ours)
    assert first.action == "not removed: withdraw failed"
    assert second.action == "removed"
    assert site.snapshots == {f"{NAME}-0", "holdfast-another-0"}


def test_an_array_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An array that cannot be looked at stops no clean-up of the rest; it is said that it was not looked at."""

    def down(_: MemoryArray) -> list[str]:
        raise SourceUnavailable("The array is down", code="array-lost")

    monkeypatch.setattr(MemoryArray, "labels", down)
    (told,) = clean(MemoryArray(Site()), ours)
    assert (told.what, told.action) == ("snapshots at the array memory", "not looked for: The array is down")


def test_a_release_that_fails_goes_on() -> None:
    """When a clone cannot be withdrawn the failure is told, after everything was tried."""
    site = Site(len(STEPS) + 1)
    run = prepared(site)
    take(site, run)
    with pytest.raises(SourceUnavailable, match="withdraw failed"):
        run.release()
    assert site.calls == [*STEPS, *RELEASE[:3]]
    site.revive()
    clean(MemoryArray(site), ours)
    assert site.empty


def test_a_foreign_name_is_refused() -> None:
    """Nothing is made under a name that does not bear our mark."""
    with pytest.raises(SourceInvalid):
        ServerFree(MemoryArray(Site()), "somebody-else")
