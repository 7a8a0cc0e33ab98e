"""Sources by name: their settings as events, their adapters built when needed.

Imports `adapters.port`, `catalog` and `ingest.kinds`. Settings hold references to secrets, never secrets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from adapters.port import Source
from catalog.domain.events import SourceAdded, SourceRemoved
from catalog.domain.ids import source_id
from catalog.domain.source import SourceState
from catalog.home import Home
from ingest.agent.protocol import SOURCE as AGENTS
from ingest.kinds import build_source, read_settings
from ingest.streams import StreamWriter
from ingest.wiring import Services
from storage.errors import Conflict, Invalid, NotFound


def add_source(services: Services, name: str, kind: str, settings: Mapping[str, str]) -> None:
    """Record a source, after it answered. `settings` are as they were typed, by the names of their options."""
    _check_name(name)
    if AGENTS in (name, kind):
        raise Invalid(f"{AGENTS} is the source of agents alone", code="source-kind", hint="holdfast receive adds it")
    kept = read_settings(kind, settings)
    stream = source_id(services.config.repository_id, name)
    if (state := SourceState.fold(services.log.stream(stream))) is not None and not state.removed:
        raise Conflict(f"a source {name} exists already", code="source-exists", hint="holdfast source list")
    with _built(services.home, name, kind, kept) as source:
        source.check()
    StreamWriter(services.log, stream, services.clock).append(SourceAdded, name=name, kind=kind, settings=kept)


def add_agents(services: Services) -> None:
    """Record the source of the machines whose agents send their backups, unless it is there."""
    stream = source_id(services.config.repository_id, AGENTS)
    state = SourceState.fold(services.log.stream(stream))
    if state is None or state.removed:
        StreamWriter(services.log, stream, services.clock).append(SourceAdded, name=AGENTS, kind=AGENTS, settings={})
    elif state.kind != AGENTS:
        raise Conflict(
            f"a source of kind {state.kind} is called {AGENTS}",
            code="source-exists",
            hint=f"machines of agents need that name: holdfast source remove {AGENTS}",
        )


def remove_source(services: Services, name: str) -> None:
    """Stop backing a source up; what was backed up stays."""
    state = get_source(services, name)
    StreamWriter(services.log, source_id(services.config.repository_id, name), services.clock).append(
        SourceRemoved, name=state.name
    )


def get_source(services: Services, name: str) -> SourceState:
    """Return a source's settings. Raises NotFound."""
    state = SourceState.fold(services.log.stream(source_id(services.config.repository_id, name)))
    if state is None or state.removed:
        raise NotFound(f"no source {name}", code="source-unknown", hint="holdfast source list")
    return state


@contextmanager
def connected(services: Services, name: str) -> Iterator[Source]:
    """Build the adapter of a source and close it afterwards."""
    state = get_source(services, name)
    with _built(services.home, name, state.kind, state.settings) as source:
        yield source


@contextmanager
def _built(home: Home, name: str, kind: str, settings: Mapping[str, str]) -> Iterator[Source]:
    source = build_source(home, name, kind, settings)
    try:
        yield source
    finally:
        source.close()


def _check_name(name: str) -> None:
    if not name or len(name) > 64 or not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise Invalid(
            f"{name!r} can't be a source's name",
            code="source-name",
            hint="use up to 64 letters, digits, - and _",
        )
