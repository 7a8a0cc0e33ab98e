"""Reading properties as the PropertyCollector does: paths, and the objects that selections lead to.

Values are pyVmomi's; an object's own rights to a property are not simulated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pyVmomi import vim, vmodl
from pyVmomi.VmomiSupport import ManagedObject, long

from tests.support.vsphere.managed import Managed, World
from tests.support.vsphere.sessions import Session, not_authenticated

Collector = vmodl.query.PropertyCollector


def read(target: Managed, path: str, session: Session | None = None) -> object:
    """Read a dotted path of an object; None when it is not set. Raises InvalidProperty."""
    name, _, rest = path.partition(".")
    value = target.get(name, session)
    info = target.kind._GetPropertyInfo(name)
    for part in rest.split(".") if rest else ():
        try:
            info = info.type._GetPropertyInfo(part) if value is None else value._GetPropertyInfo(part)
        except (AttributeError, KeyError):
            raise vmodl.query.InvalidProperty(name=path, msg=f"No property {path}") from None
        value = None if value is None else getattr(value, part)
    return _typed(value, info.type)


def _typed(value: object, declared: type) -> object:
    """Give lists and long numbers the type that the wire needs where any type may stand."""
    if issubclass(declared, list) and isinstance(value, list | tuple):
        return declared(value)
    return long(value) if declared is long and value is not None else value


def content_of(target: Managed, specs: Sequence[Collector.PropertySpec], session: Session) -> Collector.ObjectContent:
    """Read what the specs ask for of one object; paths that do not exist, or not for this session, are missing."""
    content = Collector.ObjectContent(obj=target.ref)
    for path in sorted(paths_of(target, specs)):
        try:
            if not session.live:
                raise not_authenticated(target.ref, "System.Read")
            value = read(target, path, session)
        except (vmodl.query.InvalidProperty, vim.fault.NotAuthenticated) as fault:
            content.missingSet.append(Collector.MissingProperty(path=path, fault=fault))
            continue
        if value is not None:
            content.propSet.append(vmodl.DynamicProperty(name=path, val=value))
    return content


def paths_of(target: Managed, specs: Sequence[Collector.PropertySpec]) -> set[str]:
    """The paths that the specs ask for of this object."""
    found: set[str] = set()
    for spec in specs:
        if issubclass(target.kind, spec.type):
            found.update(target.properties() if spec.all else spec.pathSet)
    return found


def selected(world: World, spec: Collector.FilterSpec, session: Session) -> list[Managed]:
    """The objects of a filter in the order they are met, each once, of the types that it has properties for."""
    wanted = tuple(entry.type for entry in spec.propSet)
    met: dict[str, Managed] = {}
    for start in spec.objectSet:
        try:
            root = world.find(start.obj)
        except vmodl.fault.ManagedObjectNotFound:
            if spec.reportMissingObjectsInResults:
                continue
            raise
        for found in _walk(world, root, start, session):
            if issubclass(found.kind, wanted):
                met.setdefault(found.moid, found)
    return list(met.values())


def _walk(world: World, root: Managed, start: Collector.ObjectSpec, session: Session) -> Iterator[Managed]:
    """Follow the selections from one object; an object that was followed once is not followed again."""
    named = dict(_named(start.selectSet))
    followed: set[tuple[str, int]] = set()
    waiting: list[tuple[Managed, Sequence[Collector.SelectionSpec], bool]] = [(root, start.selectSet, bool(start.skip))]
    while waiting:
        target, selections, skip = waiting.pop(0)
        if not skip:
            yield target
        for selection in selections:
            step = selection if isinstance(selection, Collector.TraversalSpec) else named[selection.name]
            if not issubclass(target.kind, step.type) or (target.moid, id(step)) in followed:
                continue
            followed.add((target.moid, id(step)))
            found = (world.find(ref) for ref in _references(read(target, step.path, session)))
            waiting += [(entry, step.selectSet, bool(step.skip)) for entry in found]


def _named(selections: Sequence[Collector.SelectionSpec]) -> Iterator[tuple[str, Collector.TraversalSpec]]:
    for selection in selections:
        if isinstance(selection, Collector.TraversalSpec):
            if selection.name:
                yield selection.name, selection
            yield from _named(selection.selectSet)


def _references(value: object) -> list[ManagedObject]:
    values = value if isinstance(value, list) else [value]
    return [entry for entry in values if isinstance(entry, ManagedObject)]
