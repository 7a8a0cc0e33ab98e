"""The SQL door's zygote with layers taken out, to see what the others hold. Never imported by the product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

from catalog.sql import gate
from catalog.sql.door import confine, engine, landlock, seccomp, spawn, worker, zygote
from catalog.sql.door.layers import Layer
from tests.support.worker_probe import Probe

START = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.support.leaky_zygote import main
main(int(sys.argv[2]), {without!r})
"""


def leaky(without: Sequence[str]) -> Callable[[], spawn.Zygote]:
    """What makes a zygote whose workers lack these layers and believe that they hold."""
    return lambda: spawn.Zygote(START.format(without=[str(name) for name in without]))


def main(control: int, without: Sequence[str]) -> NoReturn:
    """Take layers out, then be the zygote."""
    for name in without:
        TAKE_OUT[name]()
    zygote.main(control)


def _landlock() -> None:
    landlock.abi = lambda: 0


def _no_open() -> None:
    seccomp.install_everywhere = lambda _: None


def _seccomp() -> None:
    seccomp.install = lambda _: None


def _network() -> None:
    confine.leave_network = lambda: True


def _user() -> None:
    confine.drop_user = lambda: True


def _limits() -> None:
    confine.limit = lambda: None
    confine.WorkLimits.set = lambda *_: None  # type: ignore[method-assign]  # this is what leaves it out


def _settings() -> None:
    engine.SETTINGS = {}
    engine.FENCE = engine.LOCK = "SET TimeZone = 'UTC'"


def _gate() -> None:
    gate.check = lambda *_: None


def _native() -> None:
    """Files are opened anew by DuckDB although Landlock is not there to bind it to them."""
    landlock.abi = lambda: 1
    landlock.restrict = lambda _: None


def _unsealable() -> None:
    """A kernel that binds neither files nor opens."""
    landlock.abi = lambda: 0
    worker._seal_opens = lambda _: set()


def _probe() -> None:
    """Not a layer: the worker tries what it can, instead of answering."""
    engine.Engine.begin = lambda _, ask: Probe(ask)  # type: ignore[method-assign, return-value, assignment]  # as said


TAKE_OUT: dict[str, Callable[[], None]] = {
    Layer.LANDLOCK: _landlock,
    Layer.NO_OPEN: _no_open,
    Layer.SECCOMP: _seccomp,
    Layer.NETWORK: _network,
    Layer.USER: _user,
    Layer.LIMITS: _limits,
    Layer.SETTINGS: _settings,
    "gate": _gate,
    "landlock, natively": _native,
    "unsealable": _unsealable,
    "probe": _probe,
}
