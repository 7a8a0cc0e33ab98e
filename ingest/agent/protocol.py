"""What agent and receiver say to each other: version 1, JSON and frames. Imports `storage.errors` of ours.

The receiver asks, the agent answers: it polls for what is asked and answers each by its number, so that whatever was
lost on the way is said again and counts once. `ingest/receiver/PROTOCOL.md` has the whole of it.
"""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

import msgspec

VERSION = 1
PREFIX = "/agent/v1"
SOURCE = "agent"
"""The source that all machines of agents belong to, and the first half of a token's globs."""
FRAME_BYTES = 4 << 20
"""The most that one frame holds before compression: the largest chunk."""
PAGE_EXTENTS = 4096
MAX_DISKS = 64
MAX_TOKENS = 4
MAX_LEFT_OUT = 64
MAX_REPLACED = 16
MAX_CLEANED = 64
MAX_DISK_BYTES = 1 << 50
MAX_JSON_BYTES = 1 << 20
MACHINE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
TOKEN = r"^[0-9a-f]{32}$"  # noqa: S105 - the form of a base token, which is no secret

CODE = r"^[a-z0-9]+(-[a-z0-9]+){0,12}$"

Text = msgspec.Meta(min_length=1, max_length=1000)
Consistency = Literal["application", "filesystem", "crash"]
Kind = Literal["invalid", "not_found", "denied", "conflict", "unavailable", "corrupt", "limit"]


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Anything sent as JSON; what is not known is refused."""


class Hello(Message, frozen=True, kw_only=True):
    """What an agent must know before it freezes anything."""

    protocol: int
    chunk_bytes: int


class OfferedDisk(Message, frozen=True, kw_only=True):
    """A disk as the agent shows it. `tokens`: the points whose digests the agent holds; `lost`: why it holds none."""

    key: Annotated[str, Text]
    size_bytes: Annotated[int, msgspec.Meta(gt=0, le=MAX_DISK_BYTES)]
    identity: Annotated[str, Text]
    transport: Literal["device", "file", "directory"]
    tokens: Annotated[tuple[Annotated[str, msgspec.Meta(pattern=TOKEN)], ...], msgspec.Meta(max_length=MAX_TOKENS)]
    lost: Literal["agent-digests-missing", "agent-digests-damaged"]


class Cleaned(Message, frozen=True, kw_only=True):
    """Something that an agent process that died had left, and what the next one did with it."""

    what: Annotated[str, Text]
    action: Annotated[str, Text]


class OpenRun(Message, frozen=True, kw_only=True):
    """Asks for a backup of `machine`; `request_id` names it, so that asking again meets the same.

    `replaces`: requests of agent processes on this machine that died; `cleaned`: what those had left. `asked` is the
    consistency that was wanted, `consistency` what the frozen disks have, `fallback_cause` why that is less.
    """

    protocol: int
    request_id: UUID
    machine: Annotated[str, msgspec.Meta(pattern=MACHINE_NAME)]
    full: bool
    asked: Consistency
    consistency: Consistency
    fallback_cause: Literal["agent-not-frozen"] | None
    disks: Annotated[tuple[OfferedDisk, ...], msgspec.Meta(min_length=1, max_length=MAX_DISKS)]
    replaces: Annotated[tuple[UUID, ...], msgspec.Meta(max_length=MAX_REPLACED)] = ()
    cleaned: Annotated[tuple[Cleaned, ...], msgspec.Meta(max_length=MAX_CLEANED)] = ()


class Opened(Message, frozen=True, kw_only=True):
    """A run. `key` is what the agent digests blocks under, `token` what it shall call the digests it makes."""

    run_id: UUID
    key: bytes
    token: str


class Asked(Message, frozen=True, kw_only=True):
    """Something that is asked of the agent; `number` counts up within the run."""

    number: int


class AskExtents(Asked, frozen=True, kw_only=True, tag="extents"):
    """Which parts of a disk hold data, from `start` on?"""

    disk: str
    start: int


class AskChanges(Asked, frozen=True, kw_only=True, tag="changes"):
    """Which blocks differ from the point `base`, from `start` on?"""

    disk: str
    base: str
    start: int


class AskBytes(Asked, frozen=True, kw_only=True, tag="bytes"):
    """Send these bytes of a disk, in one frame; with `copy` say instead where the base has them, if it has them all."""

    disk: str
    offset: int
    length: int
    copy: bool


class AskConfirm(Asked, frozen=True, kw_only=True, tag="confirm"):
    """Was all of it one moment? Make the digests durable."""


class AskRelease(Asked, frozen=True, kw_only=True, tag="release"):
    """Let go of everything. With `committed` the new digests are in force, else the old ones."""

    committed: bool


Question = AskExtents | AskChanges | AskBytes | AskConfirm | AskRelease


class Answer(Message, frozen=True, kw_only=True):
    """What the agent says to a question."""


class Extents(Answer, frozen=True, kw_only=True, tag="extents"):
    """(start, length, zero) in order, up to `next`; the rest is to be asked for from there. None: that was all."""

    extents: Annotated[tuple[tuple[int, int, bool], ...], msgspec.Meta(max_length=PAGE_EXTENTS)]
    next: int | None


class Copied(Answer, frozen=True, kw_only=True, tag="copied"):
    """What was asked for is in the base at other places: the number there of each block, -1 for one of zeros."""

    blocks: Annotated[tuple[Annotated[int, msgspec.Meta(ge=-1)], ...], msgspec.Meta(min_length=1, max_length=64)]


class LeftOut(Message, frozen=True, kw_only=True):
    """Something that is not in the backup as it should be."""

    label: Annotated[str, Text]
    reason: Annotated[str, Text]
    way_out: Annotated[str, Text]


class Confirmed(Answer, frozen=True, kw_only=True, tag="confirmed"):
    """It was one moment, but for what was left out."""

    left_out: Annotated[tuple[LeftOut, ...], msgspec.Meta(max_length=MAX_LEFT_OUT)]


class Released(Answer, frozen=True, kw_only=True, tag="released"):
    """Nothing is held any more."""


class Failed(Answer, frozen=True, kw_only=True, tag="failed"):
    """It cannot be answered; ends the run."""

    kind: Kind
    code: Annotated[str, msgspec.Meta(pattern=CODE)]
    what: Annotated[str, Text]
    why: Annotated[str, msgspec.Meta(max_length=1000)]
    hint: Annotated[str, msgspec.Meta(max_length=1000)]


AnyAnswer = Extents | Copied | Confirmed | Released | Failed


class DiskOutcome(Message, frozen=True, kw_only=True):
    """What became of a disk. Nothing of what the store had already is told: that would tell of other machines."""

    disk: str
    level: str
    cause: str
    size_bytes: int
    changed_bytes: int
    read_bytes: int


class PointMade(Message, frozen=True, kw_only=True, tag="made"):
    """The restore point that the run ended with."""

    restore_point_id: UUID
    result: Literal["complete", "partial"]
    consistency: str
    disks: tuple[DiskOutcome, ...]
    left_out: tuple[LeftOut, ...]


class RunFailed(Message, frozen=True, kw_only=True, tag="failed"):
    """Why the run ended without one."""

    kind: Kind
    code: str
    what: str
    why: str
    hint: str


class Work(Message, frozen=True, kw_only=True):
    """What is asked and not yet answered; with an outcome the run is over."""

    questions: tuple[Question, ...]
    outcome: PointMade | RunFailed | None
