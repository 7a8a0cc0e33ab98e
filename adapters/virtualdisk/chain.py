"""A virtual disk as its guest sees it: a file and the parents that it builds on.

Imports `adapters.errors`, `adapters.port` and its own package. Nothing is trusted that a file says: a parent is opened
only where `locate` allows it, and used only when it is the one that the child was made on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache

from adapters.errors import SourceConflict, SourceInvalid, SourceNotFound
from adapters.port import Extent
from adapters.virtualdisk.blocks import Layer, layer_runs, window_end
from adapters.virtualdisk.file import OpenFile
from adapters.virtualdisk.locator import Locate, ParentLocator
from adapters.virtualdisk.opening import open_layer
from adapters.virtualdisk.reading import NETWORK_GAP_BYTES, Window
from adapters.virtualdisk.runs import ZERO, Runs, filled, joined, left_to_parent, merged, one_run, zero_runs

MOST_FILES = 64
_WINDOW_BYTES = 16 << 20
_KEPT_WINDOWS = 4


class VirtualDisk:
    """The disk in an open chain of files, the child first. Safe to use from several threads.

    `identity` is the VHDX's virtual disk id or the VHD's unique id, lower-case with dashes; `format` is `vhdx` or
    `vhd`; `files` are the paths that were opened.
    """

    def __init__(self, layers: list[Layer], gap_bytes: int) -> None:
        self._layers = layers
        self._gap_bytes = gap_bytes
        self._open_files = [layer.file for layer in layers]
        self._window = lru_cache(maxsize=_KEPT_WINDOWS)(self._looked_up)
        top = layers[0]
        self.size_bytes = top.size_bytes
        self.identity = top.identity
        self.format = top.format
        self.logical_sector_bytes = top.sector_bytes
        self.path = top.path
        self.files = tuple(layer.path for layer in layers)

    def extents(self) -> Iterator[Extent]:
        """Yield the whole disk in order, gapless, neighbours of a kind merged; zero extents need not be read."""
        begun: tuple[int, bool] | None = None
        position = 0
        while position < self.size_bytes:
            reaching = [layer for layer in self._layers if layer.size_bytes > position]
            end = min(window_end(layer, position, min(layer.size_bytes, self.size_bytes)) for layer in reaching)
            starts, zeros = zero_runs(self._resolved(position, end))
            for start, zero in zip(starts.tolist(), zeros.tolist(), strict=True):
                if begun is None or begun[1] != zero:
                    if begun is not None:
                        yield Extent(begun[0], start - begun[0], begun[1])
                    begun = start, zero
            position = end
        if begun is not None:
            yield Extent(begun[0], self.size_bytes - begun[0], begun[1])

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`, wholly or not at all. Raises SourceInvalid past the end, other AdapterErrors."""
        if offset < 0 or offset + len(buffer) > self.size_bytes:
            raise SourceInvalid(
                f"A read of {len(buffer)} bytes at {offset} is outside the disk",
                code="read-past-end",
                why=f"it has {self.size_bytes} bytes",
            )
        while buffer:
            number, within = divmod(offset, _WINDOW_BYTES)
            length = min(len(buffer), _WINDOW_BYTES - within)
            self._window(number).read(offset, self._open_files, buffer[:length])
            buffer, offset = buffer[length:], offset + length

    def close(self) -> None:
        """Close the files; twice is harmless."""
        with ExitStack() as closing:
            for layer in self._layers:
                closing.callback(layer.file.close)

    def _looked_up(self, number: int) -> Window:
        """Look a window up; the latest are kept, at most a few MiB each, for reads that follow each other."""
        start = number * _WINDOW_BYTES
        runs = self._resolved(start, min(start + _WINDOW_BYTES, self.size_bytes))
        return Window(merged(runs), self._gap_bytes)

    def _resolved(self, start: int, end: int) -> Runs:
        runs = merged(layer_runs(self._layers[0], start, end))
        for number, layer in enumerate(self._layers[1:], start=1):
            left = left_to_parent(runs)
            if left is None:
                break
            runs = filled(runs, merged(_padded_runs(layer, *left)), number)
        return runs


def _padded_runs(layer: Layer, start: int, end: int) -> Runs:
    """The runs of a parent, which may be smaller than its child: behind its end are zeros."""
    size = layer.size_bytes
    if end <= size:
        return layer_runs(layer, start, end)
    if start >= size:
        return one_run(start, end, ZERO)
    return joined([layer_runs(layer, start, size), one_run(size, end, ZERO)])


def open_disk(path: str, open_file: OpenFile, locate: Locate, *, gap_bytes: int = NETWORK_GAP_BYTES) -> VirtualDisk:
    """Open a VHDX or VHD and its parents. Raises AdapterErrors; what was opened is closed then.

    `gap_bytes` is how much it is better to read in vain than to send a further request.
    """
    layers: list[Layer] = []
    with ExitStack() as opened:
        following: str | None = path
        while following is not None:
            layer = _opened(following, open_file, opened)
            if layers:
                _require_parent(layers[-1], layer)
            layers.append(layer)
            following = _parent(layers, locate)
        disk = VirtualDisk(layers, gap_bytes)
        opened.pop_all()
        return disk


def parent_of(path: str, open_file: OpenFile, locate: Locate) -> str | None:
    """Return the path of the file that `path` builds on, None when that is none. Raises what `open_disk` does."""
    with ExitStack() as opened:
        child = _opened(path, open_file, opened)
        parent = _parent([child], locate)
        if parent is not None:
            _require_parent(child, _opened(parent, open_file, opened))
        return parent


def _opened(path: str, open_file: OpenFile, opened: ExitStack) -> Layer:
    file = open_file(path)
    opened.callback(file.close)
    return open_layer(path, file)


def _parent(layers: list[Layer], locate: Locate) -> str | None:
    """Where the last file's parent is, None when it builds on none."""
    child = layers[-1]
    if child.locator is None:
        return None
    path = locate(child.path, child.locator)
    if path is None:
        raise SourceNotFound(
            f"The disk that {child.path} builds on is not there",
            code="vdisk-parent-missing",
            why=_stated(child.locator),
            hint="Put all files of the chain where the source may read them.",
        )
    if path in {layer.path for layer in layers}:
        raise SourceInvalid(
            f"{layers[0].path} builds on itself", code="vdisk-chain", why=f"{child.path} names {path} as its parent"
        )
    if len(layers) == MOST_FILES:
        raise SourceInvalid(f"{layers[0].path} is a chain of more than {MOST_FILES} files", code="vdisk-chain")
    return path


def _require_parent(child: Layer, parent: Layer) -> None:
    """Refuse a parent other than the one that the child was made on, as it was then."""
    linkages = child.locator.linkages if child.locator else ()
    same_kind = (child.format, child.sector_bytes) == (parent.format, parent.sector_bytes)
    if same_kind and parent.linkage in linkages:
        return
    why = f"it is {parent.linkage}, and {' or '.join(linkages) or 'nothing'} is asked for"
    raise SourceConflict(
        f"{parent.path} is not the disk that {child.path} builds on",
        code="vdisk-parent-changed",
        why=why if same_kind else "it is of another format or sector size",
        hint="A parent must not be written once it has children; take the chain from one moment.",
    )


def _stated(locator: ParentLocator) -> str:
    return "it names " + (" or ".join(path[:200] for path in locator.paths) or "no path")
