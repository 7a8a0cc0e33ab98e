"""Sources by name: their settings as events, their adapters built when needed.

Imports `adapters` and `catalog`. This is the only place that knows which kinds of source there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from adapters.image import ImageSource
from adapters.port import Source
from adapters.qemu.source import QemuSource
from catalog.domain.events import SourceAdded, SourceRemoved
from catalog.domain.ids import source_id
from catalog.domain.source import SourceState
from catalog.home import Home
from ingest.agent.protocol import SOURCE as AGENTS
from ingest.sent import SentMachines
from ingest.streams import StreamWriter
from ingest.wiring import Services
from storage.errors import Conflict, Invalid, NotFound

Builder = Callable[[Home, str, Mapping[str, str]], Source]


def _image(home: Home, name: str, settings: Mapping[str, str]) -> Source:
    return ImageSource(name, Path(settings["path"]), home.scratch_dir / name)


def _qemu(home: Home, name: str, settings: Mapping[str, str]) -> Source:
    agent = settings.get("ga")
    return QemuSource(name, Path(settings["qmp"]), home.scratch_dir / name, guest_agent=Path(agent) if agent else None)


def _agents(home: Home, name: str, settings: Mapping[str, str]) -> Source:
    return SentMachines()


KINDS: dict[str, tuple[Builder, frozenset[str], frozenset[str]]] = {
    "image": (_image, frozenset({"path"}), frozenset()),
    "qemu": (_qemu, frozenset({"qmp"}), frozenset({"ga"})),
    AGENTS: (_agents, frozenset(), frozenset()),
}


def add_source(services: Services, name: str, kind: str, settings: Mapping[str, str]) -> None:
    """Record a source, after it answered."""
    _check_name(name)
    if AGENTS in (name, kind):
        raise Invalid(f"{AGENTS} is the source of agents alone", code="source-kind", hint="holdfast receive adds it")
    if kind not in KINDS:
        raise Invalid(f"no such kind of source: {kind}", code="source-kind", hint=f"known: {', '.join(sorted(KINDS))}")
    _, required, optional = KINDS[kind]
    missing, unknown = required - settings.keys(), settings.keys() - required - optional
    if missing or unknown:
        raise Invalid(
            f"a source of kind {kind} needs other settings",
            code="source-settings",
            why="; ".join(
                f"{word} --{', --'.join(sorted(names))}"
                for word, names in (("missing", missing), ("not known", unknown))
                if names
            ),
        )
    stream = source_id(services.config.repository_id, name)
    if (state := SourceState.fold(services.log.stream(stream))) is not None and not state.removed:
        raise Conflict(f"a source {name} exists already", code="source-exists", hint="holdfast source list")
    with _built(services.home, name, kind, settings) as source:
        source.check()
    StreamWriter(services.log, stream, services.clock).append(
        SourceAdded, name=name, kind=kind, settings=dict(settings)
    )


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
    source = KINDS[kind][0](home, name, settings)
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
