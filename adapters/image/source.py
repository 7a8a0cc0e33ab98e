"""The `image` source. Imports `adapters.errors`, `adapters.port` and this package only.

Identity: a disk is its file's name, so an image that is rewritten or replaced in place stays the same disk.
That is safe because every allocated block is read and compared with the last point, whatever changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from adapters.errors import AdapterError, SourceNotFound
from adapters.image.folder import Found, find_machines
from adapters.image.formats import RAW, VIRTUAL
from adapters.image.images import Image, open_image
from adapters.image.qemunbd import tool_version, virtual_size
from adapters.image.snapshot import ImageDisk, ImageSnapshot
from adapters.image.strays import end_strays
from adapters.port import Consistency, DiskFact, Exclusion, Leftover, MachineFact, Snapshot, SnapshotRequest, SourceFact

_GRANULARITY_BYTES = 512


class ImageSource:
    """Machines are the images in the folder `path` (see `folder.py`); `runtime_dir` keeps track of our children.

    Nothing changes between two calls, so that threads may work on several machines at once.
    """

    kind = "image"
    consistency: Consistency = "crash"

    def __init__(self, name: str, path: Path, runtime_dir: Path) -> None:
        self.name = name
        self._root = path
        self._runtime_dir = runtime_dir

    def check(self) -> SourceFact:
        """Look into the folder. Raises SourceNotFound when it, or any image, is missing."""
        find_machines(self._root)
        version = tool_version()
        formats = "raw, vhdx and vhd images, block devices" + (", qcow2 and vmdk images" if version else "")
        return SourceFact(
            product="Image folder",
            version=f"qemu-nbd {version or 'not installed'}",
            abilities=(formats, "changes by comparison with the last restore point"),
        )

    def inventory(self) -> Sequence[MachineFact]:
        """List the machines; a disk that cannot be read is listed with the reason as its exclusion."""
        return [
            MachineFact(found.key, found.name, tuple(self._listed(found, key) for key in found.disks))
            for found in find_machines(self._root)
        ]

    def snapshot(self, machine: MachineFact, request: SnapshotRequest) -> Snapshot:
        """Open the requested images. Raises SourceNotFound for what is gone, and why a disk cannot be read."""
        found = self._find(machine.key)
        missing = request.bases.keys() - found.disks.keys()
        if missing:
            raise SourceNotFound(f"{found.name} has no disk {min(missing)}", code="disk-not-found")
        cause = None if request.consistency == "crash" else "image-without-guest"
        snapshot = ImageSnapshot(request.label, cause)
        known = {disk.key: disk for disk in machine.disks}
        try:
            for key in request.bases:
                image, fact = self._inspect(found, key)
                expected = known[key].size_bytes if key in known else fact.size_bytes
                fact = replace(fact, size_bytes=expected)
                snapshot.add(ImageDisk(fact, image, self._root, self._runtime_dir, found.key, request.label))
        except BaseException:
            snapshot.release(committed=False)
            raise
        return snapshot

    def reconcile(self, machine: MachineFact, keep: Mapping[str, str]) -> Sequence[Leftover]:
        """End qemu-nbd processes that a run of ours on this machine left behind."""
        return end_strays(self._runtime_dir, machine.key)

    def close(self) -> None:
        """Nothing is held outside of snapshots."""

    def _find(self, key: str) -> Found:
        for found in find_machines(self._root):
            if found.key == key:
                return found
        raise SourceNotFound(f"There is no image {key} in {self._root}", code="image-missing")

    def _listed(self, found: Found, key: str) -> DiskFact:
        try:
            return self._inspect(found, key)[1]
        except AdapterError as error:
            return _fact(found, key, 0, Exclusion(str(error), error.hint or "Repair or remove the image."))

    def _inspect(self, found: Found, key: str) -> tuple[Image, DiskFact]:
        if found.error is not None:
            raise found.error
        image = open_image(found.disks[key], self._root)
        size = image.size_bytes if image.format in {RAW, *VIRTUAL} else virtual_size(image)
        return image, _fact(found, key, size, None)


def _fact(found: Found, key: str, size_bytes: int, exclusion: Exclusion | None) -> DiskFact:
    return DiskFact(
        key=key,
        label=found.disks[key].name,
        size_bytes=size_bytes,
        identity=f"image:{found.key}/{key}",
        tracking="compare",
        granularity_bytes=_GRANULARITY_BYTES,
        exclusion=exclusion,
    )
