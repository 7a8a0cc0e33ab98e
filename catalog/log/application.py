"""The library's application, wired to our mapper, recorder and factory.

Imports nothing of ours but its neighbours. The process environment cannot change how events are stored.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.utils import Environment, EnvType

from catalog.log.mapper import MsgpackMapper
from catalog.log.recorder import ChainedRecorder
from catalog.log.sqlite import LogFactory, database_uri


class LogApplication(Application[UUID]):
    """Events only: what folds them into states is pure and lives in `catalog.domain`."""

    name = "holdfast"

    def __init__(self, path: Path, lock_timeout_s: int) -> None:
        super().__init__(
            {
                LogFactory.PERSISTENCE_MODULE: f"{LogFactory.__module__}:{LogFactory.__qualname__}",
                LogFactory.SQLITE_DBNAME: database_uri(path),
                LogFactory.SQLITE_LOCK_TIMEOUT: str(lock_timeout_s),
                LogFactory.CREATE_TABLE: "n",
            }
        )

    def construct_env(self, name: str, env: EnvType | None = None) -> Environment:
        """Settings from the constructor alone; the library would mix in those of the process."""
        return Environment(name, env)

    def construct_mapper(self) -> MsgpackMapper:
        """Our encoding."""
        self.msgpack = MsgpackMapper()
        return self.msgpack

    def construct_recorder(self) -> ChainedRecorder:
        """Our recorder: the factory makes no other."""
        self.chained = cast(ChainedRecorder, super().construct_recorder())
        return self.chained
