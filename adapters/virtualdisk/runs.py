"""Which file backs which bytes of a disk, as arrays of runs. Pure; a run takes 18 bytes, and no loop goes over them.

A run's source is the number of a file in its chain (the child is 0), `ZERO`, or `PARENT` while that is not resolved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

OWN, ZERO, PARENT = 0, -1, -2

Numbers = npt.NDArray[np.int64]
Sources = npt.NDArray[np.int16]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Runs:
    """Gapless runs in order: `starts` in the disk, the last one ends at `end`; `offsets` in the source's file.

    There is at least one. The offset of a run without a file means nothing.
    """

    starts: Numbers
    end: int
    sources: Sources
    offsets: Numbers


def one_run(start: int, end: int, source: int) -> Runs:
    """A single run without a file."""
    return Runs(np.array([start]), end, np.array([source], dtype=np.int16), np.zeros(1, dtype=np.int64))


def joined(parts: list[Runs]) -> Runs:
    """Put runs that follow each other together."""
    if len(parts) == 1:
        return parts[0]
    return Runs(
        np.concatenate([part.starts for part in parts]),
        parts[-1].end,
        np.concatenate([part.sources for part in parts]),
        np.concatenate([part.offsets for part in parts]),
    )


def left_to_parent(runs: Runs) -> tuple[int, int] | None:
    """The range from the first to the last byte that a parent has to show, None when there is none."""
    left = np.flatnonzero(runs.sources == PARENT)
    if not left.size:
        return None
    last = int(left[-1]) + 1
    return int(runs.starts[left[0]]), int(runs.starts[last]) if last < runs.starts.size else runs.end


def filled(child: Runs, parent: Runs, number: int) -> Runs:
    """Show the parent's runs, whose own file gets the number `number`, where the child leaves it to its parent.

    `parent` covers at least what `left_to_parent` gives.
    """
    both = np.sort(np.concatenate([child.starts, parent.starts]))
    starts = both[_where_new(both[1:] == both[:-1])]
    above = np.searchsorted(child.starts, starts, side="right") - 1
    below = np.maximum(np.searchsorted(parent.starts, starts, side="right") - 1, 0)
    left = child.sources[above] == PARENT
    numbered = np.where(parent.sources == OWN, np.int16(number), parent.sources)
    sources = np.where(left, numbered[below], child.sources[above])
    child_offsets = child.offsets[above] + (starts - child.starts[above])
    parent_offsets = parent.offsets[below] + (starts - parent.starts[below])
    return Runs(starts, child.end, sources, np.where(left, parent_offsets, child_offsets))


def merged(runs: Runs) -> Runs:
    """Join neighbours whose bytes follow each other in one file, or are both zeros or both the parent's."""
    sources, starts, offsets = runs.sources, runs.starts, runs.offsets
    if sources.size == 1:
        return runs
    follows = (offsets[1:] - offsets[:-1] == starts[1:] - starts[:-1]) | (sources[1:] < OWN)
    kept = _where_new((sources[1:] == sources[:-1]) & follows)
    return Runs(starts[kept], runs.end, sources[kept], offsets[kept])


def zero_runs(runs: Runs) -> tuple[Numbers, Flags]:
    """Return the starts of the alternating runs of zeros and of data, and which of them are zeros."""
    zero: Flags = runs.sources == ZERO
    kept = _where_new(zero[1:] == zero[:-1])
    return runs.starts[kept], zero[kept]


def _where_new(same: Flags) -> Numbers:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.flatnonzero(~same) + 1])
