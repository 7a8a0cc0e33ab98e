"""A real QEMU, started without a guest: the test writes to its disks through QEMU's own devices.

The machine is paused (`-S`) and has two QMP sockets, one for the adapter and one for the test. It is ended
by its process handle.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters.errors import SourceUnavailable
from adapters.qemu.qmp import Qmp
from tests.support.eventually import eventually

MIB = 1 << 20
TOOLS = ("qemu-system-x86_64", "qemu-img")
MISSING_TOOLS = [tool for tool in TOOLS if shutil.which(tool) is None]


@dataclass(frozen=True)
class VmDisk:
    """A disk to attach; `id` is its key for the adapter.

    `style` is how it stands on the command line: `blockdev` with a virtio device that takes `options`, `drive`,
    a -drive without a device, or `node`, a -blockdev without a device, named by the id.
    """

    id: str
    format: str = "qcow2"
    size_bytes: int = 8 * MIB
    discard: str = "unmap"
    style: str = "blockdev"
    options: str = ""
    create_options: tuple[str, ...] = ()


class QemuVm:
    """One machine in `directory`; restartable on the same images."""

    def __init__(self, directory: Path, disks: Sequence[VmDisk], *, arguments: Sequence[str] = ()) -> None:
        self.directory = directory
        self.disks = {disk.id: disk for disk in disks}
        self.qmp_path = directory / "qmp"
        self.scratch = directory / "scratch"
        self._arguments = arguments
        self._log = directory / "qemu.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._control: Qmp | None = None
        for disk in disks:
            self.create_image(disk)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def control(self) -> Qmp:
        assert self._control is not None
        return self._control

    def image(self, disk: str) -> Path:
        return self.directory / f"{disk}.{self.disks[disk].format}"

    def create_image(self, disk: VmDisk) -> None:
        """Create a disk's image; one that is there is overwritten."""
        kind = ["-f", disk.format, *disk.create_options]
        subprocess.run(["qemu-img", "create", "-q", *kind, str(self.image(disk.id)), str(disk.size_bytes)], check=True)

    def start(self) -> None:
        """Start the machine on its images."""
        sockets = [self.qmp_path, self.directory / "control"]
        command = ["qemu-system-x86_64", "-M", "pc", "-m", "32", "-nodefaults", "-display", "none", "-S"]
        for path in sockets:
            path.unlink(missing_ok=True)
            command += ["-qmp", f"unix:{path},server=on,wait=off"]
        for disk in self.disks.values():
            command += self._disk_arguments(disk)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*command, *self._arguments], stdout=log, stderr=log)
        self._control = eventually(self._connect, "QEMU answers")

    def kill(self) -> None:
        """End QEMU as a power failure of the host would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._control is not None:
            self._control.close()
            self._control = None

    def quit(self) -> None:
        """End QEMU in order: bitmaps are stored in the images."""
        assert self._process is not None
        self.control.execute("quit")
        self._process.wait()
        self.kill()

    def restart(self, *arguments: str) -> None:
        """End QEMU in order and start it again on the same disks, with other arguments beside them."""
        self.quit()
        self._arguments = arguments
        self.start()

    def node(self, disk: str) -> str:
        """The node name of a disk in the blockdev and node styles."""
        return disk if self.disks[disk].style == "node" else f"node-{disk}"

    def io(self, disk: str, command: str) -> str:
        """Run a qemu-io command on the guest's own device and return what it printed."""
        entry = self.disks[disk]
        target = disk if entry.style in ("drive", "node") else f"-d /machine/peripheral/{disk}/virtio-backend"
        before = self._log.stat().st_size
        line = {"command-line": f'qemu-io {target} "{command}"'}
        answer = self.control.query("human-monitor-command", str, line)
        with self._log.open() as log:
            log.seek(before)
            return answer + log.read()

    def write(self, disk: str, offset: int, data: bytes) -> None:
        """Write as the guest would, durably."""
        source = self.directory / "data"
        source.write_bytes(data)
        printed = self.io(disk, f"write -s {source} {offset} {len(data)}")
        assert f"wrote {len(data)}/{len(data)}" in printed, printed
        self.io(disk, "flush")

    def discard(self, disk: str, offset: int, length: int) -> None:
        """Discard as the guest would."""
        printed = self.io(disk, f"discard {offset} {length}")
        assert f"discard {length}/{length}" in printed, printed
        self.io(disk, "flush")

    def memory_word(self, address: int) -> int:
        """Read four bytes of the guest's memory."""
        printed = self.control.query("human-monitor-command", str, {"command-line": f"xp /1wx {address}"})
        return int(printed.split(":")[1], 16)

    def resize(self, disk: str, size_bytes: int) -> None:
        self.control.execute("block_resize", {"node-name": self.node(disk), "size": size_bytes})

    def content(self, disk: str) -> bytes:
        """Read the whole disk with qemu-img, beside the running QEMU."""
        if self._process is not None:
            self.io(disk, "flush")
        raw = self.directory / "content"
        image = str(self.image(disk))
        subprocess.run(
            ["qemu-img", "convert", "-U", "-f", self.disks[disk].format, "-O", "raw", image, str(raw)], check=True
        )
        return raw.read_bytes()

    def _connect(self) -> Qmp | None:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        try:
            return Qmp(self.directory / "control")
        except SourceUnavailable:
            return None

    def _disk_arguments(self, disk: VmDisk) -> list[str]:
        image = self.image(disk.id)
        if disk.style == "drive":
            return ["-drive", f"if=none,id={disk.id},file={image},format={disk.format},discard={disk.discard}"]
        node = (
            f"driver={disk.format},node-name={self.node(disk.id)},discard={disk.discard},"
            f"file.driver=file,file.filename={image},file.discard={disk.discard},file.cache.no-flush=on"
        )
        if disk.style == "node":
            return ["-blockdev", node]
        return ["-blockdev", node, "-device", f"virtio-blk-pci,drive={self.node(disk.id)},id={disk.id}{disk.options}"]
