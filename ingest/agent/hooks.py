"""The administrator's commands around a backup: freeze, snapshot, thaw, give back.

Imports `ingest.agent.state` and `storage.errors`. What a command is for is durable before it runs, and undone by the
next run if this process dies. A frozen file system does not wait for that: a watching process thaws it as soon as we
are gone.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from ingest.agent.protocol import MAX_CLEANED, Cleaned, Consistency
from ingest.agent.state import AgentState
from storage.errors import Conflict, HoldfastError, Invalid, Unavailable

COMMAND_SECONDS = 120
_WATCH = 'read -r said || exec "$@"'
"""The watcher's whole program: it reads a line, and when there is none because we are gone, it thaws."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """Command lines, split as a shell would and run without one.

    `forget`: the administrator says that the snapshots which earlier runs left are gone.
    """

    freeze: str | None = None
    thaw: str | None = None
    snapshot: str | None = None
    release: str | None = None
    forget: bool = False

    def __post_init__(self) -> None:
        """Raise Invalid for half of a pair, and for what is no command."""
        for line in (self.freeze, self.thaw, self.snapshot, self.release):
            if line is not None:
                _words(line)
        if (self.freeze is None) != (self.thaw is None):
            raise Invalid("what freezes must thaw", code="agent-hooks", hint="--freeze-command and --thaw-command")
        if self.release is not None and self.snapshot is None:
            raise Invalid("nothing is there to release", code="agent-hooks", hint="--snapshot-command")

    @property
    def asked(self) -> Consistency:
        """The consistency that these reach: an agent cannot know more of a snapshot than that it is one moment."""
        return "filesystem" if self.freeze else "crash"


@contextmanager
def held(hooks: Hooks, targets: Sequence[Path], state: AgentState) -> Iterator[dict[Path, Path]]:
    """Freeze or snapshot `targets` for the block; gives where each is to be read.

    With a snapshot command the file systems are frozen only while it runs. `undo` what was left before.
    """
    with ExitStack() as stack:
        if hooks.snapshot:
            yield stack.enter_context(_snapshots(hooks, targets, state))
            return
        if hooks.freeze:
            _refuse_own_disk(targets, state)
            stack.enter_context(_frozen(hooks, state))
        yield {target: target for target in targets}


def undo(hooks: Hooks, state: AgentState, warn: Callable[[str], None]) -> tuple[Cleaned, ...]:
    """Do what an earlier process died over, and return what that was.

    A snapshot that no command releases stays noted, and `warn` hears of it. Raises Conflict for file systems that no
    command thaws.
    """
    cleaned: list[Cleaned] = []
    if state.undone.frozen:
        if hooks.thaw is None:
            raise Conflict("an earlier run left file systems frozen", code="agent-frozen", hint="--thaw-command")
        run(hooks.thaw, {})
        state.note(frozen=False)
        cleaned.append(Cleaned(what="frozen file systems", action="thawed"))
    if hooks.forget:
        state.note(snapshots=())
    for target, snapshot in state.undone.snapshots:
        what = f"snapshot {snapshot} of {target}" if snapshot else f"unfinished snapshot of {target}"
        if hooks.release is None:
            warn(
                f"an earlier run left the {what}, and nothing releases it: give --release-command again, or remove it "
                "and say --forget-snapshots"
            )
            continue
        _release(hooks, target, snapshot)
        state.note(snapshots=tuple(one for one in state.undone.snapshots if one != (target, snapshot)))
        cleaned.append(Cleaned(what=what[:1000], action="released"))
    return tuple(cleaned[:MAX_CLEANED])


@contextmanager
def _frozen(hooks: Hooks, state: AgentState) -> Iterator[None]:
    thaw = hooks.thaw or ""
    watcher = subprocess.Popen(
        ["sh", "-c", _WATCH, "thaw", *_words(thaw)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    state.note(frozen=True)
    try:
        run(hooks.freeze or "", {})
        yield
    finally:
        try:
            run(thaw, {})
        finally:
            watcher.communicate(b"done\n")
        state.note(frozen=False)


@contextmanager
def _snapshots(hooks: Hooks, targets: Sequence[Path], state: AgentState) -> Iterator[dict[Path, Path]]:
    """Nothing is noted while file systems are frozen: ours could be one of them.

    Without a command to release them nothing is to be undone, so nothing is noted: notes of earlier runs stay.
    """
    places: dict[Path, Path] = {}
    if hooks.release:
        state.note(snapshots=tuple((str(target), "") for target in targets))
    try:
        with _frozen(hooks, state) if hooks.freeze else nullcontext():
            for target in targets:
                places[target] = _place(hooks, target)
        if hooks.release:
            state.note(snapshots=tuple((str(target), str(place)) for target, place in places.items()))
        yield places
    finally:
        if hooks.release:
            for target, place in places.items():
                _release(hooks, str(target), str(place))
            state.note(snapshots=())


def _place(hooks: Hooks, target: Path) -> Path:
    said = run(hooks.snapshot or "", {"HOLDFAST_TARGET": str(target)}).strip().splitlines()
    if not said:
        raise Invalid("the snapshot command names no place", code="agent-snapshot", hint="its last line says it")
    return Path(said[-1].strip())


def _release(hooks: Hooks, target: str, place: str) -> None:
    if hooks.release:
        run(hooks.release, {"HOLDFAST_TARGET": target, "HOLDFAST_SNAPSHOT": place})


def run(line: str, environment: Mapping[str, str]) -> str:
    """Run a command and return what it printed. Raises Unavailable when it fails."""
    words = _words(line)
    name = words[0]
    try:
        done = subprocess.run(
            words,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        raise _failed(name, f"it took more than {COMMAND_SECONDS} s") from None
    except OSError as error:
        raise _failed(name, error.strerror or str(error)) from None
    if done.returncode:
        raise _failed(name, f"exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise Invalid("a command cannot be understood", code="agent-hooks", why=str(error)) from None
    if not words:
        raise Invalid("a command is empty", code="agent-hooks")
    return words


def _failed(name: str, why: str) -> HoldfastError:
    return Unavailable(f"the command {name} failed", code="agent-hook-failed", why=why)


def _refuse_own_disk(targets: Sequence[Path], state: AgentState) -> None:
    """Frozen for the whole reading, the file system with our state would block us, and nobody would thaw it."""
    own = state.directory.stat().st_dev
    for target in targets:
        found = target.stat()
        if own in (found.st_rdev, found.st_dev) and (found.st_rdev == own or target.is_dir()):
            raise Invalid(
                f"{target} holds the agent's own state and cannot stay frozen",
                code="agent-freezes-itself",
                hint="--snapshot-command, or --state on another file system",
            )
