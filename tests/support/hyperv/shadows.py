"""What the scripts for hosts before Windows Server 2016 answer: shadow copies as copies of the drives' folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.hyperv.failures import missing

if TYPE_CHECKING:
    from tests.support.hyperv.world import HypervWorld

Answer = dict[str, Any]
Arguments = dict[str, Any]
FOLDER = "C:\\ProgramData\\Holdfast"


def shadows_of(world: HypervWorld) -> list[str]:
    """The names of the shadow copies that the hosts hold."""
    folder = world.storage.local(FOLDER)
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def _create(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    for letter in arguments["letters"]:
        drive = world.storage.root / letter
        shutil.copytree(drive, _folder(world, arguments) / letter, ignore=lambda folder, names: {"ProgramData"})
    return {"made": True}


def _shadows(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    return {"items": shadows_of(world)}


def _destroy(world: HypervWorld, node: str, arguments: Arguments) -> Answer:
    folder = _folder(world, arguments)
    if not folder.is_dir():
        raise missing("shadow", arguments["name"])
    shutil.rmtree(folder)
    return {"said": ""}


def _folder(world: HypervWorld, arguments: Arguments) -> Path:
    return world.storage.local(f"{FOLDER}\\{arguments['name']}")


SHADOWS: dict[str, Callable[[HypervWorld, str, Arguments], Answer]] = {
    "create-shadow": _create,
    "shadows": _shadows,
    "destroy-shadow": _destroy,
}
