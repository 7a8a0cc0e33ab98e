"""The file that says what a restore makes in its folder: there before all else, gone when it has come to its end.

Imports `adapters.hyperv.restore.places` alone. The folder's name ends with the label; the file says it in full.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from adapters.hyperv.restore.places import Places

_NAME = "holdfast-unfinished.json"


class Marker(msgspec.Struct, frozen=True):
    """`files` are all that the restore of `label` was to make, by their names in the folder, in order."""

    label: str
    files: tuple[str, ...]


def marker_unc(places: Places) -> str:
    """Where the file of a folder is."""
    return places.unc(_NAME)


def marker_bytes(label: str, files: Iterable[str]) -> bytes:
    """The file's content."""
    return msgspec.json.encode(Marker(label, tuple(files)))


def read_marker(content: bytes) -> Marker | None:
    """What `marker_bytes` wrote; None when that broke off, with which no other file was begun."""
    try:
        return msgspec.json.decode(content, type=Marker)
    except msgspec.MsgspecError:
        return None
