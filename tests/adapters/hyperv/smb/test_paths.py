"""Windows paths become UNC paths in one way, and what could lead elsewhere becomes none."""

from __future__ import annotations

import pytest

from adapters.errors import SourceInvalid
from adapters.hyperv.smb.paths import unc_of


@pytest.mark.parametrize(
    ("path", "share", "unc"),
    [
        (r"C:\VMs\web 1\disk.vhdx", None, r"\\hv1\C$\VMs\web 1\disk.vhdx"),
        (r"d:\Büro\größe.vhdx", None, r"\\hv1\D$\Büro\größe.vhdx"),
        (r"C:\ClusterStorage\Volume1\a.avhdx", None, r"\\hv1\C$\ClusterStorage\Volume1\a.avhdx"),
        (r"C:\VMs\a.vhdx", "backup", r"\\hv1\backup\C\VMs\a.vhdx"),
        (r"\\?\C:\VMs\a.vhdx", None, r"\\hv1\C$\VMs\a.vhdx"),
        (r"\\fs.corp\vms$\a\b.vhdx", None, r"\\fs.corp\vms$\a\b.vhdx"),
        (r"\\fs.corp\vms$\a\b.vhdx", "backup", r"\\fs.corp\vms$\a\b.vhdx"),
        (r"\\?\UNC\fs\vms\b.vhdx", None, r"\\fs\vms\b.vhdx"),
    ],
)
def test_paths_become_unc(path: str, share: str | None, unc: str) -> None:
    """A drive's path is read from the node's administrative share, or the share that has the drives; UNC stays."""
    assert unc_of(path, "hv1", share) == unc


@pytest.mark.parametrize(
    "path",
    [
        "",
        "disk.vhdx",
        r"VMs\disk.vhdx",
        r"\VMs\disk.vhdx",
        r"C:disk.vhdx",
        "C:\\",
        r"C:\VMs\..\Windows\disk.vhdx",
        r"C:\VMs\.\disk.vhdx",
        r"C:\VMs\.. \disk.vhdx",
        r"C:\VMs\...\disk.vhdx",
        r"C:\VMs\\disk.vhdx",
        r"C:\VMs\disk.vhdx:stream",
        r"C:\VMs\disk.vhdx.",
        "C:\\VMs\\disk.vhdx ",
        r"C:\VMs\*.vhdx",
        "C:\\VMs\\a\x00b.vhdx",
        r"C:\VMs/../Windows\disk.vhdx",
        r"\\?\Volume{01234567-89ab-cdef-0123-456789abcdef}\disk.vhdx",
        r"\\.\PhysicalDrive1",
        r"\\?\GLOBALROOT\Device\Harddisk0",
        r"\\fs",
        r"\\fs\share\..\other\disk.vhdx",
        r"\\\share\disk.vhdx",
        "C:\\" + "a" * 40_000,
    ],
)
def test_what_is_not_plain_is_refused(path: str) -> None:
    """Steps up, streams, devices, wildcards and names that Windows would read as others are refused, not mended."""
    with pytest.raises(SourceInvalid) as refused:
        unc_of(path, "hv1", None)
    assert refused.value.code == "smb-path"


@pytest.mark.parametrize("node", ["", "hv1\\C$", "hv 1", "a/b", "hv1\n"])
def test_a_node_is_a_name(node: str) -> None:
    """A node's name cannot bring a share along."""
    with pytest.raises(SourceInvalid):
        unc_of(r"C:\VMs\a.vhdx", node, None)
