"""What a restore point says of a machine that is to be made again. Pure; imports `adapters.errors`, `adapters.port`.

`configuration` writes what is read here. Hyper-V's own definition (.vmcx) is taken as it is: only a host can read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from adapters.errors import SourceCorrupt
from adapters.hyperv.configuration import CONFIG_FILE, FORMAT
from adapters.port import ConfigurationFile

_DEFINITION = ".vmcx"


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a disk was: `place` in the machine, `path` at its host."""

    key: str
    place: str
    path: str
    sector_bytes: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """A machine as it was. `definition` is the name of its .vmcx among `files`, None when no restore point has it."""

    notes: str
    slots: Mapping[str, Slot]
    definition: str | None
    files: Mapping[str, bytes]
    missing: tuple[str, ...]


class _File(msgspec.Struct):
    name: str
    stored: bool
    why: str


class _Document(msgspec.Struct):
    format: int
    notes: str
    disks: tuple[Slot, ...]
    files: tuple[_File, ...]


def read_recipe(configuration: Sequence[ConfigurationFile]) -> Recipe:
    """Read a restore point's configuration. Raises SourceCorrupt for what `configuration` cannot have written."""
    files = {file.name: file.content for file in configuration}
    try:
        document = msgspec.json.decode(files.pop(CONFIG_FILE, b""), type=_Document)
    except msgspec.MsgspecError as error:
        raise _unreadable(str(error)) from None
    if document.format != FORMAT:
        raise _unreadable(f"its format is {document.format}, of which this version knows {FORMAT} only")
    definitions = [name for name in files if name.lower().endswith(_DEFINITION)]
    return Recipe(
        notes=document.notes,
        slots={slot.key: slot for slot in document.disks},
        definition=definitions[0] if len(definitions) == 1 else None,
        files=files,
        missing=tuple(f"{file.name}: {file.why}" for file in document.files if not file.stored),
    )


def _unreadable(why: str) -> SourceCorrupt:
    return SourceCorrupt("The machine's configuration cannot be read", code="configuration-unreadable", why=why)
