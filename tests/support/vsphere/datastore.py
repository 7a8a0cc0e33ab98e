"""The simulator's one datastore: a folder of real files, and the names that vSphere gives them.

A path is written `[datastore1] web/web.vmdk`; a virtual disk is a small text (its descriptor) beside the file that
holds the bytes, `web-flat.vmdk`, or `web-000001-delta.vmdk` once there is a snapshot below it.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path, PurePosixPath

from pyVmomi import vim

_PATH = re.compile(r"\[(?P<store>[^\]]+)\] ?(?P<path>.*)")
_SECTOR_BYTES = 512


class Datastore:
    """Files below `root`, known as `[name] path`."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root
        root.mkdir()

    def file(self, path: str) -> Path:
        """The file of a datastore path. Raises InvalidDatastore, InvalidDatastorePath."""
        match = _PATH.fullmatch(path)
        if match is None:
            raise vim.fault.InvalidDatastorePath(datastorePath=path, msg=f"Invalid datastore path '{path}'.")
        if match["store"] != self.name:
            raise vim.fault.InvalidDatastore(name=match["store"], msg=f"Invalid datastore '{match['store']}'.")
        return self.below(match["path"])

    def below(self, relative: str) -> Path:
        """The file at a path below the root."""
        pure = PurePosixPath(relative)
        if pure.is_absolute() or ".." in pure.parts:
            raise vim.fault.InvalidDatastorePath(datastorePath=relative, msg=f"Invalid datastore path '{relative}'.")
        return self.root / pure

    def text(self, file: Path) -> str:
        """The datastore path of a file."""
        return f"[{self.name}] {file.relative_to(self.root)}"

    def free_folder(self, name: str) -> Path:
        """Make the folder of a new machine; a taken name gets a number, as vSphere does."""
        names = [name, *(f"{name}_{number}" for number in range(1, 1000))]
        folder = next(self.root / name for name in names if not (self.root / name).exists())
        folder.mkdir()
        return folder

    def delete(self, path: str) -> None:
        """Delete a file, a virtual disk with what it consists of, or a folder."""
        file = self.file(path)
        if not file.exists():
            raise vim.fault.FileNotFound(file=path, msg=f"File {path} was not found")
        if file.is_dir():
            shutil.rmtree(file)
            return
        for part in (file, flat_of(file), delta_of(file)) if file.suffix == ".vmdk" else (file,):
            part.unlink(missing_ok=True)


def flat_of(descriptor: Path) -> Path:
    """The file that holds a disk's bytes."""
    return descriptor.with_name(f"{descriptor.stem}-flat.vmdk")


def delta_of(descriptor: Path) -> Path:
    """The file that holds what was written since a snapshot."""
    return descriptor.with_name(f"{descriptor.stem}-delta.vmdk")


def create_flat(descriptor: Path, size_bytes: int) -> None:
    """Create an empty thin disk: its descriptor and a file of holes. Raises FileAlreadyExists."""
    if descriptor.exists():
        raise vim.fault.FileAlreadyExists(file=str(descriptor), msg="The file already exists")
    if not descriptor.parent.is_dir():
        raise vim.fault.FileNotFound(file=str(descriptor.parent), msg="The folder was not found")
    with flat_of(descriptor).open("xb") as file:
        file.truncate(size_bytes)
    write_descriptor(descriptor, flat_of(descriptor), size_bytes)


def write_descriptor(descriptor: Path, extent: Path, size_bytes: int, parent: Path | None = None) -> None:
    """Write a disk's descriptor over the file that holds its bytes."""
    kind, layout = ("VMFSSPARSE", "vmfsSparse") if parent else ("VMFS", "vmfs")
    lines = ["# Disk DescriptorFile", "version=1", "CID=fffffffe", "parentCID=ffffffff", f'createType="{layout}"']
    lines += [f'parentFileNameHint="{parent.name}"'] if parent else []
    lines += [f'RW {size_bytes // _SECTOR_BYTES} {kind} "{extent.name}"', 'ddb.adapterType = "lsilogic"', ""]
    descriptor.write_text("\n".join(lines))


def write_vmx(path: Path, entries: dict[str, str]) -> None:
    """Write a machine's configuration file."""
    path.write_text("".join(f'{name} = "{value}"\n' for name, value in entries.items()))


def read_vmx(path: Path) -> dict[str, str]:
    """Read a machine's configuration file; lines that are no entry are passed over."""
    entries = (re.fullmatch(r'\s*([\w:.]+)\s*=\s*"(.*)"\s*', line) for line in path.read_text().splitlines())
    return {entry[1]: entry[2] for entry in entries if entry}
