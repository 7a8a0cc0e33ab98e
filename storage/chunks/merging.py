"""Writes runs: from entries in memory, or from other runs; imports `storage` only.

Memory is bounded by a slice of about a quarter million entries, whatever the runs' sizes.
"""

from __future__ import annotations

import mmap
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from storage.chunks.runs import HEADER_BYTES, TAIL, Run, RunLayout, Tails, layout_for, prefixes_of, run_name
from storage.files import publish, storage_error
from storage.packs.format import Entries

Slice = tuple[NDArray[np.uint64], Tails]

_SLICE_ENTRIES = 1 << 18
_MERGE_BELOW_RATIO = 4


def run_of(packs: Sequence[tuple[bytes, Entries]], folder: Path) -> Run:
    """Write the entries of packs as one durable run in `folder`, sorted in memory."""
    prefixes = np.concatenate([prefixes_of(entries["digest"]) for _, entries in packs])
    tails = np.empty(len(prefixes), TAIL)
    at = 0
    for number, (_, entries) in enumerate(packs):
        part = tails[at : at + len(entries)]
        part["rest"], part["pack"] = entries["digest"][:, 8:], number
        part["offset"], part["stored"] = entries["offset"], entries["stored"]
        at += len(entries)
    order = np.argsort(prefixes, kind="stable")
    layout = layout_for(len(prefixes), len(packs))
    return _write(folder, layout, [pack for pack, _ in packs], [(prefixes[order], tails[order])])


def merge(runs: Sequence[Run], folder: Path) -> Run:
    """Write the entries of `runs` as one durable run in `folder`."""
    packs = [pack for run in runs for pack in run.packs]
    layout = layout_for(sum(len(run) for run in runs), len(packs))
    return _write(folder, layout, packs, _merged(runs))


def due(runs: Sequence[Run]) -> list[Run]:
    """Choose the runs to merge: the small ones, as long as the next is under four times what they come to."""
    by_size = sorted(runs, key=len)
    chosen: list[Run] = []
    total = 0
    for run in by_size:
        if chosen and len(run) >= _MERGE_BELOW_RATIO * total:
            break
        chosen.append(run)
        total += len(run)
    return chosen if len(chosen) > 1 else []


def _merged(runs: Sequence[Run]) -> Iterator[Slice]:
    total = sum(len(run) for run in runs)
    steps = -(-total // _SLICE_ENTRIES)
    bounds = [step * (1 << 64) // steps for step in range(1, steps)]
    cuts = [_cuts(run, bounds) for run in runs]
    bases = np.cumsum([0, *(len(run.packs) for run in runs)])
    for step in range(steps):
        spans = [slice(cut[step], cut[step + 1]) for cut in cuts]
        prefixes = np.concatenate([run.prefixes[span] for run, span in zip(runs, spans, strict=True)])
        tails = np.concatenate([run.tails[span] for run, span in zip(runs, spans, strict=True)])
        moved = [np.full(span.stop - span.start, base) for span, base in zip(spans, bases[:-1], strict=True)]
        tails["pack"] += np.concatenate(moved).astype(np.uint32)
        order = np.argsort(prefixes, kind="stable")
        yield prefixes[order], tails[order]


def _cuts(run: Run, bounds: Sequence[int]) -> list[int]:
    inner = np.searchsorted(run.prefixes, np.array(bounds, np.uint64))
    return [0, *(int(at) for at in inner), len(run)]


def _write(folder: Path, layout: RunLayout, packs: Sequence[bytes], slices: Iterator[Slice] | list[Slice]) -> Run:
    written = folder / secrets.token_hex(16)
    try:
        with written.open("xb+") as file:
            os.ftruncate(file.fileno(), layout.size_bytes)
            os.pwrite(file.fileno(), b"".join(packs), HEADER_BYTES)
            _write_slices(file.fileno(), layout, slices)
            body_hash = _finish(file.fileno(), layout)
        target = folder / run_name(body_hash)
        publish(written, target)
    except OSError as error:
        raise storage_error(error, "cannot write the chunk index") from error
    finally:
        written.unlink(missing_ok=True)
    return Run(target)


def _write_slices(descriptor: int, layout: RunLayout, slices: Iterator[Slice] | list[Slice]) -> None:
    prefixes_at, tails_at = layout.prefixes_at, layout.tails_at
    for prefixes, tails in slices:
        prefixes_at += _pwrite_all(descriptor, prefixes, prefixes_at)
        tails_at += _pwrite_all(descriptor, tails, tails_at)


def _finish(descriptor: int, layout: RunLayout) -> bytes:
    """Write directory and header of a file whose entries are there; return its body hash."""
    with mmap.mmap(descriptor, layout.size_bytes, access=mmap.ACCESS_READ) as mapped:
        prefixes = np.frombuffer(mapped, "<u8", layout.entries, layout.prefixes_at)
        _write_directory(descriptor, layout, prefixes)
        with memoryview(mapped) as view, view[HEADER_BYTES:] as body:
            body_hash = blake3(body, max_threads=1).digest()
        del prefixes
    _pwrite_all(descriptor, np.frombuffer(layout.header(body_hash), np.uint8), 0)
    return body_hash


def _write_directory(descriptor: int, layout: RunLayout, prefixes: NDArray[np.uint64]) -> None:
    buckets = 1 << layout.bucket_bits
    at = layout.directory_at
    for first in range(0, buckets, _SLICE_ENTRIES):
        numbers = np.arange(first, min(first + _SLICE_ENTRIES, buckets), dtype=np.uint64)
        starts = numbers << np.uint64(64 - layout.bucket_bits) if layout.bucket_bits else numbers
        at += _pwrite_all(descriptor, np.searchsorted(prefixes, starts).astype("<u4"), at)
    _pwrite_all(descriptor, np.array([layout.entries], "<u4"), at)


def _pwrite_all(descriptor: int, array: NDArray[np.generic], offset: int) -> int:
    view = memoryview(array.tobytes())
    done = 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], offset + done)
    return done
