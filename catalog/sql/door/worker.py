"""The life of a worker: bound, given its tables, sealed, asked once. Runs in a fork of the zygote; Linux only.

Imports this package. It holds no path, no variable and no secret of the service. What it can't seal it does not
serve: without a bound on files and on calls it says so and ends.
"""

from __future__ import annotations

import math
import os
import socket
from typing import NoReturn, TypeVar

import msgspec

from catalog.sql.door import confine, landlock, seccomp, wire
from catalog.sql.door.engine import Engine
from catalog.sql.door.layers import UNSEALED, Layer, holds
from catalog.sql.door.wire import Ask, Enter, Failed, Kind
from storage.errors import HoldfastError, Unavailable

PIECE_BYTES = 1 << 20
MAX_TEXT = 4000
M = TypeVar("M", bound=msgspec.Struct)


def live(channel: socket.socket, parent: int) -> NoReturn:
    """Serve one statement and end the process."""
    try:
        _serve(channel, parent)
    except HoldfastError as error:
        _fail(channel, Failed(error.kind, error.code, error.what, error.why[:MAX_TEXT], error.hint))
    except MemoryError:
        _fail(channel, Failed("limit", "sql-memory", "the query needs more memory than it may use"))
    except BaseException as error:  # noqa: BLE001 - nothing may leave this function
        _fail(channel, Failed("unavailable", "sql-door", "the query's process failed", repr(error)[:MAX_TEXT]))
    finally:
        os._exit(0)


def _serve(channel: socket.socket, parent: int) -> None:
    found = confine.confine(parent)
    limits = confine.WorkLimits()
    enter = _expect(channel, Kind.ENTER, Enter)
    count = sum(source.files for source in enter.sources)
    confine.allow_files(count)
    descriptors = wire.receive_descriptors(channel, count)
    whole = _whole(enter, descriptors)
    native = landlock.abi() > 0 and all(map(_may_open, whole))
    found |= _seal(whole if native else [])
    engine = Engine(enter, descriptors, native=native)
    engine.warm_up()
    found |= {Layer.SETTINGS} | _seal_opens(found)
    if not holds(found):
        raise Unavailable("the SQL door is not sealed", code=UNSEALED, why=f"only {', '.join(sorted(found))} hold")
    wire.say(channel, Kind.READY, wire.Ready(sorted(found)))
    ask = _expect(channel, Kind.ASK, Ask)
    limits.set(ask.memory_bytes, math.ceil(ask.seconds) * (enter.threads + 1))
    _answer(channel, engine, ask)


def _answer(channel: socket.socket, engine: Engine, ask: Ask) -> None:
    running = engine.begin(ask)
    wire.say(channel, Kind.COLUMNS, wire.Columns(running.columns()))
    for piece in running.pieces():
        for at in range(0, len(piece), PIECE_BYTES):
            wire.send(channel, Kind.DATA, piece[at : at + PIECE_BYTES])
    wire.say(channel, Kind.END, wire.End(running.rows, running.truncated))


def _seal(readable: list[int]) -> set[Layer]:
    """Bind files and calls, while there is one thread: these bind the caller and the threads it starts."""
    if confine.threads() != 1:
        raise Unavailable("the SQL door is not sealed", code=UNSEALED, why="the process has threads already")
    machine = seccomp.this_machine()
    if machine is None:
        raise Unavailable("the SQL door is not sealed", code=UNSEALED, why=f"no filter for {os.uname().machine}")
    found = set()
    if landlock.abi() > 0:
        landlock.restrict(readable)
        found.add(Layer.LANDLOCK)
    seccomp.install(seccomp.sealing_filter(machine))
    return found | {Layer.SECCOMP}


def _seal_opens(found: set[Layer]) -> set[Layer]:
    """Where Landlock is missing: all is open that has to be, so nothing else gets opened."""
    machine = seccomp.this_machine()
    if Layer.LANDLOCK in found or machine is None:
        return set()
    seccomp.install_everywhere(seccomp.no_open_filter(machine))
    return {Layer.NO_OPEN}


def _whole(enter: Enter, descriptors: list[int]) -> list[int]:
    """The files of which every row may be seen."""
    left = iter(descriptors)
    files = [(source, [next(left) for _ in range(source.files)]) for source in enter.sources]
    return [each for source, some in files if source.only is None and not source.copied for each in some]


def _may_open(descriptor: int) -> bool:
    """Whether this user may open the file itself again; a home can be closed to all but its owner."""
    return os.access(f"/proc/self/fd/{descriptor}", os.R_OK)


def _expect(channel: socket.socket, kind: Kind, of: type[M]) -> M:
    found, payload = wire.receive(channel)
    if found is not kind:
        raise ValueError(f"{found} instead of {kind}")
    return msgspec.json.decode(payload, type=of)


def _fail(channel: socket.socket, failed: Failed) -> None:
    try:
        wire.say(channel, Kind.FAILED, failed)
    except OSError:
        return  # The service is gone, or has what it wanted.
