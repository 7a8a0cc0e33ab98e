"""A backup by an agent, from what the administrator said to what the receiver answered. Imports `ingest.agent`.

In this order: the receiver answers, the state is ours, file systems are frozen or snapshotted, volumes are opened, the
run is opened. All of it is undone in reverse, and what a crash leaves undone by the next run.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import msgspec

from ingest.agent.archive import DirectoryVolume
from ingest.agent.connection import Line, Receiver
from ingest.agent.hooks import Hooks, held, undo
from ingest.agent.protocol import VERSION, Cleaned, Hello, PointMade, RunFailed
from ingest.agent.session import Session, Wish
from ingest.agent.state import AgentState, opened_state
from ingest.agent.volume import DeviceVolume, Volume
from ingest.progress import Progress
from storage.errors import Invalid

FIRST_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class AgentBackup:
    """What to send: devices or a directory, as the machine `name`."""

    name: str
    devices: tuple[Path, ...]
    directory: Path | None
    state: Path
    hooks: Hooks
    full: bool = False

    def __post_init__(self) -> None:
        """Raise Invalid for a wish that makes no sense."""
        if bool(self.devices) == (self.directory is not None):
            raise Invalid("either devices or a directory", code="agent-what", hint="--device PATH or --directory PATH")
        if any(not str(path).isprintable() for path in self.targets):
            raise Invalid("a path has characters that cannot be shown", code="agent-what")
        if len(set(self.targets)) != len(self.targets):
            raise Invalid("a device is named twice", code="agent-what")

    @property
    def targets(self) -> tuple[Path, ...]:
        """What is named."""
        return self.devices if self.directory is None else (self.directory,)


def default_state() -> Path:
    """Where an agent keeps what it must remember."""
    if os.geteuid() == 0:
        return Path("/var/lib/holdfast-agent")
    return Path("~/.local/state/holdfast-agent").expanduser()


def default_name() -> str:
    """What this machine is called, without its domain."""
    return socket.gethostname().partition(".")[0]


def send(
    wish: AgentBackup,
    receiver: Receiver,
    token: str,
    *,
    progress: Progress,
    stop: Callable[[], bool],
    notice: Callable[[str], None],
    warn: Callable[[str], None],
) -> tuple[PointMade | RunFailed, int]:
    """Back up; return what it came to, and how many bytes that took to send.

    `notice` hears of what the restore point does not tell, `warn` of what somebody must see to. Raises
    what kept it from being made.
    """
    with closing(Line(receiver, token)) as line, opened_state(wish.state, wish.name) as state:
        hello = msgspec.json.decode(line.request("GET", "", patience=FIRST_PATIENCE_SECONDS), type=Hello)
        if hello.protocol != VERSION:
            raise Invalid(
                f"the receiver speaks protocol {hello.protocol}", code="agent-protocol", hint=f"this is {VERSION}"
            )
        cleaned = undo(wish.hooks, state, warn)
        with held(wish.hooks, wish.targets, state) as places, _opened(wish, places, hello, state) as volumes:
            for volume in volumes:
                if isinstance(volume, DirectoryVolume):
                    _tell_mounts(volume, notice)
            session = Session(
                line,
                state,
                volumes,
                _frozen(wish, volumes, cleaned),
                chunk_bytes=hello.chunk_bytes,
                progress=progress,
                stop=stop,
            )
            return session.run(), line.sent_bytes


@contextmanager
def _opened(wish: AgentBackup, places: Mapping[Path, Path], hello: Hello, state: AgentState) -> Iterator[list[Volume]]:
    with ExitStack() as stack:
        volumes: list[Volume] = []
        for target, place in places.items():
            volumes.append(_volume(wish, target, place, hello, state))
            stack.callback(volumes[-1].close)
        yield volumes


def _volume(wish: AgentBackup, target: Path, place: Path, hello: Hello, state: AgentState) -> Volume:
    if wish.directory is None:
        return DeviceVolume(str(target), place)
    live = not (wish.hooks.freeze or wish.hooks.snapshot)
    return DirectoryVolume(str(target), place, hello.chunk_bytes, state.directory, live=live)


def _frozen(wish: AgentBackup, volumes: list[Volume], cleaned: tuple[Cleaned, ...]) -> Wish:
    hooks = wish.hooks
    live = any(volume.live for volume in volumes) and not (hooks.freeze or hooks.snapshot)
    return Wish(
        machine=wish.name,
        request_id=uuid4(),
        full=wish.full,
        asked=hooks.asked,
        consistency=hooks.asked,
        fallback_cause="agent-not-frozen" if live else None,
        cleaned=cleaned,
    )


def _tell_mounts(volume: DirectoryVolume, notice: Callable[[str], None]) -> None:
    for mount in volume.mounts[:10]:
        notice(f"{os.fsdecode(mount)} is another file system, and is not in it")
    if len(volume.mounts) > 10:
        notice(f"{len(volume.mounts) - 10} more directories are other file systems, and are not in it")
