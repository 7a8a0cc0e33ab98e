"""Hosts before Windows Server 2016, by shadow copies of their drives: all is read, and nothing of them is left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from adapters.errors import SourceConflict, SourceInvalid
from adapters.port import Untracked
from tests.adapters.hyperv.conftest import SourceOf
from tests.adapters.hyperv.runs import back_up, freeze, machine_of
from tests.conformance.source_port import ComparingSuite
from tests.support.hyperv.harness import HypervHarness
from tests.support.hyperv.shadows import FOLDER, shadows_of
from tests.support.hyperv.world import HypervWorld

MIB = 1 << 20


class LegacyHarness(HypervHarness):
    """A machine of a host that has shadow copies of somebody else, too."""

    def leftovers(self) -> Sequence[str]:
        return [name for name in shadows_of(self.world) if name != "nightly"]

    def plant_foreign(self) -> None:
        self.world.storage.local(f"{FOLDER}\\nightly").mkdir(parents=True)

    def foreign_intact(self) -> bool:
        return "nightly" in shadows_of(self.world)


@pytest.fixture
def old(tmp_path: Path) -> HypervWorld:
    """A host of Windows Server 2012 R2."""
    return HypervWorld(tmp_path / "hosts", change_tracking=False)


class TestShadowCopies(ComparingSuite):
    """It is a source that compares."""

    @pytest.fixture
    def harness(self, old: HypervWorld, source_of: SourceOf) -> LegacyHarness:
        return LegacyHarness(old, lambda: source_of(old, legacy=True))


def test_an_old_host_is_not_taken_for_a_new_one(old: HypervWorld, source_of: SourceOf) -> None:
    """A check, and a backup, say what to do, and make nothing."""
    key = old.add_machine("web", 2 * MIB)
    source = source_of(old)
    for do in (source.check, lambda: freeze(source, key)):
        with pytest.raises(SourceInvalid) as refused:
            do()
        assert refused.value.code == "host-legacy"
        assert "--legacy" in refused.value.hint
    assert source_of(old, legacy=True).check().abilities[1] == "changes by comparison"


def test_all_is_read_of_one_moment(old: HypervWorld, source_of: SourceOf) -> None:
    """What the guest writes meanwhile is not in it, the chain below an .avhdx is; there is no base to go on from."""
    key = old.add_machine("web", 4 * MIB)
    place = old.place(key)
    old.write(key, place, 0, b"below" * 1000)
    old.plant_checkpoint(key)
    old.write(key, place, MIB, b"above" * 1000)
    before = old.content(key, place)
    old.faults.then("shadows", lambda: old.write(key, place, 0, b"meanwhile" * 1000))
    source = source_of(old, legacy=True)
    assert source.consistency == "crash"
    point = back_up(source, key)
    assert point.tracking == {place: Untracked("compare")}
    assert point.bases == {place: None}
    assert back_up(source, key, point).contents[place] == old.content(key, place) != before
    assert shadows_of(old) == []
    assert not {"create-checkpoint", "reference-points"} & {script for _, script in old.calls}


def test_shadow_copies_that_the_host_gave_up_are_no_restore_point(old: HypervWorld, source_of: SourceOf) -> None:
    """What was read of them may be of no moment."""
    key = old.add_machine("web", 2 * MIB)
    snapshot = freeze(source_of(old, legacy=True), key)
    (name,) = shadows_of(old)
    old.storage.local(f"{FOLDER}\\{name}").rename(old.storage.root / "gone")
    with pytest.raises(SourceConflict) as lost:
        snapshot.confirm()
    assert lost.value.code == "snapshot-lost"
    snapshot.release(committed=False)


@pytest.mark.parametrize("path", ["C:\\ClusterStorage\\Volume1\\web.vhdx", "\\\\nas\\vms\\web.vhdx"])
def test_a_disk_on_no_drive_is_refused(
    old: HypervWorld, source_of: SourceOf, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Cluster volumes and file shares have no shadow copies at this host: it is said, and nothing is made."""
    key = old.add_machine("web", 2 * MIB)
    disk = old.disk(key, old.place(key))
    local = old.storage.local(disk.chain[0])
    monkeypatch.setattr(
        old.storage, "local", lambda asked, inner=old.storage.local: local if asked == path else inner(asked)
    )
    disk.chain[0] = path
    with pytest.raises(SourceInvalid) as refused:
        freeze(source_of(old, legacy=True), key)
    assert refused.value.code == "legacy-volume"
    assert shadows_of(old) == []


def test_a_host_that_fails_leaves_nothing(old: HypervWorld, source_of: SourceOf) -> None:
    """Shadow copies whose making got no answer are removed again, by the run or by the next one."""
    key = old.add_machine("web", 2 * MIB)
    old.faults.lost["create-shadow"] = 1
    source = source_of(old, legacy=True)
    with pytest.raises(Exception, match="answer of create-shadow was lost"):
        freeze(source, key)
    assert shadows_of(old) == []
    assert source.reconcile(machine_of(source, key), {}) == []


def test_a_policy_that_old_hosts_cannot_keep_is_refused(old: HypervWorld, source_of: SourceOf) -> None:
    """They do not say whether a guest came to rest."""
    with pytest.raises(SourceInvalid):
        source_of(old, legacy=True, consistency="require")
