"""What a token that is genuine lets its caller do: what its claims say, where they are understood."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.access.caller import EVERYTHING, Role, Scope
from tests.support.asked_provider import AUDIENCE, RSA, Asked, Asking, claims, signed
from tests.support.openid import Provider


@pytest.mark.parametrize("client", ["norole", "stranger", "torn"])
def test_without_a_known_role_nobody_gets_in(asked: Asked, provider: Provider, client: str) -> None:
    """No role, an unknown one, or two of which neither includes the other: denied."""
    assert asked.refuses(provider.token(client, AUDIENCE)) == "oidc-role"


@pytest.mark.parametrize("role", [[], {}, 7, "", "AUDITOR", [["auditor"]], ["auditor", 7], {"auditor": True}])
def test_a_role_claim_of_another_shape_grants_nothing(asked: Asked, provider: Provider, role: Any) -> None:
    """Only a name or a list of names is understood."""
    assert asked.refuses(signed(RSA, claims(provider, holdfast_role=role))) == "oidc-role"


def test_claims_and_roles_can_have_the_providers_names(provider: Provider, asking: Asking) -> None:
    """A path leads into nested claims, a name with dots is one name, and roles are mapped."""
    asked = asking(
        role_claim=("realm", "roles"),
        machines_claim="https://x.test/m",
        roles={"backup-readers": Role.ANALYST},
    )
    caller = asked(provider.token("nested", AUDIENCE))
    assert (caller.role, caller.scope) == (Role.ANALYST, Scope(("lab/db", "lab/web*")))


def test_with_a_mapping_our_own_names_mean_nothing(provider: Provider, asking: Asking) -> None:
    """A provider's role that happens to be called `admin` is not ours."""
    asked = asking(roles={"backup-admins": Role.ADMIN})
    assert asked.refuses(provider.token("admin", AUDIENCE)) == "oidc-role"


def test_without_the_machines_claim_the_settings_decide(provider: Provider, asking: Asking) -> None:
    """Nobody sees anything unless `machines_default` says all."""
    token = provider.token("everywhere", AUDIENCE)
    assert asking().refuses(token) == "oidc-machines"
    assert asking(machines_default="all")(token).scope is EVERYTHING


@pytest.mark.parametrize("machines", [[], "", "web", ["lab/web", 7], {"lab": "web"}, 7, ["*", "lab/web"], ["lab/\x00"]])
def test_a_machines_claim_that_is_not_understood_denies(provider: Provider, asking: Asking, machines: Any) -> None:
    """Also where the default is all: the provider meant to say something."""
    asked = asking(machines_default="all")
    assert asked.refuses(signed(RSA, claims(provider, holdfast_machines=machines))) == "oidc-machines"


@pytest.mark.parametrize("subject", ["", "a\x1b[31m", "a\nb", "a" * 256])
def test_a_subject_must_be_a_name(asked: Asked, provider: Provider, subject: str) -> None:
    """It goes into the record and onto screens."""
    assert asked.refuses(signed(RSA, claims(provider, sub=subject))) == "oidc-subject"
