"""Our mark on a snapshot: its name and its description, both. Pure; imports `adapters.errors` and `inventory`.

A snapshot that carries both is ours to remove; one that somebody happened to name like ours is not.
"""

from __future__ import annotations

import re

from adapters.errors import SourceInvalid
from adapters.vmware.inventory import SnapshotNode

MARK = "holdfast-"
_DESCRIPTION = "Made by Holdfast for a backup, which removes it when it ends. Label: "
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def snapshot_name(label: str) -> str:
    """The name for a label; vSphere takes up to 80 characters. Raises SourceInvalid for what is no label."""
    if not _LABEL.fullmatch(label):
        raise SourceInvalid(
            f"{label!r} cannot be a label",
            code="label",
            why="it takes up to 64 letters, digits, dots, hyphens and underscores",
        )
    return MARK + label.removeprefix(MARK)


def snapshot_description(label: str) -> str:
    """The description for a label."""
    return _DESCRIPTION + label


def is_ours(node: SnapshotNode) -> bool:
    """Whether a run of ours made the snapshot."""
    return node.name.startswith(MARK) and node.description.startswith(_DESCRIPTION)


def carries(node: SnapshotNode, label: str) -> bool:
    """Whether the snapshot is the one of this label."""
    return node.name == snapshot_name(label) and node.description == snapshot_description(label)
