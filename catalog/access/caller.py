"""A caller: who it is, which role it has, and which machines it may know of. Imports `storage.errors` of ours.

A role grants operations, a scope grants machines; both must allow. What a scope does not admit does not exist for
its caller: it is not found, never forbidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Literal

from storage.errors import Denied


class Permission(StrEnum):
    """What an operation needs."""

    READ = "read"
    """Machines, disks, restore points, coverage, extents, block maps, chunk references, tasks, status."""
    EVENTS = "events"
    SQL = "sql"
    PROVE = "prove"
    BACKUP = "backup"
    """Backups and synthetic fulls."""
    VERIFY = "verify"
    RESTORE = "restore"
    DELETE = "delete"
    MANAGE = "manage"
    """Tokens."""
    SEND = "send"
    """Backups that a machine makes of itself, over the agents' door."""


class Role(StrEnum):
    """What people and programs do here."""

    AUDITOR = "auditor"
    ANALYST = "analyst"
    RESTORER = "restorer"
    OPERATOR = "operator"
    ADMIN = "admin"
    AGENT = "agent"
    """A machine that sends its own backups, and may do nothing else."""


GRANTS: Mapping[Role, frozenset[Permission]] = {
    Role.AUDITOR: frozenset({Permission.READ, Permission.EVENTS, Permission.SQL, Permission.PROVE}),
    Role.ANALYST: frozenset({Permission.READ, Permission.SQL}),
    Role.RESTORER: frozenset({Permission.READ, Permission.EVENTS, Permission.VERIFY, Permission.RESTORE}),
    Role.OPERATOR: frozenset({Permission.READ, Permission.EVENTS, Permission.BACKUP, Permission.VERIFY}),
    Role.ADMIN: frozenset(Permission) - {Permission.SEND},
    Role.AGENT: frozenset({Permission.SEND}),
}


@dataclass(frozen=True, slots=True)
class Scope:
    """The machines that a caller may know of: globs over `source/name`, None for all there are."""

    globs: tuple[str, ...] | None

    @property
    def everything(self) -> bool:
        """Whether nothing is hidden, what belongs to no machine included."""
        return self.globs is None

    def admits(self, source: str, name: str) -> bool:
        """Whether the machine called `name` at `source` is in it. Its halves match apart: a name may have a slash."""
        return self.globs is None or any(_matches(glob, source, name) for glob in self.globs)


EVERYTHING = Scope(None)


def _matches(glob: str, source: str, name: str) -> bool:
    source_glob, _, name_glob = glob.partition("/")
    return fnmatchcase(source, source_glob) and fnmatchcase(name, name_glob)


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who asks; `name` is what the record calls it."""

    name: str
    kind: Literal["token", "oidc", "local"]
    role: Role
    scope: Scope

    def may(self, permission: Permission) -> bool:
        """Whether the role grants it. Only who sees everything may make tokens, since those could see everything."""
        return permission in GRANTS[self.role] and (permission is not Permission.MANAGE or self.scope.everything)

    def require(self, permission: Permission) -> None:
        """Raise Denied unless the caller may."""
        if not self.may(permission):
            raise Denied(
                f"the role {self.role} may not do this{'' if self.scope.everything else ' for some machines only'}",
                code="role-permission",
                why=f"it needs the permission {permission}",
                hint="ask an admin for a token of another role",
            )
