"""What a differencing disk says about its parent. Pure; imports nothing.

All of it was written by whoever wrote the child, and is to be trusted with nothing: a path here is a hint, which
`Locate` turns into a path that the reader is allowed to open, and the identity is checked once it was opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ParentLocator:
    """The parent's paths as they stand in the child, Windows' spelling; None where the child does not state one.

    `linkages` are what the parent's identity may be, lower-case with dashes: of a VHDX its data write GUID, of a VHD
    its unique id.
    """

    linkages: tuple[str, ...]
    relative_path: str | None = None
    volume_path: str | None = None
    absolute_path: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The stated paths in the order in which they are to be tried."""
        return tuple(path for path in (self.relative_path, self.volume_path, self.absolute_path) if path)


class Locate(Protocol):
    """Maps what a child says about its parent to a path for `OpenFile`, None when no allowed file fits."""

    def __call__(self, child_path: str, locator: ParentLocator) -> str | None:
        """Return the parent's path. The locator is untrusted input."""
