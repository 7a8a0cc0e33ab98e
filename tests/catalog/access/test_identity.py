"""From a header to a caller."""

from __future__ import annotations

import getpass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import text

from catalog.access.caller import EVERYTHING, Caller, Role
from catalog.access.identity import MAX_HEADER_CHARACTERS, Identities
from catalog.access.tokens import TokenBook
from storage.errors import Denied, Unavailable
from tests.catalog.access.conftest import Clock


class Provider:
    """A provider that knows one token, and is down when asked for another."""

    def caller_of(self, token: str) -> Caller:
        if token != "a.b.c":
            raise Unavailable("the provider is down", code="oidc-unreachable")
        return Caller("oidc:idp/ada", "oidc", Role.AUDITOR, EVERYTHING)


def code(identities: Identities, header: str | None, address: str = "127.0.0.1") -> str:
    """The code with which a header is refused."""
    with pytest.raises(Denied) as caught:
        identities.identify(header, address)
    return caught.value.code


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_a_bearer_token_is_its_caller(tokens: TokenBook, clock: Clock, scheme: str) -> None:
    """The scheme's case does not matter."""
    _, secret = tokens.create("grafana", Role.AUDITOR, None, None, "ada")
    identities = Identities(tokens, None, clock, local_ok=False)
    assert identities.identify(scheme + secret, "192.0.2.7").name == "grafana"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "hf_x", "Bearer\t hf", "Token x"])
def test_what_is_no_bearer_credential_is_refused(tokens: TokenBook, clock: Clock, header: str) -> None:
    """Even where callers without a credential are let in, a wrong one is not."""
    assert code(Identities(tokens, None, clock, local_ok=True), header) == "credential-malformed"


def test_a_huge_header_is_refused(tokens: TokenBook, clock: Clock) -> None:
    """Nobody hashes or parses megabytes."""
    identities = Identities(tokens, Provider(), clock, local_ok=False)
    assert code(identities, "Bearer " + "x" * MAX_HEADER_CHARACTERS) == "credential-malformed"


def test_the_own_user_needs_no_credential_until_there_is_an_identity(tokens: TokenBook, clock: Clock) -> None:
    """On loopback, with nothing configured, the process's own user asks; the first token ends that for good."""
    identities = Identities(tokens, None, clock, local_ok=True)
    assert not identities.configured
    local = identities.identify(None, "127.0.0.1")
    assert (local.name, local.kind, local.role) == (getpass.getuser(), "local", Role.ADMIN)
    token_id, _ = tokens.create("grafana", Role.AUDITOR, None, None, "ada")
    assert identities.configured
    assert code(identities, None) == "credential-missing"
    tokens.revoke(token_id, "ada")
    assert code(identities, None) == "credential-missing"


@pytest.mark.parametrize("address", ["192.0.2.7", "", "localhost", "testclient", "::ffff:127.0.0.1", "0.0.0.0"])  # noqa: S104 - an address to refuse
def test_only_loopback_is_local(tokens: TokenBook, clock: Clock, address: str) -> None:
    """An address that is not plainly this machine's own is not believed."""
    assert code(Identities(tokens, None, clock, local_ok=True), None, address) == "credential-missing"


def test_without_leave_nobody_is_local(tokens: TokenBook, clock: Clock) -> None:
    """Deny is the default."""
    assert code(Identities(tokens, None, clock, local_ok=False), None) == "credential-missing"


def test_a_provider_is_an_identity(tokens: TokenBook, clock: Clock) -> None:
    """With a provider configured nobody is let in without a credential, and its tokens are asked about there."""
    identities = Identities(tokens, Provider(), clock, local_ok=True)
    assert identities.configured
    assert code(identities, None) == "credential-missing"
    assert identities.identify("Bearer a.b.c", "192.0.2.7").kind == "oidc"


def test_a_provider_that_is_down_lets_nobody_in(tokens: TokenBook, clock: Clock) -> None:
    """Its tokens are unavailable, and ours work on."""
    identities = Identities(tokens, Provider(), clock, local_ok=False)
    with pytest.raises(Unavailable):
        identities.identify("Bearer x.y.z", "192.0.2.7")
    _, secret = tokens.create("grafana", Role.AUDITOR, None, None, "ada")
    assert identities.identify(f"Bearer {secret}", "192.0.2.7").name == "grafana"


def test_many_are_told_apart_by_one_look(tokens: TokenBook, clock: Clock) -> None:
    """Together each request is what it is alone, and what was revoked before the look lets nobody in."""
    _, good = tokens.create("grafana", Role.AUDITOR, None, None, "ada")
    revoked_id, revoked = tokens.create("old", Role.ADMIN, None, None, "ada")
    identities = Identities(tokens, Provider(), clock, local_ok=True)
    asked = [f"Bearer {good}", f"Bearer {revoked}", None, "Basic YTpi"]
    tokens.revoke(revoked_id, "ada")
    first, *others = identities.identify_all([(header, "127.0.0.1") for header in asked])
    assert isinstance(first, Caller)
    assert first.name == "grafana"
    codes = [other.code for other in others if isinstance(other, Denied)]
    assert codes == ["token-revoked", "credential-missing", "credential-malformed"]
    assert [identities.asks_provider(header) for header in [*asked, "Bearer a.b.c"]] == [
        False,
        False,
        False,
        True,
        True,
    ]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(header=text() | text().map("Bearer {}".format) | text().map("Bearer hf_{}".format))
def test_no_header_is_a_fault(tokens: TokenBook, clock: Clock, header: str) -> None:
    """Whatever a header says it is denied, or unavailable where the provider would have to be asked."""
    with pytest.raises(Denied):
        Identities(tokens, None, clock, local_ok=True).identify(header, "127.0.0.1")
    with pytest.raises((Denied, Unavailable)):
        Identities(tokens, Provider(), clock, local_ok=True).identify(header, "127.0.0.1")
