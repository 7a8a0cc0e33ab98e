"""What a killed restore leaves: nobody cleans up after it, and the next run finds it by its mark alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pyVmomi import vim

from adapters.errors import AdapterError
from adapters.port import Leftover
from adapters.vmware.restore.machine import MachineMaker
from adapters.vmware.source import VmwareSource
from tests.adapters.vmware.test_restore import LABEL, MIB, Image, Strange, content, source, vsphere, wanted
from tests.support.vsphere import VsphereSimulator
from tests.support.vsphere.client import Client

__all__ = ["source", "vsphere"]  # the fixtures
REMOVED = Leftover("machine again", "removed")


@pytest.fixture
def leave(source: VmwareSource, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Restore the machine `again` and die before a step of the maker's, with no time to remove anything."""

    def leaving(step: str) -> None:
        request = wanted(source, [Image(content(2 * MIB)), Image(content(MIB, 2))])
        with monkeypatch.context() as patched:
            patched.setattr(MachineMaker, "_remove", lambda *_: None)
            if step == "second disk":
                request = wanted(source, [Image(content(2 * MIB)), Image(b"1" * MIB, fails_at=5, failure=Strange("x"))])
            else:
                patched.setattr(MachineMaker, step, _die)
            with pytest.raises(Strange):
                source.restore_machine(request, lambda _: None)

    return leaving


def _die(*_: object) -> None:
    raise Strange("killed")


@pytest.mark.parametrize("step", ["_folder", "_upload", "second disk", "_put", "_attach"])
def test_what_is_not_whole_is_removed(
    vsphere: VsphereSimulator, source: VmwareSource, leave: Callable[[str], None], step: str
) -> None:
    """Wherever it died: no machine, no file; and nothing is found a second time, or under another label."""
    before = sorted(path.name for path in vsphere.datastore.iterdir())
    leave(step)
    assert source.remove_unfinished("holdfast-restore-other", 2) == []
    assert "again" in {machine.name for machine in source.inventory()}
    assert source.remove_unfinished(LABEL, 2) == [REMOVED]
    assert {machine.name for machine in source.inventory()} == {"vm", "off"}
    assert sorted(path.name for path in vsphere.datastore.iterdir()) == before
    assert source.remove_unfinished(LABEL, 2) == []


def test_what_is_whole_is_kept(vsphere: VsphereSimulator, source: VmwareSource, leave: Callable[[str], None]) -> None:
    """A restore that died after the last step made a machine that somebody may want."""
    leave("_checked")
    assert source.remove_unfinished(LABEL, 2) == [Leftover("machine again", "kept: it is whole")]
    assert vsphere.content("again", 0) == content(2 * MIB)


def test_what_somebody_uses_is_kept(
    vsphere: VsphereSimulator, source: VmwareSource, leave: Callable[[str], None]
) -> None:
    """Powered on, or with a disk, a machine is not ours to remove."""
    leave("_attach")
    vsphere.machine("again").power_state = "poweredOn"
    kept = Leftover("machine again", "kept: somebody uses it")
    assert source.remove_unfinished(LABEL, 2) == [kept]
    vsphere.machine("again").power_state = "poweredOff"
    vsphere.add_disk("again")
    assert source.remove_unfinished(LABEL, 2) == [kept]


def test_one_with_a_snapshot_is_kept(plain: Client, source: VmwareSource, leave: Callable[[str], None]) -> None:
    """Off and without a disk, but somebody froze it: it is theirs now."""
    leave("_attach")
    plain.snapshot(plain.machine("again"), "theirs")
    assert source.remove_unfinished(LABEL, 2) == [Leftover("machine again", "kept: somebody uses it")]


@pytest.mark.parametrize("call", ["DeleteDatastoreFile_Task", "Destroy_Task"])
def test_a_removal_that_broke_off_goes_on(
    vsphere: VsphereSimulator, source: VmwareSource, leave: Callable[[str], None], call: str
) -> None:
    """The machine, by which its files are found, goes last but for its folder."""
    before = sorted(path.name for path in vsphere.datastore.iterdir())
    leave("_attach")
    vsphere.faults.fail_task(call, vim.fault.FileLocked(file="x"))
    with pytest.raises(AdapterError) as caught:
        source.remove_unfinished(LABEL, 2)
    assert caught.value.code == "file-locked"
    assert source.remove_unfinished(LABEL, 2) == [REMOVED]
    assert sorted(path.name for path in vsphere.datastore.iterdir()) == before
