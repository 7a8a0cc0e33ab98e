"""Destroying what is in a pool, patiently. Imports `adapters.errors` and this package.

Destroying is asked for again while something still holds a disk, and after a lost reply: whether it was heard is seen
by what is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from adapters.errors import AdapterError, SourceNotFound
from adapters.xen.inventory import read_vdi, read_vm
from adapters.xen.records import Vdi, Vm
from adapters.xen.session import Session

METADATA = "cbt_metadata"
"""The kind of a virtual disk of which only the change tracking is left."""

_PASSING = frozenset({"vdi-in-use", "other-operation-in-progress", "vdi-not-available"})
_UNKNOWN = frozenset({"reply-lost", "task-lost"})
"""Codes after which destroying is asked for again: somebody was in the way, or nobody knows."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a snapshot may take, in seconds, and how often a disk that is held is asked for, with pauses between.

    The pool waits 4 seconds itself for an attachment to go; one of NBD goes a while after its connection was closed.
    """

    create_seconds: float = 1800
    looks: int = 60
    tries: int = 12
    pause_seconds: float = 5


class Remover:
    """Destroys machines and disks of one pool; what is gone already is no failure."""

    def __init__(self, session: Session, patience: Patience, sleep: Callable[[float], None] = time.sleep) -> None:
        self._session = session
        self._patience = patience
        self._sleep = sleep

    def vm(self, vm: Vm) -> None:
        """Destroy a machine or a snapshot; its disks stay."""
        self._until(lambda: self._session.task("VM.destroy", vm.ref), lambda: self._is_gone(read_vm, vm))

    def vdi(self, vdi: Vdi) -> None:
        """Destroy a disk."""
        self._until(lambda: self._session.task("VDI.destroy", vdi.ref), lambda: self._is_gone(read_vdi, vdi))

    def strip(self, vdi: Vdi) -> None:
        """Destroy a disk's data and keep its change tracking. It may be done already."""
        self._until(
            lambda: self._session.task("VDI.data_destroy", vdi.ref),
            lambda: read_vdi(self._session, vdi.ref).kind == METADATA,
        )

    def _is_gone(self, read: Callable[[Session, str], Vm | Vdi], thing: Vm | Vdi) -> bool:
        try:
            return read(self._session, thing.ref).uuid != thing.uuid
        except SourceNotFound:
            return True

    def _until(self, effect: Callable[[], object], done: Callable[[], bool]) -> None:
        """Have `effect`, which does no harm twice, until it is `done`. Raises its last failure."""
        for left in reversed(range(self._patience.tries)):
            try:
                effect()
                return
            except SourceNotFound:
                return
            except AdapterError as error:
                if done():
                    return
                if not left or error.code not in _PASSING | _UNKNOWN:
                    raise
            self._sleep(self._patience.pause_seconds)
