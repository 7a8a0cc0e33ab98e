"""Paths on Windows hosts as SMB reaches them. Pure; imports `adapters.errors`.

A path is accepted in one spelling only: no step up, no stream, no wildcard, no name that Windows would read as another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from adapters.errors import SourceInvalid

_DRIVE = re.compile(r"([A-Za-z]):\\(.+)", re.DOTALL)
_FORBIDDEN = re.compile(r'[\x00-\x1f"*/:<>?|]')
_SERVER = re.compile(r"[^\x00-\x20\"*/<>?|\\]+")
_MAX_CHARACTERS = 32_000


@dataclass(frozen=True, slots=True)
class SmbPath:
    r"""`\\server\share\parts`. Comparable by `key`: Windows names are equal whatever their case."""

    server: str
    share: str
    parts: tuple[str, ...]

    @classmethod
    def parse(cls, unc: str) -> SmbPath:
        r"""Take a UNC path apart. Raises SourceInvalid unless it is `\\server\share` and plain names below it."""
        if not unc.startswith("\\\\") or unc.startswith(("\\\\?", "\\\\.")) or len(unc) > _MAX_CHARACTERS:
            raise _refused(unc, "it is no UNC path")
        server, *names = unc[2:].split("\\")
        if not _SERVER.fullmatch(server) or not names:
            raise _refused(unc, "it names no server and share")
        for name in names:
            _require_plain_name(name, unc)
        return cls(server, names[0], tuple(names[1:]))

    @property
    def path(self) -> str:
        """The path within the share."""
        return "\\".join(self.parts)

    @property
    def key(self) -> tuple[str, ...]:
        """What two spellings of the path have in common."""
        return tuple(name.casefold() for name in (self.server, self.share, *self.parts))

    def __str__(self) -> str:
        return "\\".join(("\\\\" + self.server, self.share, *self.parts))


def unc_of(windows_path: str, node: str, share: str | None) -> str:
    r"""Return where `node` serves a path of its own: `C:\VMs\a` is `\\node\C$\VMs\a`, or `\\node\share\C\VMs\a`.

    A UNC path stays as it is. Raises SourceInvalid `smb-path` for everything else: volumes without a letter, devices,
    relative paths, and paths that are not in their plain spelling.
    """
    plain = windows_path
    if plain.startswith("\\\\?\\UNC\\"):
        plain = "\\\\" + plain[8:]
    elif plain.startswith("\\\\?\\"):
        plain = plain[4:]
    if plain.startswith("\\\\"):
        return str(SmbPath.parse(plain))
    drive = _DRIVE.fullmatch(plain)
    if drive is None:
        raise _refused(windows_path, "it is neither on a drive nor a UNC path")
    if not _SERVER.fullmatch(node):
        raise _refused(windows_path, f"{node[:80]!r} is no server's name")
    letter = drive[1].upper()
    root = f"{letter}$" if share is None else f"{share}\\{letter}"
    return str(SmbPath.parse(f"\\\\{node}\\{root}\\{drive[2]}"))


def _require_plain_name(name: str, path: str) -> None:
    """Raise SourceInvalid unless Windows takes a name of a path for itself: it drops dots and spaces at the end."""
    if not name or _FORBIDDEN.search(name) or "\\" in name or name[-1] in ". ":
        raise _refused(path, f"{name[:80]!r} is no plain name")


def _refused(path: str, why: str) -> SourceInvalid:
    return SourceInvalid(f"{path[:300]!r} is not read", code="smb-path", why=why)
