"""Switching change tracking on, and asking what changed. Imports `adapters.errors`, `adapters.port` and this package.

Every refusal that XenAPI documents costs the one disk a full, with a stable cause. What keeps the pool from answering
at all raises, as it would for every other step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from adapters.areas import Area
from adapters.errors import AdapterError, SourceNotFound
from adapters.port import Tracked, Untracked
from adapters.xen.bitmap import ChangedBlocks, WrongBitmap, decode
from adapters.xen.disks import Disk
from adapters.xen.inventory import read_vdi
from adapters.xen.records import Vdi
from adapters.xen.removing import METADATA
from adapters.xen.session import Session
from adapters.xen.tokens import Base, parse, refusal
from adapters.xen.transport.access import VdiAccess
from adapters.xen.transport.exportread import exported_changes

WAS_OFF = "tracking-was-off"
_BACKEND = "sr-backend-failure-"
_NOT_ON: Mapping[str, str] = {
    "sr-operation-not-supported": "cbt-unsupported",
    "licence-restriction": "cbt-licence",
    "feature-restricted": "cbt-licence",
    "vdi-incompatible-type": "cbt-disk-type",
    "vdi-on-boot-mode-incompatible-with-operation": "cbt-reset-on-boot",
    "operation-not-allowed": "cbt-not-allowed",
    "operation-blocked": "cbt-not-allowed",
    _BACKEND: "cbt-refused",
}
"""What VDI.enable_cbt answers, and the cause that we make of it."""

_NOT_TOLD: Mapping[str, str] = {
    "vdi-in-use": "changes-in-use",
    "sr-operation-not-supported": "cbt-unsupported",
    "vdi-no-cbt-metadata": "base-missing",
    "vdi-incompatible-type": "changes-refused",
    "operation-not-allowed": "changes-refused",
    f"{_BACKEND}459": "changes-inconsistent",
    f"{_BACKEND}460": "changes-unrelated",
    _BACKEND: "changes-refused",
}
"""What VDI.list_changed_blocks answers, likewise."""

_TRIES = 4
_PAUSE_SECONDS = 3.0


def ensure_tracking(session: Session, disk: Disk) -> str | None:
    """Switch tracking on. None when it was on; else why changes since a base are not known, `WAS_OFF` if it is now."""
    vdi = disk.vdi
    if vdi is None or not disk.can_track:
        return "cbt-unsupported"
    if vdi.tracking:
        return None
    try:
        session.task("VDI.enable_cbt", vdi.ref)
    except AdapterError as error:
        if (cause := _cause(_NOT_ON, error)) is not None:
            return cause
        if not read_vdi(session, vdi.ref).tracking:
            raise
    return WAS_OFF


def changed_since_base(
    session: Session, text: str | None, vdi: str, frozen: Vdi, *, sleep: Callable[[float], None] = time.sleep
) -> tuple[Tracked | Untracked, ChangedBlocks]:
    """Say whether the changes of `frozen`, a snapshot's disk of that with uuid `vdi`, are known since a base token."""
    if text is None:
        return Untracked("no-base"), ChangedBlocks()
    base = parse(text)
    cause = refusal(base, vdi, frozen)
    if base is None or cause is not None:
        return Untracked(cause or "base-unreadable"), ChangedBlocks()
    try:
        answer = _ask(session, base.snapshot, frozen, sleep)
        return Tracked(), decode(str(answer), frozen.size_bytes)
    except WrongBitmap as wrong:
        return Untracked(wrong.cause), ChangedBlocks()
    except SourceNotFound:
        return Untracked("base-missing"), ChangedBlocks()
    except AdapterError as error:
        if (cause := _cause(_NOT_TOLD, error)) is None:
            raise
        return Untracked(cause), ChangedBlocks()


def exported_since_base(
    access: VdiAccess, base: Base, vdi: str, frozen: Vdi
) -> tuple[Tracked | Untracked, Iterable[Area]]:
    """Say what `frozen` differs in from a base that was kept whole, by an export of the one relative to the other."""
    if (cause := refusal(base, vdi, frozen)) is not None:
        return Untracked(cause), ()
    try:
        kept = access.pool.call("VDI.get_record", access.pool.call("VDI.get_by_uuid", base.snapshot))
        if kept["type"] == METADATA:
            return Untracked("base-missing"), ()
        found = exported_changes(access, base.snapshot)
    except SourceNotFound:
        return Untracked("base-missing"), ()
    except AdapterError:
        return Untracked("changes-not-exported"), ()
    return Tracked(), [(extent.start, extent.length) for extent in found]


def _ask(session: Session, base: str, frozen: Vdi, sleep: Callable[[float], None]) -> object:
    """The answer; a disk that is in use for a moment, such as by an export that just ended, is asked about again."""
    since = session.call("VDI.get_by_uuid", base)
    for _ in range(_TRIES - 1):
        try:
            return session.call("VDI.list_changed_blocks", since, frozen.ref)
        except AdapterError as error:
            if error.code != "vdi-in-use":
                raise
        sleep(_PAUSE_SECONDS)
    return session.call("VDI.list_changed_blocks", since, frozen.ref)


def _cause(table: Mapping[str, str], error: AdapterError) -> str | None:
    known = table.get(error.code)
    return table.get(_BACKEND) if known is None and error.code.startswith(_BACKEND) else known
