"""Where the simulated hosts keep their files: a folder with a folder for each drive, as a share would show them."""

from __future__ import annotations

from pathlib import Path


class Storage:
    """`C:\\VMs\\web.vhdx` is `<root>/C/VMs/web.vhdx`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def local(self, path: str) -> Path:
        """The file behind a host's path."""
        drive, _, rest = path.partition(":\\")
        assert len(drive) == 1, path
        assert rest, path
        return self.root / drive.upper() / rest.replace("\\", "/")

    def made(self, path: str) -> Path:
        """The same, with the folder that it lies in made."""
        local = self.local(path)
        local.parent.mkdir(parents=True, exist_ok=True)
        return local


def folder_of(path: str) -> str:
    """The folder that a host's path lies in."""
    return path.rpartition("\\")[0]
