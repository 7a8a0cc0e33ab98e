"""Which machines a folder holds. Imports `adapters.errors` and this package only.

An image file, a symlink to one, or a block device is a machine with one disk; a subfolder with images is a machine with
a disk each. What other images build on is neither: of a chain the newest file counts. Keys are file names, which do not
depend on what else is in the folder; a machine's name is the file's stem unless two share it.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from adapters.errors import AdapterError, SourceInvalid, SourceNotFound
from adapters.image.formats import SUFFIXES, VIRTUAL, references
from adapters.image.images import file_error, open_file
from adapters.image.virtual import chain_parents

_MAX_ENTRIES = 100_000


@dataclass(frozen=True, slots=True)
class Found:
    """A machine of the folder: its disks by key. `error` stands for a subfolder that cannot be listed."""

    key: str
    name: str
    disks: dict[str, Path]
    error: AdapterError | None = None


def find_machines(root: Path) -> list[Found]:
    """List the machines in name order. Raises SourceNotFound when there is none, and what listing the folder met."""
    found = []
    for entry in entries(root):
        machine = _machine(entry)
        if machine is not None:
            found.append(machine)
    parts = vmdk_parts([machine.disks[machine.key] for machine in found if machine.key in machine.disks])
    found = [machine for machine in found if machine.disks.get(machine.key) not in parts]
    found = _without_parents(found, root)
    if not found:
        raise SourceNotFound(
            f"There are no images in {root}",
            code="image-none",
            hint=f"Put images there whose names end in {', '.join(sorted(SUFFIXES))}, or symlinks to block devices.",
        )
    names = Counter(machine.name for machine in found)
    return [
        machine if names[machine.name] == 1 else Found(machine.key, machine.key, machine.disks, machine.error)
        for machine in found
    ]


def _without_parents(found: list[Found], root: Path) -> list[Found]:
    """Leave out what other images in any of the folders build on: the newest file of a chain is the disk."""
    images = [image for machine in found for image in machine.disks.values()]
    parents = chain_parents([image for image in images if SUFFIXES.get(image.suffix.lower()) in VIRTUAL], root)
    if not parents:
        return found
    left = []
    for machine in found:
        disks = {key: path for key, path in machine.disks.items() if Path(os.path.realpath(path)) not in parents}
        if disks:
            left.append(replace(machine, disks=disks))
    return left


def entries(folder: Path) -> list[Path]:
    """List a folder's visible entries in name order. Raises AdapterErrors."""
    try:
        listed = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except NotADirectoryError:
        raise SourceInvalid(
            f"{folder} is no folder", code="image-dir", hint="Give the folder the images are in."
        ) from None
    except OSError as error:
        raise file_error(folder, error) from None
    if len(listed) > _MAX_ENTRIES:
        raise SourceInvalid(f"{folder} holds too many files", code="image-dir", why=f"more than {_MAX_ENTRIES}")
    return listed


def vmdk_parts(images: list[Path]) -> set[Path]:
    """Return the extent files that VMDK descriptors among `images` name: they are no disks of their own."""
    parts: set[Path] = set()
    for image in images:
        if image.suffix.lower() != ".vmdk":
            continue
        try:
            _, file = open_file(image)
            with file:
                parts.update(image.parent / part for part in references(file, "vmdk").parts if part != image.name)
        except AdapterError:
            continue  # it is reported when the image itself is inspected
    return parts


def _machine(entry: Path) -> Found | None:
    if is_disk(entry):
        return Found(entry.name, entry.stem, {entry.name: entry})
    if not stat.S_ISDIR(_mode(entry)):
        return None
    try:
        images = [path for path in entries(entry) if is_disk(path)]
    except AdapterError as error:
        return Found(entry.name, entry.name, {entry.name: entry}, error)
    parts = vmdk_parts(images)
    disks = {path.name: path for path in images if path not in parts}
    return Found(entry.name, entry.name, disks) if disks else None


def is_disk(path: Path) -> bool:
    """Say whether an entry is meant as a disk; what is wrong with it is found out later."""
    mode = _mode(path)
    if not mode:
        return path.is_symlink() or path.suffix.lower() in SUFFIXES
    return stat.S_ISBLK(mode) or (stat.S_ISREG(mode) and path.suffix.lower() in SUFFIXES)


def _mode(path: Path) -> int:
    """Return the type and mode an entry leads to, 0 when that cannot be found out."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0
