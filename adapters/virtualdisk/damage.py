"""The error of a file that contradicts itself, and reads that stay within the file. Imports `adapters.errors` only."""

from __future__ import annotations

from adapters.errors import SourceCorrupt
from adapters.virtualdisk.file import RandomFile, read_bytes


def damaged(path: str, code: str, why: str) -> SourceCorrupt:
    """Build the error; `code` names the part that is wrong."""
    hint = "Check the file with its hypervisor's own tools, or take it from a backup."
    return SourceCorrupt(f"{path} contradicts itself", code=code, why=why, hint=hint)


def part(file: RandomFile, path: str, offset: int, length: int, code: str) -> bytes:
    """Return a part of the file. Raises SourceCorrupt when it is not all there."""
    if offset < 0 or offset + length > file.size_bytes:
        raise damaged(path, code, f"{length} bytes at {offset} are behind its end at {file.size_bytes}")
    return read_bytes(file, offset, length)
