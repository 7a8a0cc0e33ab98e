"""A ScriptRunner straight over the simulated world: what a runner over WinRM gives, without the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from adapters.errors import AdapterError
from adapters.hyperv.control.runner import Runners
from adapters.hyperv.control.scripts import load
from tests.support.hyperv.world import HypervWorld
from tests.support.winrm import ScriptFailure


class WorldRunner:
    """The scripts of one host; `runs` are those that were asked for, in order."""

    def __init__(self, world: HypervWorld, host: str) -> None:
        self._world = world
        self._host = host
        self.closed = False

    def run(self, script: str, arguments: Mapping[str, object]) -> Any:
        """Ask the world, by JSON both ways. Raises the AdapterError of a failure's kind."""
        load(script)
        try:
            return self._world.answer(self._host, script, json.loads(json.dumps(dict(arguments))))
        except ScriptFailure as failure:
            kind = next(kind for kind in AdapterError.__subclasses__() if kind.kind == failure.kind)
            raise kind(failure.message, code=failure.code) from None

    def close(self) -> None:
        """Nothing is open."""
        self.closed = True


def world_runners(world: HypervWorld) -> Runners:
    """A runner for each host of the world."""
    return Runners(lambda host: WorldRunner(world, host))
