"""XenAPI as xapi publishes it: classes, fields, methods and the names of failures, read from `published.txt`.

So that what the simulator knows is what a pool knows: an unknown method, a wrong number of arguments, an argument or a
field of another type, and a failure that does not exist are found out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xmlrpc.client import DateTime

NULL = "OpaqueRef:NULL"
EPOCH = "19700101T00:00:00Z"
# How many of the last arguments may be left out, because they came with a later version.
_OPTIONAL = {"session.login_with_password": 2, "VM.snapshot": 1, "VDI.copy": 2, "SR.scan": 0, "VM.migrate_send": 2}
_METHOD = re.compile(r"(\w+)\((.*)\) -> (.+?)( open)?")
_FIELD = re.compile(r"(\w+): (.+?)( RW| NEW)?(?: = (.*))?")


class XapiFailure(Exception):
    """What a call fails with: a published name and its parameters."""

    def __init__(self, name: str, *parameters: str) -> None:
        super().__init__(name, *parameters)
        assert name in (*PUBLISHED.failures, "Fault") or name.startswith("SR_BACKEND_FAILURE"), (
            f"{name} is no failure of XenAPI"
        )
        self.details = [name, *parameters]


@dataclass(frozen=True)
class Field:
    """`writable` at any time, or `given` to who creates the object, who must give it if there is no `default`."""

    name: str
    type: str
    writable: bool
    given: bool
    default: str | None

    def initial(self) -> Any:
        """What a new object has in this field."""
        kind = self.type
        if kind.endswith(" map"):
            return {}
        if kind.endswith(" set"):
            return []
        if kind.endswith(" ref"):
            return NULL
        simple: dict[str, Any] = {
            "bool": self.default == "true",
            "int": int(self.default or 0) if kind == "int" else 0,
            "float": float(self.default or 0) if kind == "float" else 0.0,
            "datetime": DateTime(EPOCH),
        }
        return simple.get(kind, (self.default or "").strip('"').replace("None", "").replace("()", ""))


@dataclass(frozen=True)
class Method:
    """`parameters` are types, those of the arguments behind the session; an `open` method wants no session.

    One that follows from a field is `derived`, and has no asynchronous form.
    """

    name: str
    parameters: tuple[str, ...]
    result: str
    open: bool = False
    derived: bool = False

    def arguments(self, given: list[Any]) -> list[Any]:
        """Return `given` in Python's types. Raises the failure that a wrong number or type is answered with."""
        least = len(self.parameters) - _OPTIONAL.get(self.name, 0)
        if not least <= len(given) <= len(self.parameters):
            session = 0 if self.open else 1
            counts = len(self.parameters) + session, len(given) + session
            raise XapiFailure("MESSAGE_PARAMETER_COUNT_MISMATCH", self.name, *map(str, counts))
        return [made(value, kind, self.name) for value, kind in zip(given, self.parameters, strict=False)]


@dataclass
class Published:
    classes: dict[str, dict[str, Field]] = field(default_factory=dict)
    methods: dict[str, Method] = field(default_factory=dict)
    failures: frozenset[str] = frozenset()

    def record(self, kind: str, values: dict[str, Any]) -> dict[str, Any]:
        """A whole record of a class from some of its fields."""
        fields = self.classes[kind]
        for name in values:
            assert name in fields, f"{kind} has no field {name}"
        return {name: values[name] if name in values else entry.initial() for name, entry in fields.items()}

    def constructor(self, kind: str, given: dict[str, Any]) -> dict[str, Any]:
        """What a client gave for a new object, in Python's types. Raises the failure of missing and of wrong fields."""
        fields = {name: entry for name, entry in self.classes[kind].items() if entry.given}
        for name, entry in fields.items():
            if name not in given and entry.default is None:
                raise XapiFailure("FIELD_TYPE_ERROR", name)
        return {name: made(given[name], entry.type, name) for name, entry in fields.items() if name in given}


def made(value: Any, kind: str, where: str) -> Any:
    """A value as it came, as Python's type of `kind`: XML-RPC carries integers as strings."""
    if kind == "int" and isinstance(value, int | str) and not isinstance(value, bool):
        if re.fullmatch(r"-?\d+", str(value)):
            return int(value)
        raise XapiFailure("FIELD_TYPE_ERROR", where)
    if kind == "float" and isinstance(value, float | int) and not isinstance(value, bool):
        return float(value)
    expected: dict[str, type] = {"bool": bool, "datetime": DateTime}
    wanted = expected.get(kind, str)
    if kind.endswith(" set"):
        wanted = list
    elif kind.endswith((" map", " record")):
        wanted = dict
    if not isinstance(value, wanted) or kind == "float":
        raise XapiFailure("FIELD_TYPE_ERROR", where)
    return value


def _derived(kind: str, entry: Field) -> list[Method]:
    """The methods that a field has."""
    ref, name = f"{kind} ref", entry.name
    methods = [Method(f"{kind}.get_{name}", (ref,), entry.type, derived=True)]
    if entry.writable:
        methods.append(Method(f"{kind}.set_{name}", (ref, entry.type), "void", derived=True))
        if entry.type.endswith(" map"):
            methods.append(Method(f"{kind}.add_to_{name}", (ref, "string", "string"), "void", derived=True))
            methods.append(Method(f"{kind}.remove_from_{name}", (ref, "string"), "void", derived=True))
        if entry.type.endswith(" set"):
            methods.append(Method(f"{kind}.add_{name}", (ref, "string"), "void", derived=True))
            methods.append(Method(f"{kind}.remove_{name}", (ref, "string"), "void", derived=True))
    return methods


def _split(parameters: str) -> tuple[str, ...]:
    return tuple(part for part in parameters.split(", ") if part)


def load(path: Path) -> Published:
    """Read the file."""
    published, kind = Published(), ""
    for line in path.read_text().splitlines():
        if line.startswith("class "):
            kind = line.removeprefix("class ")
            published.classes[kind] = {}
        elif line == "errors":
            kind = ""
        elif not line.startswith("  "):
            continue
        elif not kind:
            published.failures |= set(line.split())
        elif method := _METHOD.fullmatch(line.strip()):
            name, parameters, result, is_open = method.groups()
            whole = f"{kind}.{name}"
            published.methods[whole] = Method(whole, _split(parameters), result, bool(is_open))
        else:
            found = _FIELD.fullmatch(line.strip())
            assert found is not None, line
            name, type_, writable, default = found.groups()
            published.classes[kind][name] = Field(name, type_, writable == " RW", bool(writable), default)
            for derived in _derived(kind, published.classes[kind][name]):
                published.methods[derived.name] = derived
    return published


PUBLISHED = load(Path(__file__).with_suffix(".txt"))
