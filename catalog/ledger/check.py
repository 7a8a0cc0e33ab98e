"""Comparing the log as it is stored with checkpoints that were signed earlier.

Imports `catalog.log` and its neighbours. Leaves, heads and roots are computed from the stored events: neither the
chain table nor the cache of the tree is believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from catalog.ledger.checkpoint import Checkpoint
from catalog.ledger.tree import Frontier
from catalog.log.chain import GENESIS, ChainedRow, leaf_of, next_head, typed
from storage.errors import Corrupt

MAX_FINDINGS = 100


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint and where it was found. What the log itself recorded has no chain head: it is empty there."""

    where: str
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class LedgerFinding:
    """Something that is not as it was signed. `first` and `last` are the positions it lies within."""

    where: str
    first: int
    last: int
    problem: str


@dataclass(frozen=True, slots=True)
class LedgerCheck:
    """The outcome: `events` were read, `checkpoints` compared."""

    events: int
    checkpoints: int
    findings: tuple[LedgerFinding, ...]

    @property
    def ok(self) -> bool:
        """Whether the log is what every checkpoint says."""
        return not self.findings


class LogWalk:
    """Follows the log from its start and compares it with checkpoints as their sizes are reached."""

    def __init__(self, kept: Iterable[Kept]) -> None:
        self._due = sorted(kept, key=lambda one: one.checkpoint.size)
        self._frontier = Frontier()
        self._head = GENESIS
        self._good = 0
        self._compared = 0
        self.findings: list[LedgerFinding] = []

    def run(self, rows: Iterable[ChainedRow]) -> LedgerCheck:
        """Read all rows."""
        self._compare()
        try:
            if all(self._taken(row) for row in rows):
                self._ended()
        except Corrupt as error:
            self._find("the log", self._frontier.size + 1, self._frontier.size + 1, str(error))
        return LedgerCheck(self._frontier.size, self._compared, tuple(self.findings[:MAX_FINDINGS]))

    def _taken(self, row: ChainedRow) -> bool:
        position = self._frontier.size + 1
        if row.position != position:
            self._find("the log", position, row.position - 1, "events are missing")
            return False
        stored = typed(row)
        if stored is None:
            self._find("the log", position, position, "the row is no event")
            return False
        leaf = leaf_of(*stored[1:])
        if leaf != row.leaf:
            self._find("the log", position, position, "the event is not the one that was recorded")
        self._frontier.append(leaf)
        self._head = next_head(self._head, leaf)
        if row.head != self._head:
            self._find("the log", position, position, "the chain does not follow from the events")
            return False
        self._compare()
        return True

    def _compare(self) -> None:
        size = self._frontier.size
        while self._due and self._due[0].checkpoint.size == size:
            one = self._due.pop(0)
            self._compared += 1
            if one.checkpoint.root == self._frontier.root() and one.checkpoint.head in (self._head, b""):
                self._good = size
            else:
                text = f"the events up to {size} are not those that were signed; they were up to {self._good}"
                self._find(one.where, self._good + 1, size, text)

    def _ended(self) -> None:
        size = self._frontier.size
        for one in self._due:
            missing = one.checkpoint.size - size
            self._find(one.where, size + 1, one.checkpoint.size, f"the last {missing} events that were signed are gone")
        self._compared += len(self._due)

    def _find(self, where: str, first: int, last: int, problem: str) -> None:
        self.findings.append(LedgerFinding(where, first, last, problem))


def check_log(rows: Iterable[ChainedRow], kept: Sequence[Kept]) -> LedgerCheck:
    """Compare all rows of a log, unverified, in order, with the checkpoints."""
    return LogWalk(kept).run(rows)
