"""Whether a checkpoint is asked to catch the guest's applications at rest, and what it means when it does not.

Pure; imports `adapters.errors`, `adapters.port` and this package.
"""

from __future__ import annotations

from dataclasses import dataclass

from adapters.errors import AdapterError, SourceConflict
from adapters.hyperv.facts import Machine
from adapters.hyperv.settings import AppConsistency
from adapters.port import Consistency


@dataclass(frozen=True, slots=True)
class Rest:
    """`asked`: the guest is to come to rest. `cause` is why not, when it was wanted."""

    asked: bool
    cause: str | None


def plan(machine: Machine, policy: AppConsistency, wanted: Consistency) -> Rest:
    """Decide before the checkpoint. Raises SourceConflict where the policy requires what the machine cannot do."""
    if policy == "never" or wanted == "crash":
        return Rest(False, None)
    if machine.state == "running":
        return Rest(True, None)
    if machine.state == "off":
        return Rest(False, "machine-off")  # nothing runs that could be caught in the middle
    if policy == "require":
        raise _required(machine, f"it is {machine.state}")
    return Rest(False, f"machine-{machine.state}")


def after_refusal(machine: Machine, policy: AppConsistency, error: AdapterError) -> str:
    """The cause of going on without. Raises SourceConflict where the policy forbids that."""
    if policy == "require":
        raise _required(machine, str(error))
    return "application-consistency-failed"


def _required(machine: Machine, why: str) -> SourceConflict:
    return SourceConflict(
        f"{machine.name} does not come to rest",
        code="quiesce-failed",
        why=why,
        hint="Repair the guest's integration services (VSS), or set the source's consistency to prefer.",
    )
