"""The scripts are PowerShell and ask WMI for what it has. Whether they work on Windows, nothing here says."""

from __future__ import annotations

import re

import pytest

from adapters.hyperv.control.scripts import bootstrap_line, load, names
from tests.support import powershell
from tests.support.hyperv.wmi import ASSOCIATIONS, COMMANDS, METHODS, PROPERTIES

BOOTSTRAP = {"Stop-Script", "ConvertTo-Wql"}
"""What the bootstrap has for scripts."""

_CONDITION = re.compile(r"(?:'| AND )(\w+) = ")


def faults(text: str) -> list[str]:
    """What can be known to be wrong with a script without running it."""
    root = powershell.parse(text)
    if found := powershell.mistakes(root):
        return found
    reading = powershell.Reading(root)
    own = {powershell.text_of(node) for node in powershell.walk(root) if node.type == "function_name"}
    found = [f"${name} is never set" for name in sorted(reading.unset())]
    for command in reading.commands():
        found += _command(reading, command, own | BOOTSTRAP)
    for name, member in reading.members():
        if name in reading.results and member not in METHODS.get(reading.results[name], ((), {member}))[1]:
            found.append(f"{reading.results[name][1]} gives back no {member}")
        known = [PROPERTIES[one] for one in reading.classes[name] if one in PROPERTIES]
        if known and not any(member in one for one in known) and name not in reading.results:
            found.append(f"{'/'.join(sorted(reading.classes[name]))} has no {member}")
    return found


def _command(reading: powershell.Reading, command: powershell.Command, own: set[str]) -> list[str]:
    if command.name in own or not command.name:
        return []
    if command.name not in COMMANDS:
        return [f"{command.name} is no known command"]
    found = [f"{command.name} has no -{name}" for name in command.parameters.keys() - COMMANDS[command.name]]
    if command.name == "Invoke-CimMethod":
        return found + _method(reading, command)
    asked = reading.words(command.parameters.get("classname")).strip("'")
    if command.name == "Get-WmiObject":
        asked = command.rest[0]
    if asked and asked not in PROPERTIES:
        return [*found, f"{asked} is no known class"]
    for column in _CONDITION.findall(reading.words(command.parameters.get("filter"))):
        if asked and column not in PROPERTIES[asked]:
            found.append(f"{asked} has no {column}")
    association = reading.words(command.parameters.get("association"))
    if association and association not in ASSOCIATIONS:
        found.append(f"{association} is no known association")
    return found


def _method(reading: powershell.Reading, command: powershell.Command) -> list[str]:
    method = powershell.text_of(command.parameters["methodname"])
    found = []
    for owner in reading.classes_of(command.parameters["inputobject"]):
        if (owner, method) not in METHODS:
            found.append(f"{owner} has no method {method}")
            continue
        given = command.parameters.get("arguments")
        tables = [given] if given is not None and powershell.keys(given) else []
        named = powershell.only(given, "variable") if given is not None else None
        if named is not None:
            tables = reading.values[powershell.variable(named)]
        taken = set().union(*(powershell.keys(table) for table in tables))
        found += [f"{method} takes no {name}" for name in sorted(taken - METHODS[owner, method][0])]
    return found


@pytest.mark.parametrize("name", names())
def test_a_script_asks_for_what_there_is(name: str) -> None:
    """It parses, sets each variable that it reads, and names commands, classes, methods and properties that exist."""
    assert faults(load(name).body) == []


def test_the_bootstrap_is_powershell() -> None:
    """As it lies in the package, and as it goes in a command line."""
    for text in (load("bootstrap").body, bootstrap_line()):
        assert powershell.mistakes(powershell.parse(text)) == []
        assert powershell.Reading(powershell.parse(text)).unset() == set()
    assert load("bootstrap").body.isascii()


SERVICE = "$s = Get-CimInstance -Namespace x -ClassName Msvm_ImageManagementService\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("@{ a = (1 }", "line 1: 'a = (1'"),
        ("$x = 1\n$y", "$y is never set"),
        ("Get-Disks", "Get-Disks is no known command"),
        ("Get-ChildItem x -Folder", "Get-ChildItem has no -folder"),
        ("Get-CimInstance -ClassName Msvm_Nothing", "Msvm_Nothing is no known class"),
        ("Get-CimInstance -ClassName Msvm_ComputerSystem -Filter 'Id = 1'", "Msvm_ComputerSystem has no Id"),
        ("$x = @(Get-WmiObject Msvm_ComputerSystem)\nforeach ($y in $x) { $y.Id }", "Msvm_ComputerSystem has no Id"),
        (
            SERVICE + "Invoke-CimMethod -InputObject $s -MethodName Y",
            "Msvm_ImageManagementService has no method Y",
        ),
        (
            SERVICE + "Invoke-CimMethod -InputObject $s -MethodName GetVirtualDiskChanges -Arguments @{ Disk = 1 }",
            "GetVirtualDiskChanges takes no Disk",
        ),
        (
            SERVICE + "$got = Invoke-CimMethod -InputObject $s -MethodName GetVirtualDiskChanges\n$got.Ranges",
            "GetVirtualDiskChanges gives back no Ranges",
        ),
    ],
)
def test_what_is_wrong_is_found(text: str, fault: str) -> None:
    """The checker itself finds each fault that it looks for."""
    assert faults(text) == [fault]
