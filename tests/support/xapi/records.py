"""The pool's database: objects by class and reference, each change with a number that events are made of."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from threading import Condition, RLock
from typing import Any

from tests.support.xapi.published import NULL, PUBLISHED, XapiFailure

Record = dict[str, Any]

# Fields that follow from another class's references, by class: (field, the other class, its field).
_LINKS = {
    "VM": (("VBDs", "VBD", "VM"), ("VIFs", "VIF", "VM"), ("snapshots", "VM", "snapshot_of")),
    "VDI": (("VBDs", "VBD", "VDI"), ("snapshots", "VDI", "snapshot_of")),
    "SR": (("VDIs", "VDI", "SR"), ("PBDs", "PBD", "SR")),
    "host": (("PBDs", "PBD", "host"), ("PIFs", "PIF", "host"), ("resident_VMs", "VM", "resident_on")),
    "network": (("VIFs", "VIF", "network"), ("PIFs", "PIF", "network")),
}


class Records:
    """Everything the pool knows. `lock` is held by whoever looks or changes; `changed` tells those who wait."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.changed = Condition(self.lock)
        self.generation = 1
        self._tables: dict[str, dict[str, Record]] = {kind: {} for kind in PUBLISHED.classes}
        self._stamps: dict[str, tuple[int, int]] = {}
        self._deleted: list[tuple[int, int, str, str]] = []

    def create(self, kind: str, **fields: Any) -> str:
        """Add an object and return its reference; it gets a uuid unless it has one."""
        ref = f"OpaqueRef:{uuid.uuid4()}"
        if "uuid" in PUBLISHED.classes[kind]:
            fields.setdefault("uuid", str(uuid.uuid4()))
        with self.lock:
            self._tables[kind][ref] = PUBLISHED.record(kind, fields)
            now = self._step()
            self._stamps[ref] = (now, now)
        return ref

    def get(self, kind: str, ref: str) -> Record:
        """The object itself, to be read only. Raises HANDLE_INVALID."""
        with self.lock:
            try:
                return self._tables[kind][ref]
            except KeyError:
                raise XapiFailure("HANDLE_INVALID", kind, ref) from None

    def shown(self, kind: str, ref: str) -> Record:
        """A copy of the object with what refers to it."""
        with self.lock:
            record = dict(self.get(kind, ref))
            for field, other, back in _LINKS.get(kind, ()):
                record[field] = [their for their, entry in self._tables[other].items() if entry[back] == ref]
            return record

    def set(self, kind: str, ref: str, **fields: Any) -> None:
        """Change fields of an object."""
        with self.lock:
            record = self.get(kind, ref)
            for name, value in fields.items():
                assert name in record, f"{kind} has no field {name}"
                record[name] = value
            self.touch(kind, ref)

    def touch(self, kind: str, ref: str) -> int:
        """Say that an object changed; return the number of the change."""
        with self.lock:
            self.get(kind, ref)
            self._stamps[ref] = (self._stamps[ref][0], self._step())
            return self.generation

    def destroy(self, kind: str, ref: str) -> None:
        """Remove an object."""
        with self.lock:
            self.get(kind, ref)
            del self._tables[kind][ref]
            self._deleted.append((self._step(), self._stamps.pop(ref)[0], kind, ref))

    def find(self, kind: str, **fields: Any) -> list[str]:
        """The references of a class, of those that have these values."""
        with self.lock:
            table = self._tables[kind].items()
            return [ref for ref, record in table if all(record[name] == value for name, value in fields.items())]

    def by_uuid(self, kind: str, wanted: str) -> str:
        """The reference of a uuid. Raises UUID_INVALID."""
        found = self.find(kind, uuid=wanted)
        if not found:
            raise XapiFailure("UUID_INVALID", kind, wanted)
        return found[0]

    def exists(self, kind: str, ref: str) -> bool:
        """Whether there is such an object."""
        with self.lock:
            return ref != NULL and ref in self._tables[kind]

    def since(self, generation: int, kinds: set[str]) -> Iterator[tuple[int, str, str, str]]:
        """What happened to classes after a number: (number, class, reference, add or mod or del)."""
        with self.lock:
            for kind in kinds:
                for ref in self._tables[kind]:
                    created, modified = self._stamps[ref]
                    if modified > generation:
                        yield modified, kind, ref, "add" if created > generation else "mod"
            for deleted, created, kind, ref in self._deleted:
                if kind in kinds and created <= generation < deleted:
                    yield deleted, kind, ref, "del"

    def _step(self) -> int:
        self.generation += 1
        self.changed.notify_all()
        return self.generation
