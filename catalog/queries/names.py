"""What people type and read: machine names, and identifiers cut short. Pure; imports `storage.errors` only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Protocol, TypeVar
from uuid import UUID

from storage.errors import Invalid, NotFound

MIN_PREFIX = 4
SHOWN = 5


class Named(Protocol):
    """A machine, as far as names go."""

    @property
    def machine_id(self) -> UUID:
        """Its identifier."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def source(self) -> str:
        """The source it is at."""


Machine = TypeVar("Machine", bound=Named)


def machine_names(machines: Iterable[Named]) -> dict[UUID, str]:
    """NAME where one machine only has it, else SOURCE/NAME, else SOURCE/NAME and the identifier's start."""
    known = list(machines)
    by_name = Counter(machine.name for machine in known)
    by_both = Counter((machine.source, machine.name) for machine in known)
    names = {}
    for machine in known:
        name = machine.name if by_name[machine.name] == 1 else f"{machine.source}/{machine.name}"
        twin = by_both[machine.source, machine.name] > 1
        names[machine.machine_id] = f"{name} ({machine.machine_id.hex[:8]})" if twin else name
    return names


def pick_machine(text: str, machines: Iterable[Machine]) -> Machine:
    """The machine called `text`: NAME, SOURCE/NAME or the identifier. Raises NotFound; Invalid if several are."""
    known = list(machines)
    found = [machine for machine in known if _is_called(machine, text)]
    if len(found) == 1:
        return found[0]
    if not found:
        names = sorted(machine_names(known).values())
        raise NotFound(f"no machine is called {text}", code="machine-unknown", hint=_some("there are", names))
    choices = [f"{machine.source}/{machine.name} ({machine.machine_id})" for machine in found]
    raise Invalid(f"{text} names several machines", code="machine-ambiguous", hint=_some("say which", sorted(choices)))


def pick_point(text: str, points: Collection[UUID]) -> UUID:
    """The restore point whose identifier starts with `text`, dashes or none. Raises NotFound, Invalid."""
    prefix = text.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{4,32}", prefix):
        raise Invalid(
            f"{text} is no restore point",
            code="point-text",
            hint=f"give an identifier, or its first {MIN_PREFIX} or more hex digits",
        )
    found = sorted(point for point in set(points) if point.hex.startswith(prefix))
    if not found:
        raise NotFound(f"no restore point starts with {text}", code="restore-point-unknown", hint="list them first")
    if len(found) > 1:
        choices = [str(point) for point in found]
        raise Invalid(
            f"{len(found)} restore points start with {text}", code="point-ambiguous", hint=_some("they are", choices)
        )
    return found[0]


def _is_called(machine: Named, text: str) -> bool:
    ids = (str(machine.machine_id), machine.machine_id.hex)
    return text in (machine.name, f"{machine.source}/{machine.name}", *ids)


def _some(lead: str, names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN]) or "none yet"
    return f"{lead}: {shown}" + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
