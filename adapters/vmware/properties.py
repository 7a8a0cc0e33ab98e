"""Reading properties of many objects in pages. Imports `adapters.errors` and this package's `session`.

Only what is asked for travels. A property that the server does not give is absent from `values`: absence is not
False, not None and not zero, and whoever reads decides what it means.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim, vmodl

from adapters.errors import SourceLimit
from adapters.vmware.session import Session

PAGE_OBJECTS = 200
MOST_OBJECTS = 200_000

_Collector = vmodl.query.PropertyCollector


@dataclass(frozen=True, slots=True)
class Found:
    """An object and those of the properties asked for that the server gave."""

    moref: str
    values: Mapping[str, Any]


def read_objects(session: Session, objects: Sequence[vim.ManagedEntity], paths: Sequence[str]) -> list[Found]:
    """Read `paths` of `objects`. Raises SourceNotFound when one of them is gone."""
    specs = [_Collector.ObjectSpec(obj=obj, skip=False) for obj in objects]
    kind = type(objects[0])
    return session.read("An object of the inventory cannot be read", lambda: _pages(session, kind, specs, paths))


def read_object(session: Session, entity: Any, paths: Sequence[str]) -> Mapping[str, Any]:
    """Read `paths` of one object; none when the server leaves the object out."""
    return next((found.values for found in read_objects(session, [entity], paths)), {})


def read_all(session: Session, kind: type[vim.ManagedEntity], paths: Sequence[str]) -> list[Found]:
    """Read `paths` of every object of `kind` that we may see. A session that is lost midway starts it anew."""
    return session.read("The inventory cannot be read", lambda: _everything(session, kind, paths))


def _everything(session: Session, kind: type[vim.ManagedEntity], paths: Sequence[str]) -> list[Found]:
    manager = session.content.viewManager
    if manager is None:
        raise TypeError("no view manager")
    view = manager.CreateContainerView(session.content.rootFolder, [kind], True)
    try:
        select = _Collector.TraversalSpec(name="view", path="view", skip=False, type=type(view))
        return _pages(session, kind, [_Collector.ObjectSpec(obj=view, skip=True, selectSet=[select])], paths)
    finally:
        view.DestroyView()


def _pages(
    session: Session, kind: type[Any], objects: Sequence[_Collector.ObjectSpec], paths: Sequence[str]
) -> list[Found]:
    wanted = _Collector.PropertySpec(type=kind, pathSet=list(paths), all=False)
    spec = _Collector.FilterSpec(propSet=[wanted], objectSet=list(objects))
    collector = session.content.propertyCollector
    page = collector.RetrievePropertiesEx([spec], _Collector.RetrieveOptions(maxObjects=PAGE_OBJECTS))
    found: list[Found] = []
    while page is not None:
        found += _found(page.objects)
        if not page.token:
            break
        if len(found) > MOST_OBJECTS:
            collector.CancelRetrievePropertiesEx(page.token)
            raise SourceLimit(f"{session.host} lists more than {MOST_OBJECTS} objects", code="inventory-too-large")
        page = collector.ContinueRetrievePropertiesEx(page.token)
    return found


def _found(contents: Iterable[_Collector.ObjectContent]) -> Iterator[Found]:
    """Properties may be missing, but not because the session has ended: that is raised as what it is."""
    for content in contents:
        for missing in content.missingSet or ():
            if isinstance(missing.fault, vim.fault.NotAuthenticated):
                raise missing.fault
        yield Found(content.obj._moId, {changed.name: changed.val for changed in content.propSet or ()})
