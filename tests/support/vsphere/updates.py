"""What a waiting client is told: how objects differ from what it knows.

Values are compared as they go over the wire.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pyVmomi import SoapAdapter
from pyVmomi.VmomiSupport import ManagedObject

from tests.support.vsphere.properties import Collector

Kind = Collector.ObjectUpdate.Kind
Op = Collector.Change.Op


@dataclass(frozen=True)
class Known:
    """What a client was told of an object: its paths' values as they went over the wire."""

    ref: ManagedObject
    values: Mapping[str, str]


Told = Mapping[tuple[str, str], Known]
"""By filter and object, named by their identifiers."""


@dataclass(frozen=True)
class Difference:
    """An object that a client knows otherwise, or not at all; `now` is None when it has left the filter."""

    key: tuple[str, str]
    update: Collector.ObjectUpdate
    now: Known | None


def differences(filter_id: str, contents: Sequence[Collector.ObjectContent], told: Told) -> Iterator[Difference]:
    """Compare what a filter shows with what was told of it."""
    present = set()
    for content in contents:
        key = (filter_id, content.obj._moId)
        present.add(key)
        now = Known(content.obj, {entry.name: SoapAdapter.SerializeToStr(entry.val) for entry in content.propSet})
        before = told.get(key)
        if before is None or before.values != now.values:
            yield Difference(key, _update(content, before, now), now)
    for key, before in told.items():
        if key[0] == filter_id and key not in present:
            yield Difference(key, Collector.ObjectUpdate(kind=Kind.leave, obj=before.ref), None)


def after(told: Told, changes: Sequence[Difference]) -> Told:
    """What the client knows once it was told of the changes."""
    known = dict(told)
    for change in changes:
        if change.now is None:
            del known[change.key]
        else:
            known[change.key] = change.now
    return known


def _update(content: Collector.ObjectContent, before: Known | None, now: Known) -> Collector.ObjectUpdate:
    old = before.values if before else {}
    changed = [
        Collector.Change(name=entry.name, op=Op.assign, val=entry.val)
        for entry in content.propSet
        if old.get(entry.name) != now.values[entry.name]
    ]
    changed += [Collector.Change(name=name, op=Op.indirectRemove) for name in old if name not in now.values]
    kind = Kind.modify if before else Kind.enter
    missing = [] if before else content.missingSet
    return Collector.ObjectUpdate(kind=kind, obj=content.obj, changeSet=changed, missingSet=missing)
