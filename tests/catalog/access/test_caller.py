"""Roles and scopes."""

from __future__ import annotations

import pytest

from catalog.access.caller import EVERYTHING, GRANTS, Caller, Permission, Role, Scope
from storage.errors import Denied


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("permission", Permission)
def test_a_role_may_do_what_it_grants_and_nothing_else(role: Role, permission: Permission) -> None:
    """`require` passes exactly for the permissions of the role."""
    caller = Caller("ada", "token", role, EVERYTHING)
    if permission in GRANTS[role]:
        caller.require(permission)
    else:
        with pytest.raises(Denied) as caught:
            caller.require(permission)
        assert caught.value.code == "role-permission"


def test_only_admins_manage_and_delete() -> None:
    """Tokens and tombstones are made by admins alone."""
    for permission in (Permission.MANAGE, Permission.DELETE):
        assert [role for role in Role if permission in GRANTS[role]] == [Role.ADMIN]


@pytest.mark.parametrize(
    ("glob", "source", "name", "admitted"),
    [
        ("lab/*", "lab", "web", True),
        ("lab/*", "lab2", "web", False),
        ("lab/web?", "lab", "web1", True),
        ("lab/web?", "lab", "web10", False),
        ("*/db", "lab", "db", True),
        ("*/db", "lab", "other/db", False),
        ("p*/db", "pub", "x/db", False),
        ("lab/*", "lab", "a/b", True),
        ("lab/WEB", "lab", "web", False),
        ("lab/[!w]*", "lab", "web", False),
    ],
)
def test_a_glob_matches_source_and_name_apart(glob: str, source: str, name: str, admitted: bool) -> None:
    """A star never reaches over the slash between source and name, whatever slashes a machine's name has."""
    assert Scope((glob,)).admits(source, name) is admitted


def test_a_scope_of_no_globs_admits_nothing() -> None:
    """Only None is everything; an empty list is nothing."""
    assert not Scope(()).admits("lab", "web")
    assert not Scope(()).everything
    assert EVERYTHING.admits("lab", "web")


def test_who_does_not_see_all_makes_no_tokens() -> None:
    """An admin of some machines could otherwise make a token for all of them."""
    with pytest.raises(Denied):
        Caller("ada", "token", Role.ADMIN, Scope(("lab/*",))).require(Permission.MANAGE)
    Caller("ada", "token", Role.ADMIN, Scope(("lab/*",))).require(Permission.DELETE)
