"""What XML-RPC carries, made into what it means, and back. Imports `adapters.errors` only.

XenAPI sends 64-bit integers as strings, and a record says nothing of its types: here stands which fields are numbers.
Dates become strings, so that every record is JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xmlrpc.client import Binary, DateTime

from adapters.errors import SourceInvalid

_FIELDS = {
    "VM": "user_version memory_overhead memory_target memory_static_max memory_dynamic_max memory_dynamic_min"
    " memory_static_min VCPUs_max VCPUs_at_startup domid start_delay shutdown_delay order version"
    " hardware_platform_version",
    "VDI": "virtual_size physical_utilisation",
    "VBD": "status_code",
    "VIF": "MTU status_code",
    "SR": "virtual_allocation physical_utilisation physical_size",
    "SM": "features",
    "PIF": "MTU VLAN",
    "network": "MTU",
    "host": "memory_overhead API_version_major API_version_minor",
}
NUMBERS = {kind: frozenset(fields.split()) for kind, fields in _FIELDS.items()}
"""The fields that are integers, or map to integers, by their class: of the classes that this adapter reads."""


def typed(method: str, value: Any) -> Any:
    """Return the reply to `method` with its numbers as ints and its dates as strings. Raises SourceInvalid."""
    kind, _, verb = method.partition(".")
    numbers = NUMBERS.get(kind, frozenset())
    try:
        value = _plain(value)
        if verb == "get_record":
            return _record(value, numbers)
        if verb in ("get_all_records", "get_all_records_where"):
            return {ref: _record(record, numbers) for ref, record in value.items()}
        if verb.removeprefix("get_") in numbers and verb.startswith("get_"):
            return _number(value)
        if method == "VDI.get_nbd_info":
            return [_record(server, frozenset(("port",))) for server in value]
    except (TypeError, ValueError, AttributeError, RecursionError):
        raise SourceInvalid(
            f"The answer to {method} cannot be read", code="answer-unreadable", why="it is not what XenAPI declares"
        ) from None
    return value


def wire(value: Any) -> Any:
    """Return an argument as XenAPI wants it: integers as strings, in records, too. Raises TypeError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, dict):
        return {name: wire(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [wire(item) for item in value]
    if isinstance(value, bool | float | str):
        return value
    raise TypeError(f"XenAPI takes no {type(value).__name__}")


def _record(value: Any, numbers: frozenset[str]) -> dict[str, Any]:
    return {name: _number(item) if name in numbers else item for name, item in value.items()}


def _number(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: int(item) for name, item in value.items()}
    return int(value)


_SPECIAL: tuple[tuple[type, Callable[[Any], Any]], ...] = ((DateTime, str), (Binary, lambda value: value.data))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return next((make(value) for kind, make in _SPECIAL if isinstance(value, kind)), value)
