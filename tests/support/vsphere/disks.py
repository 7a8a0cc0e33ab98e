"""Simulated virtual disks: layers of real files below a QEMU node, and the record of which writes came when.

A disk's first layer is its flat file. A snapshot freezes the layer on top and puts a new one above it; taking the
snapshot away writes the new layer down again. What changed between two snapshots is a dirty bitmap of QEMU's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

from adapters.qemu.qmp import Json
from tests.support.vsphere.datastore import create_flat, delta_of, flat_of, write_descriptor
from tests.support.vsphere.engine import GRANULARITY_BYTES, Area, DiskEngine, allocated, convert


@dataclass(eq=False)
class Layer:
    """One file of a disk; `node` is QEMU's name of it, `descriptor` the small file that stands for it."""

    node: str
    descriptor: Path
    raw: bool

    @property
    def file(self) -> Path:
        """The file that holds the bytes."""
        return flat_of(self.descriptor) if self.raw else delta_of(self.descriptor)


@dataclass(frozen=True)
class Change:
    """A change id: moment number `sequence` of the tracking `uuid`."""

    uuid: str
    sequence: int

    @property
    def text(self) -> str:
        """The change id as vSphere writes it."""
        return f"{self.uuid}/{self.sequence}"


@dataclass(frozen=True, eq=False)
class Frozen:
    """A disk in a snapshot: the content of `layer` and those below it, at the moment `change`."""

    disk: Disk
    layer: Layer
    size_bytes: int
    change: Change | None


@dataclass(eq=False)
class Disk:
    """One virtual disk; attached to the engine from `create` or `open` until `close`."""

    engine: DiskEngine
    node: str
    size_bytes: int
    layers: list[Layer]
    uuid: str = field(default_factory=lambda: str(uuid4()))
    change: Change | None = None
    """The last moment of the tracking; None until the first snapshot with tracking switched on."""
    _layer_number: int = 0

    @classmethod
    def create(cls, engine: DiskEngine, node: str, descriptor: Path, size_bytes: int) -> Disk:
        """Create the files of an empty disk and attach it."""
        create_flat(descriptor, size_bytes)
        return cls.open(engine, node, descriptor)

    @classmethod
    def open(cls, engine: DiskEngine, node: str, descriptor: Path) -> Disk:
        """Attach the disk of an existing flat file."""
        layer = Layer(f"{node}-0", descriptor, raw=True)
        engine.attach(node, layer.node, layer.file)
        return cls(engine, node, layer.file.stat().st_size, [layer])

    @property
    def top(self) -> Layer:
        """The layer that the guest writes to."""
        return self.layers[-1]

    def close(self) -> None:
        """Detach the disk; its files stay."""
        self.engine.detach(self.node, [layer.node for layer in reversed(self.layers)])

    def image(self, layer: Layer) -> Json:
        """The options of a block driver that reads the disk from `layer` down."""
        at = self.layers.index(layer)
        file = {"driver": "file", "filename": str(layer.file)}
        if layer.raw:
            return {"driver": "raw", "file": file}
        return {"driver": "qcow2", "file": file, "backing": self.image(self.layers[at - 1])}

    def content(self) -> bytes:
        """All bytes of the disk as they are now, read by qemu-img."""
        self.engine.flush(self.node)
        target = self.engine.scratch(self.node)
        convert(self.image(self.top), target, "-O", "raw")
        try:
            return target.read_bytes()
        finally:
            target.unlink()

    def resize(self, size_bytes: int) -> None:
        """Change the size; there must be no snapshot."""
        self.engine.resize(self.node, size_bytes)
        self.size_bytes = size_bytes
        write_descriptor(self.top.descriptor, self.top.file, size_bytes)

    def move(self, folder: Path) -> None:
        """Move the files elsewhere, as a storage vMotion does; the guest goes on."""
        for layer in self.layers:
            files = layer.file, layer.descriptor
            layer.descriptor = folder / layer.descriptor.name
            files[0].rename(layer.file)
            files[1].rename(layer.descriptor)

    # --- snapshots ---

    def prepare_freeze(self, *, track: bool) -> tuple[list[Json], Callable[[], Frozen]]:
        """Return what QEMU has to do to freeze the disk, and what to call once it has.

        Tracking begins with the first freeze of a disk that has no snapshot yet.
        """
        below, size_bytes = self.top, self.size_bytes
        above = self._new_layer()
        self.engine.open_overlay(above.node, above.file, size_bytes)
        actions: list[Json] = [_action("blockdev-snapshot", node=below.node, overlay=above.node)]
        change = self._next_change() if track else None
        if change is not None:
            granularity = {"granularity": GRANULARITY_BYTES}
            actions.append(_action("block-dirty-bitmap-add", node=self.node, name=_bitmap(change), **granularity))
            if self.change is not None:
                actions.append(_action("block-dirty-bitmap-disable", node=self.node, name=_bitmap(self.change)))

        def done() -> Frozen:
            write_descriptor(above.descriptor, above.file, size_bytes, below.descriptor)
            self.layers.append(above)
            self.change = change
            return Frozen(self, below, size_bytes, change)

        return actions, done

    def as_it_is(self) -> Frozen:
        """The disk of a machine that is off, as if it were in a snapshot taken now."""
        until = replace(self.change, sequence=self.change.sequence + 1) if self.change else None
        return Frozen(self, self.top, self.size_bytes, until)

    def merge(self, frozen: Layer) -> Layer:
        """Write the layer above `frozen` into it; return the layer that is gone."""
        above = self.layers[self.layers.index(frozen) + 1]
        self.engine.commit(self.node, above.node, frozen.node)
        self.layers.remove(above)
        above.file.unlink()
        above.descriptor.unlink()
        return above

    def revert(self, frozen: Frozen) -> None:
        """Go back to a snapshot whose layer is the last but one: what was written since is lost.

        The tracking goes back with it, as it is kept in a file beside the disk.
        """
        dropped = self.layers.pop()
        above = self._new_layer()
        self.engine.open_overlay(above.node, above.file, frozen.size_bytes, backing=frozen.layer.node)
        self.engine.stand_on(self.node, above.node, dropped.node)
        dropped.file.unlink()
        dropped.descriptor.unlink()
        write_descriptor(above.descriptor, above.file, frozen.size_bytes, frozen.layer.descriptor)
        self.layers.append(above)
        self._forget_since(frozen.change)

    def reset_tracking(self) -> None:
        """Forget every write; the next freeze starts a tracking of its own."""
        if self.change is not None:
            for sequence in range(1, self.change.sequence + 1):
                self.engine.remove_bitmap(self.node, _bitmap(Change(self.change.uuid, sequence)))
        self.change = None

    # --- what changed ---

    def changed(self, since: int, until: int) -> list[Area]:
        """List what was written from moment `since` to moment `until` of the tracking in force."""
        assert self.change is not None
        moments = [Change(self.change.uuid, sequence) for sequence in range(since, until)]
        return self.engine.dirty(self.node, [_bitmap(moment) for moment in moments])

    def allocated(self, layer: Layer) -> Sequence[Area]:
        """List what the content from `layer` down holds other than zeros."""
        return allocated(self.image(layer))

    def _new_layer(self) -> Layer:
        self._layer_number += 1
        first = self.layers[0].descriptor
        descriptor = first.with_name(f"{first.stem}-{self._layer_number:06}.vmdk")
        return Layer(f"{self.node}-{self._layer_number}", descriptor, raw=False)

    def _next_change(self) -> Change | None:
        if self.change is not None:
            return Change(self.change.uuid, self.change.sequence + 1)
        return Change(new_tracking_uuid(), 1) if len(self.layers) == 1 else None

    def _forget_since(self, change: Change | None) -> None:
        """Drop the bitmaps from a moment on, and begin that moment's again, empty."""
        if change is None or self.change is None or change.uuid != self.change.uuid:
            self.reset_tracking()
            return
        for sequence in range(change.sequence, self.change.sequence + 1):
            self.engine.remove_bitmap(self.node, _bitmap(Change(change.uuid, sequence)))
        again = {"node": self.node, "name": _bitmap(change), "granularity": GRANULARITY_BYTES}
        self.engine.transact([_action("block-dirty-bitmap-add", **again)])
        self.change = change


def new_tracking_uuid() -> str:
    """A UUID the way vSphere writes them in change ids: `52 3a 8f 41 9b 43 9d 10-61 d5 4c 1b e9 7b 65 63`."""
    pairs = [f"{byte:02x}" for byte in secrets.token_bytes(16)]
    return f"{' '.join(pairs[:8])}-{' '.join(pairs[8:])}"


def _bitmap(change: Change) -> str:
    return f"{change.uuid.replace(' ', '')}-{change.sequence}"


def _action(kind: str, **data: object) -> Json:
    return {"type": kind, "data": data}
