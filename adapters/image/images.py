"""One image and all files it is made of, resolved by us so that qemu follows no name of its own.

Imports `adapters.errors` and this package only. Files that an image names must lie in the source's folder;
names that are protocols are refused.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from adapters.errors import (
    AdapterError,
    SourceConflict,
    SourceDenied,
    SourceInvalid,
    SourceNotFound,
    SourceUnavailable,
)
from adapters.image.formats import RAW, SUFFIXES, VIRTUAL, has_magic, references
from adapters.image.virtual import open_virtual

_MAX_CHAIN = 64


@dataclass(frozen=True, slots=True)
class Image:
    """An image file or device: `files` are all it is read from, `backing` what it builds on.

    `size_bytes` is the file's own size, of a VHDX or VHD the disk's.
    """

    path: Path
    format: str
    device: bool
    size_bytes: int
    parts: tuple[Path, ...] = ()
    backing: Image | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file whose change would change the disk."""
        return (self.path, *self.parts, *(self.backing.files if self.backing else ()))

    def top(self) -> dict[str, Any]:
        """Return qemu's block device description of this image without what it builds on."""
        driver = "host_device" if self.device else "file"
        top: dict[str, Any] = {"driver": self.format, "file": {"driver": driver, "filename": str(self.path)}}
        if self.format == "qcow2" or self.backing is not None:
            top["backing"] = None
        return top

    def tree(self) -> dict[str, Any]:
        """Return the whole description, in which every driver and file is explicit."""
        return self.top() | ({"backing": self.backing.tree()} if self.backing is not None else {})


def open_image(path: Path, root: Path, image_format: str | None = None, depth: int = 0) -> Image:
    """Inspect an image; the format comes from the suffix unless an overlay states it.

    Raises AdapterErrors for whatever keeps it from being read.
    """
    mode, file = open_file(path)
    with file:
        device = stat.S_ISBLK(mode)
        size = os.lseek(file.fileno(), 0, os.SEEK_END)
        known = image_format or SUFFIXES.get(path.suffix.lower(), RAW if device else "unknown")
        if known not in SUFFIXES.values():
            raise SourceInvalid(
                f"{path.name} is of no format we read",
                code="image-format",
                why=f"its format is {known}",
                hint=f"Known suffixes: {', '.join(sorted(SUFFIXES))}.",
            )
        if not size:
            raise SourceInvalid(
                f"{path.name} is empty", code="image-empty", hint="Remove it, or wait until it is written."
            )
        if known == RAW:
            return Image(path, RAW, device, size)
        if not has_magic(file, known, size):
            raise SourceInvalid(
                f"{path.name} is no {path.suffix.removeprefix('.') or known} image",
                code="image-format-mismatch",
                why="its content does not have the format's mark",
                hint="Give the file the suffix of its real format, .raw for a plain disk.",
            )
        named = references(file, known)
    if known in VIRTUAL and not depth:
        return _virtual_image(path, root, known)
    parts = tuple(_inside(path, part, root) for part in named.parts)
    backing = None
    if named.backing is not None:
        if depth >= _MAX_CHAIN:
            raise SourceInvalid(f"{path.name} has too long a chain of backing files", code="image-chain")
        backing = open_image(_inside(path, named.backing, root), root, named.backing_format, depth + 1)
    return Image(path, known, device, size, parts, backing)


def _virtual_image(path: Path, root: Path, image_format: str) -> Image:
    with closing(open_virtual(path, root)) as disk:
        parents = tuple(Path(file) for file in disk.files[1:])
        return Image(path, image_format, False, disk.size_bytes, parents)


def open_file(path: Path, *, claim: bool = False) -> tuple[int, BinaryIO]:
    """Open a regular file or a block device for reading and return its mode with it.

    A claimed device is ours until the file is closed: one that is mounted or part of another raises
    SourceConflict, because its bytes would not be one moment's.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise SourceInvalid(f"{path.name} is neither a file nor a block device", code="image-not-a-file")
        flags = os.O_RDONLY | os.O_CLOEXEC | (os.O_EXCL if claim and stat.S_ISBLK(mode) else 0)
        return mode, os.fdopen(os.open(path, flags), "rb", buffering=0)
    except OSError as error:
        raise file_error(path, error) from None


def file_error(path: Path, error: OSError) -> AdapterError:
    """Translate what the system said about a file."""
    why = error.strerror or str(error)
    if isinstance(error, FileNotFoundError):
        why = "it is a symlink to nowhere" if path.is_symlink() else "the file is gone"
        return SourceNotFound(f"{path.name} cannot be found", code="image-missing", why=why)
    if isinstance(error, PermissionError):
        return SourceDenied(
            f"{path.name} cannot be read",
            code="image-denied",
            why=why,
            hint="Give the backup's user the right to read.",
        )
    if error.errno == errno.EBUSY:
        return SourceConflict(
            f"{path.name} is in use", code="image-in-use", why="the device is mounted or belongs to another device"
        )
    return SourceUnavailable(f"{path.name} cannot be read", code="image-read-error", why=why)


def _inside(image: Path, name: str, root: Path) -> Path:
    """Resolve a name that an image states. Raises SourceDenied when it leads out of the folder."""
    protocol = ":" in name.partition("/")[0] or "\0" in name
    target = Path(os.path.realpath(image.parent / name.replace("\0", "")))
    if protocol or not target.is_relative_to(os.path.realpath(root)):
        raise SourceDenied(
            f"{image.name} names a file outside of the source's folder",
            code="image-outside",
            why=name[:200],
            hint="Move the file into the folder and rebase the image onto it.",
        )
    return target
