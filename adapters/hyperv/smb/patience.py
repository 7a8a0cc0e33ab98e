"""How long a lost connection is borne. Imports this package only."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from adapters.hyperv.smb.faults import LinkLost

T = TypeVar("T")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0


@dataclass(frozen=True, slots=True)
class Patience:
    """Repeats what a lost connection cut short, for `seconds` after the first loss; at once, then with longer pauses.

    Only for what may be done twice.
    """

    seconds: float = 120.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def until_done(self, act: Callable[[], T]) -> T:
        """Return what `act` does. Raises its LinkLost once patience is over, everything else at once."""
        deadline: float | None = None
        pause = 0.0
        while True:
            try:
                return act()
            except LinkLost:
                deadline = self.clock() + self.seconds if deadline is None else deadline
                if self.clock() + pause > deadline:
                    raise
            self.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE) or _FIRST_PAUSE
