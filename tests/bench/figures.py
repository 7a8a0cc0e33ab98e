"""What a benchmark returns: named values, some with a target such as ">= 0.70" or "<= 45"."""

from __future__ import annotations

import operator
import statistics
import time
from collections.abc import Callable
from typing import Any

Figure = dict[str, Any]
COMPARE = {">=": operator.ge, "<=": operator.le}


def figure(name: str, value: float, unit: str, target: str | None = None) -> Figure:
    """One row: name, value (rounded to what a reader can use), unit, target, met (None without a target)."""
    met = None
    if target is not None:
        sign, limit = target.split()
        met = bool(COMPARE[sign](value, float(limit)))
    return {"name": name, "value": rounded(value), "unit": unit, "target": target, "met": met}


def rates(data_bytes: int, rounds: int, *reads: Callable[[], None]) -> list[float]:
    """Return each read's median rate in GB/s; a first round warms up and is not counted."""
    seconds: list[list[float]] = [[] for _ in reads]
    for _ in range(rounds + 1):
        for taken, read in zip(seconds, reads, strict=True):
            began = time.perf_counter()
            read()
            taken.append(time.perf_counter() - began)
    return [data_bytes / 1e9 / statistics.median(taken[1:]) for taken in seconds]


def rounded(value: float) -> float:
    """Three digits that count, and all of a large number's."""
    return float(f"{value:.3g}") if abs(value) < 1000 else round(value)
