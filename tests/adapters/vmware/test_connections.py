"""What a server sees of our connections: never more to an ESXi host than are allowed, whatever they carry."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from adapters.vmware.source import VmwareSource
from tests.adapters.vmware.conftest import MakeSource, StartVsphere
from tests.adapters.vmware.freezes import frozen
from tests.support.vsphere.building import MachineSpec

NAMES = ("one", "two", "three", "four", "five", "six")


def _read(source: VmwareSource, name: str) -> int:
    with frozen(source, name) as snapshot:
        for disk in snapshot.disks.values():
            reader = disk.open()
            reader.pread_into(0, memoryview(bytearray(4096)))
            reader.close()
        return len(snapshot.configuration)


def test_disks_and_small_files_share_the_limit(start_vsphere: StartVsphere, source_of: MakeSource) -> None:
    """Machines backed up at once: their disks, vmx and nvram files come over one connection to each host."""
    vsphere = start_vsphere(*(MachineSpec(name) for name in NAMES))
    source = source_of(vsphere, connections_per_host=1, transports=("http_folder",))
    with ThreadPoolExecutor(len(NAMES)) as pool:
        files = list(pool.map(lambda name: _read(source, name), NAMES))
    assert min(files) > 1
    hosts = {vsphere.machine(name).host_entry.title for name in NAMES}
    assert {vsphere.connections.peak(host) for host in hosts} == {1}
