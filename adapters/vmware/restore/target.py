"""Where a new machine goes: datastore, host, resource pool and folder. Imports `adapters.errors` and this package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from adapters.errors import SourceLimit, SourceUnavailable
from adapters.vmware.places import Stores
from adapters.vmware.properties import Found, read_all, read_object
from adapters.vmware.session import Session

_DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Target:
    """The place of a new machine; `folder`, `pool`, `host` and `datacenter` are the server's objects."""

    datastore: str
    datacenter_path: str
    datacenter: Any
    folder: Any
    pool: Any
    host: Any


def choose_target(session: Session, stores: Stores, wanted: str | None, size_bytes: int) -> tuple[Target, list[str]]:
    """Take the datastore `wanted` where it is and has room, else the one with the most room, and say so.

    Raises SourceLimit when none has room, SourceUnavailable when no host with it can take a machine.
    """
    paths = ["name", "summary.accessible", "summary.freeSpace", "host"]
    found = [item for item in read_all(session, vim.Datastore, paths) if item.values.get("summary.accessible")]
    roomy = [item for item in found if int(item.values.get("summary.freeSpace") or 0) >= size_bytes]
    if not roomy:
        raise SourceLimit(
            f"No datastore has room for {size_bytes} bytes",
            code="datastore-full",
            why=", ".join(sorted(str(item.values.get("name")) for item in found)) or "there is none",
        )
    roomy.sort(key=lambda item: (item.values.get("name") != wanted, -int(item.values["summary.freeSpace"])))
    for store in roomy:
        if (host := _host(session, store)) is not None:
            name = str(store.values.get("name"))
            notes = [] if wanted in (None, name) else [f"it is on the datastore {name} and not on {wanted}"]
            return _target(session, stores, store, name, host), notes
    raise SourceUnavailable("No host can take the machine", code="no-host", why="none is connected and in service")


def _host(session: Session, store: Found) -> Any:
    for mount in store.values.get("host") or ():
        state = read_object(session, mount.key, ["runtime.connectionState", "runtime.inMaintenanceMode"])
        if state.get("runtime.connectionState") == "connected" and not state.get("runtime.inMaintenanceMode"):
            return mount.key
    return None


def _target(session: Session, stores: Stores, store: Found, name: str, host: Any) -> Target:
    datacenter = datacenter_of(session, session.bound(vim.Datastore, store.moref))
    compute = read_object(session, host, ["parent"]).get("parent")
    return Target(
        datastore=name,
        datacenter_path=stores.get(store.moref).datacenter_path,
        datacenter=datacenter,
        folder=read_object(session, datacenter, ["vmFolder"])["vmFolder"],
        pool=read_object(session, compute, ["resourcePool"])["resourcePool"],
        host=host,
    )


def datacenter_of(session: Session, entity: Any) -> Any:
    """The datacenter above `entity`. Raises SourceUnavailable where we may see none."""
    for _ in range(_DEEPEST):
        if entity is None or isinstance(entity, vim.Datacenter):
            break
        entity = read_object(session, entity, ["parent"]).get("parent")
    if entity is None:
        raise SourceUnavailable("The datastore is in no datacenter that we may see", code="no-datacenter")
    return entity
