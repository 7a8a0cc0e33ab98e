"""Reading PowerShell's grammar (tree-sitter), for what can be known of a script without running it.

It knows no more than a script's text: which commands are started with which parameters, which variables are set and
read, and, for objects of WMI, which class a variable's value is of.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import tree_sitter_powershell
from tree_sitter import Language, Node, Parser

_PARSER = Parser(Language(tree_sitter_powershell.language()))
_AUTOMATIC = {"_", "null", "true", "false", "input", "lastexitcode"}
_OF_ALL_OBJECTS = {"CimClass", "Count", "Properties"}
_OTHER_THINGS = {"element_access", "hash_literal_expression", "invokation_expression", "member_access", "script_block"}
"""What a variable in it says nothing of the class of."""


def parse(text: str) -> Node:
    """The tree of a script."""
    return _PARSER.parse(text.encode()).root_node


def mistakes(root: Node) -> list[str]:
    """What is no PowerShell, by lines."""
    wrong = [node for node in walk(root) if node.is_error or node.is_missing]
    return [f"line {node.start_point.row + 1}: {text_of(node)[:40]!r}" for node in wrong]


def walk(node: Node, but: Collection[str] = ()) -> Iterator[Node]:
    """A node and all in it, `but` for nodes of some kinds and what is in them."""
    if node.type in but:
        return
    yield node
    for child in node.children:
        yield from walk(child, but)


def text_of(node: Node) -> str:
    """A node's text."""
    return (node.text or b"").decode()


def variable(node: Node) -> str:
    """A variable's name, as PowerShell compares it."""
    return text_of(node).lstrip("$@").lower()


@dataclass(frozen=True)
class Command:
    """A command with what its named parameters are given; `rest` are the other words."""

    name: str
    parameters: dict[str, Node | None]
    rest: tuple[str, ...]


def command(node: Node) -> Command:
    """Read a command."""
    name, parameters, rest, waiting = "", {}, [], None
    for part in node.children:
        if part.type == "command_name":
            name = text_of(part)
        elements = part.children if part.type == "command_elements" else ()
        for element in elements:
            if element.type == "command_parameter":
                waiting = text_of(element).lstrip("-").lower()
                parameters[waiting] = None
            elif element.type != "command_argument_sep":
                if waiting is None:
                    rest.append(text_of(element))
                else:
                    parameters[waiting], waiting = element, None
    return Command(name, parameters, tuple(rest))


def keys(node: Node) -> set[str]:
    """The keys of the hashtable that a node is, those of inner ones left out."""
    body = next((one for one in walk(node) if one.type == "hash_literal_body"), None)
    entries = [one for one in body.children if one.type == "hash_entry"] if body else []
    return {text_of(entry.children[0]).strip("'") for entry in entries}


def only(node: Node, kind: str) -> Node | None:
    """The node of a kind that a node is but for wrapping."""
    while node.type != kind:
        if node.named_child_count != 1:
            return None
        node = node.named_children[0]
    return node


@dataclass
class Reading:
    """What a script sets and reads. `values` are what its variables are set to, `classes` the WMI classes of these.

    `results` are the variables with what a method gave back, as (class, method).
    """

    root: Node
    values: dict[str, list[Node]] = field(default_factory=lambda: defaultdict(list))
    classes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    results: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in walk(self.root):
            if node.type == "assignment_expression":
                target, value = only(node.children[0], "variable"), node.children[-1]
                if target is not None:
                    self.values[variable(target)].append(value)
                    self._know(variable(target), value)
            elif node.type == "foreach_statement":
                target, found = [one for one in node.children if one.type in ("variable", "pipeline")]
                self.values[variable(target)].append(found)
                self._know(variable(target), found)
            elif node.type == "script_parameter":
                self.values[variable(next(one for one in walk(node) if one.type == "variable"))] = []

    def commands(self) -> list[Command]:
        """All commands."""
        return [command(node) for node in walk(self.root) if node.type == "command"]

    def unset(self) -> set[str]:
        """Variables that are read and never set."""
        read = {variable(node) for node in walk(self.root) if node.type == "variable"}
        return {name for name in read - _AUTOMATIC - self.values.keys() if not name.startswith("env:")}

    def words(self, node: Node | None) -> str:
        """The text of a node, or all that the variable is set to which it is."""
        if node is None:
            return ""
        found = only(node, "variable")
        values = self.values.get(variable(found), []) if found is not None else []
        return " ".join(text_of(value) for value in values) or text_of(node)

    def classes_of(self, node: Node | None) -> set[str]:
        """The classes that the variable's value can be of which a node is."""
        found = only(node, "variable") if node is not None else None
        return self.classes[variable(found)] if found is not None else set()

    def members(self) -> Iterator[tuple[str, str]]:
        """Each property that is read or set of a variable: the two names."""
        for node in walk(self.root):
            if node.type == "member_access" and node.children[0].type == "variable":
                name = text_of(node.children[-1])
                if name not in _OF_ALL_OBJECTS:
                    yield variable(node.children[0]), name

    def _know(self, name: str, value: Node) -> None:
        """Learn what a variable is set to."""
        from tests.support.hyperv.wmi import ASSOCIATIONS

        first = next((command(node) for node in walk(value) if node.type == "command"), None)
        if first is not None and first.name in ("Get-CimInstance", "Get-WmiObject"):
            self.classes[name].add(self.words(first.parameters.get("classname")) or first.rest[0])
        elif first is not None and first.name == "Get-CimAssociatedInstance":
            result = self.words(first.parameters.get("resultclassname")).strip("'")
            other = ASSOCIATIONS.get(self.words(first.parameters.get("association")))
            self.classes[name] |= {found for found in (result, other) if found}
        elif first is not None and first.name == "Invoke-CimMethod":
            (owner,) = self.classes_of(first.parameters["inputobject"])
            self.results[name] = (owner, text_of(first.parameters["methodname"]))
        elif made := re.search(r"\[wmiclass\]'[^']*:(\w+)'", text_of(value)):
            self.classes[name].add(made[1])
        else:
            for node in walk(value, but=_OTHER_THINGS):
                if node.type == "variable":
                    self.classes[name] |= self.classes[variable(node)]
