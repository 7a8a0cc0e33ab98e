"""Where the parent of a differencing disk is, among the folders that a machine's disks may be in. Pure.

Imports `adapters.errors`, `adapters.virtualdisk.locator` and this package. Whoever can write a disk's file chooses
what its locator says: a path that leads out of the folders is as good as none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adapters.errors import SourceInvalid
from adapters.hyperv.smb.paths import SmbPath, unc_of
from adapters.virtualdisk.locator import ParentLocator


class ParentsWithin:
    """A `Locate` that finds parents within `folders` (UNC) only, on the server that the child is on, or none.

    `share` is as in the settings; `exists` tells whether a UNC path is a file. What the locator states first, and is
    there, is taken.
    """

    def __init__(self, folders: Sequence[str], share: str | None, exists: Callable[[str], bool]) -> None:
        self._folders = [SmbPath.parse(folder) for folder in folders]
        self._share = share
        self._exists = exists

    def __call__(self, child_path: str, locator: ParentLocator) -> str | None:
        """Return the parent's UNC path, None when no stated path leads to a file within the folders."""
        child = SmbPath.parse(child_path)
        for stated in locator.paths:
            found = self._allowed(child, stated)
            if found is not None and self._exists(str(found)):
                return str(found)
        return None

    def _allowed(self, child: SmbPath, stated: str) -> SmbPath | None:
        try:
            absolute = stated.startswith("\\") or stated[1:2] == ":"
            path = SmbPath.parse(unc_of(stated, child.server, self._share)) if absolute else _beside(child, stated)
        except SourceInvalid:
            return None
        return path if any(path.is_below(folder) for folder in self._folders) else None


def _beside(child: SmbPath, relative: str) -> SmbPath:
    r"""Resolve `..\base.vhdx` as stated in `child`. Raises SourceInvalid when it leaves the share or is not plain."""
    parts = list(child.parts[:-1])
    for name in relative.split("\\"):
        if name == "..":
            if not parts:
                raise SourceInvalid(f"{relative!r} leaves the share", code="smb-path")
            parts.pop()
        elif name != ".":
            parts.append(name)
    return SmbPath.parse(str(SmbPath(child.server, child.share, tuple(parts))))
