"""Which run belongs to which machine, where in the log it is, and how backups ended. Imports this package, `storage`.

Learned from the events, without their bodies, in one pass that goes on where it stopped. First needed when somebody
asks for the events of a machine, or for the status.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalog.queries.moment import Moment, Rows
from catalog.queries.warm import Warm
from storage.lake import Lake

NOWHERE = np.iinfo(np.int64).max
COLUMNS = ("position", "topic", "recorded_at", "machine_id", "run_id")
TEXTS = ("topic", "machine_id", "run_id")
OUTCOMES = {"BackupFailed": 0, "BackupCompleted": 1}


@dataclass(frozen=True, slots=True)
class Runs:
    """Each by run number: the machine (-1 for none), the position of the event that told it, first and last position.

    `outcomes` i64[n, 4], in order: position, time, machine and whether it was completed, of each backup that ended.
    """

    position: int
    machine: Rows
    known: Rows
    first: Rows
    last: Rows
    outcomes: NDArray[np.int64]

    def of_machines(self, moment: Moment, machines: Rows) -> NDArray[np.bool_]:
        """Which runs are of these machines (numbers), as known at a moment."""
        return (self.known <= moment.position) & np.isin(self.machine, machines)


class RunBook:
    """Follows the index. Safe to use from several threads."""

    def __init__(self, warm: Warm, lake: Lake) -> None:
        self._warm = warm
        self._lake = lake
        none = np.empty(0, np.int64)
        self._runs = Runs(0, none, none, none, none, np.empty((0, 4), np.int64))

    def at(self, moment: Moment) -> Runs:
        """The runs of at least the events up to a moment."""
        if self._runs.position < moment.position:
            with self._warm.lock:
                self._runs = self._follow(self._runs)
        return self._runs

    def _follow(self, runs: Runs) -> Runs:
        to = self._warm.position
        where = {"position": (runs.position + 1, to)}
        for batch in self._lake.read("events", COLUMNS, where=where, dictionaries=TEXTS):
            if batch.num_rows:
                runs = self._with(runs, batch)
        outcomes = runs.outcomes[np.argsort(runs.outcomes[:, 0])]
        return Runs(to, runs.machine, runs.known, runs.first, runs.last, outcomes)

    def _with(self, runs: Runs, batch: pa.RecordBatch) -> Runs:
        position, at = (batch.column(name).cast(pa.int64()).to_numpy() for name in ("position", "recorded_at"))
        run, machine = (
            self._warm.words[kind].numbers(pa.chunked_array([batch.column(f"{kind}_id")]))
            for kind in ("run", "machine")
        )
        more = len(self._warm.words["run"]) - len(runs.machine)
        owner, known = _longer(runs.machine, more, -1), _longer(runs.known, more, NOWHERE)
        first, last = _longer(runs.first, more, NOWHERE), _longer(runs.last, more, 0)
        of_run = run >= 0
        np.minimum.at(first, run[of_run], position[of_run])
        np.maximum.at(last, run[of_run], position[of_run])
        telling = np.flatnonzero(of_run & (machine >= 0))
        earliest = telling[np.argsort(position[telling], kind="stable")][::-1]
        told, told_known = np.full_like(owner, -1), np.full_like(known, NOWHERE)
        told[run[earliest]], told_known[run[earliest]] = machine[earliest], position[earliest]
        earlier = told_known < known
        owner[earlier], known[earlier] = told[earlier], told_known[earlier]
        ended = _outcomes(batch, position, at, machine)
        return Runs(runs.position, owner, known, first, last, np.concatenate([runs.outcomes, ended]))


def _outcomes(batch: pa.RecordBatch, position: Rows, at: Rows, machine: Rows) -> NDArray[np.int64]:
    topics = batch.column("topic")
    kinds = [OUTCOMES.get(topic.partition("/")[0], -1) for topic in topics.dictionary.to_pylist()]
    kind = np.array(kinds, np.int64)[topics.indices.to_numpy()]
    ended = kind >= 0
    return np.stack([position[ended], at[ended], machine[ended], kind[ended]], axis=1)


def _longer(values: Rows, more: int, fill: int) -> Rows:
    """A copy with room for more."""
    return np.concatenate([values, np.full(max(0, more), fill, np.int64)])
