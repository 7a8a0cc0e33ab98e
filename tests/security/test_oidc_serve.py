"""`holdfast serve` with a real OpenID provider: who signs in there is a caller here, and nobody else is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.api_lab import ApiLab, served
from tests.support.openid import Provider, ec_jwk, rsa_jwk, running_provider

AUDIENCE = "https://holdfast.test/"
CLIENTS: dict[str, dict[str, Any]] = {
    "ada": {"alg": "RS256", "claims": {"realm": {"roles": ["backup-auditors"]}, "machines": ["lab/*"]}},
    "eve": {"alg": "ES256", "claims": {"realm": {"roles": ["staff"]}, "machines": ["lab/*"]}},
    "bob": {"alg": "ES256", "claims": {"realm": {"roles": ["backup-auditors"]}}},
}
SETTINGS = """
[oidc]
issuer = "{issuer}"
audience = "https://holdfast.test/"
role_claim = ["realm", "roles"]
roles = {{ backup-auditors = "auditor" }}
machines_claim = "machines"
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """The provider."""
    with running_provider(CLIENTS, rsa_jwk("r"), ec_jwk("e")) as provider:
        yield provider


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiLab]:
    """A home without a token."""
    with closing(ApiLab(tmp_path_factory.mktemp("oidc"))) as lab:
        yield lab


def settings_file(folder: Path, issuer: str) -> str:
    """A file that trusts this provider."""
    path = folder / "serve.toml"
    path.write_text(SETTINGS.format(issuer=issuer))
    return str(path)


def test_who_signs_in_is_a_caller(lab: ApiLab, provider: Provider, tmp_path: Path) -> None:
    """With the role and machines of the claims, under a name that tells the provider; others get 401."""
    with served(lab.lab.home.root, tmp_path, "--settings", settings_file(tmp_path, provider.issuer)) as server:
        ada = provider.token("ada", AUDIENCE)
        position = lab.log.position()
        answer = server.ask("GET", "/v1/machines", ada)
        assert [machine["name"] for machine in answer.json()["items"]] == [lab.own.machine]
        (record,) = lab.accesses(position)
        assert record.caller == f"oidc:{provider.issuer.removeprefix('http://')}/ada"
        assert (record.caller_kind, record.role, record.operation) == ("oidc", "auditor", "list_machines")
        assert server.ask("POST", "/v1/tokens", ada, {"name": "mine", "role": "admin"}).status_code == 403
        for secret, code in (
            (None, "credential-missing"),
            (provider.token("eve", AUDIENCE), "oidc-role"),
            (provider.token("bob", AUDIENCE), "oidc-machines"),
            (provider.token("ada", "https://elsewhere.test/"), "oidc-audience"),
            (ada[:-8] + "AAAAAAAA", "oidc-signature"),
        ):
            refused = server.ask("GET", "/v1/machines", secret)
            assert (refused.status_code, refused.json()["code"]) == (401, code)
            assert refused.headers["www-authenticate"].startswith("Bearer")


def test_a_provider_that_is_down_opens_nothing(lab: ApiLab, tmp_path: Path) -> None:
    """The server starts and says 503 to the provider's tokens; on loopback too nobody is let in without one."""
    with running_provider(CLIENTS, rsa_jwk("r"), ec_jwk("e")) as provider:
        token = provider.token("ada", AUDIENCE)
    with served(lab.lab.home.root, tmp_path, "--settings", settings_file(tmp_path, provider.issuer)) as server:
        answer = server.ask("GET", "/v1/machines", token)
        assert (answer.status_code, answer.json()["code"]) == (503, "oidc-keys")
        assert "retry-after" in answer.headers
        assert server.ask("GET", "/v1/machines", None).status_code == 401
