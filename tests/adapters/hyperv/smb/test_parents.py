"""A differencing disk's parent is looked for within the machine's folders, whatever the disk says."""

from __future__ import annotations

import pytest

from adapters.hyperv.smb.parents import ParentsWithin
from adapters.virtualdisk.locator import ParentLocator

CHILD = r"\\hv1\C$\VMs\web\snap\child.avhdx"
BASE = r"\\hv1\C$\VMs\web\base.vhdx"
FOLDERS = (r"\\hv1\C$\VMs\web", r"\\hv1\D$\Disks")


def find(locator: ParentLocator, *there: str, share: str | None = None, child: str = CHILD) -> str | None:
    """Look for a parent where only the paths `there` exist."""
    folders = FOLDERS if share is None else (rf"\\hv1\{share}\C\VMs\web",)
    return ParentsWithin(folders, share, lambda unc: unc in there)(child, locator)


def stated(**paths: str) -> ParentLocator:
    """A locator as a child states it."""
    return ParentLocator(("id",), **paths)


def test_a_relative_path_is_resolved_beside_the_child() -> None:
    """`..` is allowed as long as the parent is within the machine's folders."""
    assert find(stated(relative_path=r"..\base.vhdx"), BASE) == BASE
    assert find(stated(relative_path=r".\..\snap\..\base.vhdx"), BASE) == BASE


def test_the_first_path_that_is_there_is_taken() -> None:
    """A relative path that leads nowhere gives way to the absolute one, a volume's to none."""
    locator = stated(
        relative_path=r".\base.vhdx", volume_path=r"\\?\Volume{0}\base.vhdx", absolute_path=r"D:\Disks\golden.vhdx"
    )
    assert find(locator, r"\\hv1\D$\Disks\golden.vhdx") == r"\\hv1\D$\Disks\golden.vhdx"
    assert find(locator) is None


def test_an_absolute_path_is_the_childs_servers() -> None:
    """A drive's path is read where the child was read, through the same kind of share."""
    child = r"\\hv1\backup\C\VMs\web\snap\child.avhdx"
    base = r"\\hv1\backup\C\VMs\web\base.vhdx"
    assert find(stated(absolute_path=r"C:\VMs\web\base.vhdx"), BASE) == BASE
    assert find(stated(absolute_path=r"C:\VMs\web\base.vhdx"), base, share="backup", child=child) == base


@pytest.mark.parametrize(
    "path",
    [
        r"..\..\..\Windows\secrets.vhdx",
        r"..\..\..\..\..\..\Windows\secrets.vhdx",
        r"..\..\web2\base.vhdx",
        r"C:\VMs\web2\base.vhdx",
        r"C:\VMs\web\..\web2\base.vhdx",
        r"\\attacker\share\base.vhdx",
        r"\\hv1\E$\base.vhdx",
        r"\\hv1\C$\VMs\web\..\..\base.vhdx",
        r"\\?\UNC\attacker\share\base.vhdx",
        r"\\.\PhysicalDrive0",
        r"\VMs\web\base.vhdx",
        r"..\base.vhdx:hidden",
        "../base.vhdx",
        "..\\base.vhdx\x00",
        r"C:",
        "\\",
        "",
    ],
)
def test_a_parent_out_of_the_folders_is_none(path: str) -> None:
    """No spelling of a path leads to another machine's files, another share, another server or a device."""
    for kind in ("relative_path", "volume_path", "absolute_path"):
        finder = ParentsWithin(FOLDERS, None, lambda unc: True)
        assert finder(CHILD, stated(**{kind: path})) is None
