"""What managed objects are to the simulator: properties and methods under the names of the wire.

A class names its pyVmomi type, marks properties with `prop` and methods with `soap`. All of them run under the
world's lock, one at a time; whoever changes something says so by `World.touch`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from threading import Condition, RLock
from typing import TYPE_CHECKING, ClassVar, TypeVar

from pyVmomi import vmodl
from pyVmomi.VmomiSupport import ManagedObject

if TYPE_CHECKING:
    from tests.support.vsphere.datastore import Datastore
    from tests.support.vsphere.engine import DiskEngine
    from tests.support.vsphere.faults import Faults
    from tests.support.vsphere.sessions import Session

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True)
class Call:
    """One call of a method; an argument that was not given reads as None."""

    name: str
    session: Session
    arguments: Mapping[str, object]

    def __getitem__(self, argument: str) -> object:
        return self.arguments.get(argument)


def prop(method: F) -> F:
    """Mark a method without arguments as the property of its name."""
    method.__dict__["prop"] = True
    return method


def soap(name: str) -> Callable[[F], F]:
    """Mark a method that takes a `Call` as the one called `name` on the wire."""

    def mark(method: F) -> F:
        method.__dict__["soap"] = name
        return method

    return mark


class Managed:
    """One managed object of the simulated inventory."""

    kind: ClassVar[type[ManagedObject]]
    _props: ClassVar[dict[str, str]] = {}
    _methods: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = {name: vars(value) for name, value in vars(cls).items() if callable(value)}
        cls._props = {**cls._props, **{name: name for name, marks in own.items() if "prop" in marks}}
        cls._methods = {**cls._methods, **{marks["soap"]: name for name, marks in own.items() if "soap" in marks}}

    def __init__(self, world: World, moid: str) -> None:
        self.world = world
        self.moid = moid

    @property
    def ref(self) -> ManagedObject:
        """The reference to this object that goes over the wire."""
        return self.kind(self.moid)

    def properties(self) -> list[str]:
        """The names of all properties that this object has."""
        return list(self._props)

    def get(self, name: str, session: Session | None = None) -> object:
        """Read one property. Raises InvalidProperty for one that its type does not have, None when it is not set."""
        if name in self._props:
            return getattr(self, name)()
        try:
            self.kind._GetPropertyInfo(name)
        except (AttributeError, KeyError):
            raise vmodl.query.InvalidProperty(name=name, msg=f"No property {name}") from None
        return None

    def invoke(self, call: Call) -> object:
        """Call a method. Raises MethodNotFound for one that this object does not have."""
        method = self._methods.get(call.name)
        if method is None:
            raise vmodl.fault.MethodNotFound(receiver=self.ref, method=call.name, msg=f"No method {call.name}")
        return getattr(self, method)(call)


class World:
    """Everything there is, by its identifier, and the one lock."""

    def __init__(self, engine: DiskEngine, datastore: Datastore, faults: Faults) -> None:
        self.engine = engine
        self.datastore = datastore
        self.faults = faults
        self.address = ""
        """Host and port of the server."""
        self.waiting = 0
        """How many calls wait for changes now."""
        self.thumbprint = ""
        """SHA-1 of its certificate, as `AA:BB:..`."""
        self.lock = RLock()
        self.changed = Condition(self.lock)
        self._objects: dict[str, Managed] = {}
        self._numbers = count(1)

    def number(self) -> int:
        """A number that was not given out before."""
        return next(self._numbers)

    def add(self, entry: Managed) -> None:
        """Make an object known."""
        self._objects[entry.moid] = entry
        self.touch()

    def remove(self, entry: Managed) -> None:
        """Forget an object; whoever names it gets ManagedObjectNotFound."""
        self._objects.pop(entry.moid, None)
        self.touch()

    def touch(self) -> None:
        """Wake those who wait for changes."""
        with self.lock:
            self.changed.notify_all()

    def wait_for_change(self, seconds: float | None) -> None:
        """Give the lock up until something changes."""
        self.waiting += 1
        self.changed.wait(seconds)
        self.waiting -= 1

    def find(self, ref: ManagedObject) -> Managed:
        """The object that a reference names. Raises ManagedObjectNotFound."""
        found = self._objects.get(ref._moId)
        if found is None or not issubclass(found.kind, type(ref)):
            name = f"{type(ref)._wsdlName}:{ref._moId}"
            message = f"The object '{name}' has already been deleted or has not been completely created"
            raise vmodl.fault.ManagedObjectNotFound(obj=ref, msg=message)
        return found

    def every(self, kind: type[ManagedObject]) -> Iterator[Managed]:
        """All objects of a type."""
        return iter([entry for entry in self._objects.values() if issubclass(entry.kind, kind)])
