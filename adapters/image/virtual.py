"""VHDX and VHD files with the parents they build on. Imports `adapters.port`, `adapters.virtualdisk` and this package.

A child states its parent's paths as Windows spelled them where it was made. Only what lies in the source's folder is
opened: where the relative path leads to, or else a file of that name beside the child.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from adapters.errors import AdapterError, SourceDenied
from adapters.port import Extent
from adapters.virtualdisk.chain import VirtualDisk, open_disk, parent_of
from adapters.virtualdisk.file import LocalFile
from adapters.virtualdisk.locator import Locate, ParentLocator
from adapters.virtualdisk.reading import LOCAL_GAP_BYTES


def open_virtual(path: Path, root: Path) -> VirtualDisk:
    """Open a file and its parents, all in the folder `root`. Raises AdapterErrors."""
    return open_disk(str(path), LocalFile, _inside(root), gap_bytes=LOCAL_GAP_BYTES)


def chain_parents(images: list[Path], root: Path) -> set[Path]:
    """Return the real paths of the files that others of `images` build on: they are no disks of their own."""
    parents: set[Path] = set()
    for image in images:
        try:
            parent = parent_of(str(image), LocalFile, _inside(root))
        except AdapterError:
            continue  # it is reported when the image itself is inspected
        if parent is not None:
            parents.add(Path(os.path.realpath(parent)))
    return parents


class VirtualReader:
    """A reader of a disk that others read too; who opened the disk closes it."""

    transport = "file"

    def __init__(self, disk: VirtualDisk) -> None:
        self.size_bytes = disk.size_bytes
        self._disk = disk

    def extents(self) -> Iterator[Extent]:
        """Yield data and zeros as the files know them."""
        return self._disk.extents()

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer`. Raises what the disk does."""
        self._disk.pread_into(offset, buffer)

    def close(self) -> None:
        """Nothing is held."""


def _inside(root: Path) -> Locate:
    """Make the search for a parent in a folder."""
    top = os.path.realpath(root)

    def locate(child_path: str, locator: ParentLocator) -> str | None:
        folder = Path(child_path).parent
        outside = None
        for name in _names(locator):
            found = Path(os.path.realpath(_spelled(folder / name, top)))
            if not found.is_relative_to(top):
                outside = outside or name
            elif os.path.isfile(found):  # which no name makes fail
                return str(found)
        if outside is not None:
            raise SourceDenied(
                f"{Path(child_path).name} builds on a file outside of the source's folder",
                code="image-outside",
                why=outside[:200],
                hint="Put the file into the folder, beside the one that builds on it.",
            )
        return None

    return locate


def _spelled(path: Path, top: str) -> Path:
    """Return the path of the file as it is spelled here: names that differ in case only are one to Windows."""
    if os.path.lexists(path) or not Path(os.path.realpath(path.parent)).is_relative_to(top):
        return path
    try:
        alike = [entry for entry in path.parent.iterdir() if entry.name.casefold() == path.name.casefold()]
    except OSError:
        return path
    return min(alike, default=path)


def _names(locator: ParentLocator) -> Iterator[str]:
    """Where a parent may be, from the child's folder: paths that are not relative count for their last part only."""
    for stated in locator.paths:
        path = PureWindowsPath(stated.replace("\0", ""))
        if stated == locator.relative_path and not path.anchor:
            yield path.as_posix()
        yield path.name or "."
