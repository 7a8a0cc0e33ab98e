"""Tokens of an identity provider: a real one, and ones that lie."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from catalog.access.caller import EVERYTHING, Caller, Role, Scope
from catalog.access.jwks import RETRY_SECONDS, TRUSTED_SECONDS, Fetcher, ProviderKeys
from catalog.access.oidc import LEEWAY_SECONDS, OidcVerifier
from catalog.access.oidc_settings import OidcSettings
from storage.errors import Denied, Unavailable
from tests.support.openid import Jwk, Provider, ec_jwk, public, rsa_jwk, running_provider

AUDIENCE = "https://holdfast.test/"
CLIENTS: dict[str, dict[str, Any]] = {
    "auditor": {"alg": "RS256", "claims": {"holdfast_role": "auditor", "holdfast_machines": ["lab/web*"]}},
    "admin": {"alg": "ES256", "claims": {"holdfast_role": ["staff", "admin", "auditor"], "holdfast_machines": "*"}},
    "norole": {"alg": "RS256", "claims": {"holdfast_machines": "*"}},
    "stranger": {"alg": "RS256", "claims": {"holdfast_role": "superuser", "holdfast_machines": "*"}},
    "torn": {"alg": "RS256", "claims": {"holdfast_role": ["operator", "restorer"], "holdfast_machines": "*"}},
    "everywhere": {"alg": "RS256", "claims": {"holdfast_role": "auditor"}},
    "ps": {"alg": "PS256", "claims": {"holdfast_role": "auditor", "holdfast_machines": "*"}},
    "nested": {
        "alg": "RS256",
        "claims": {"realm": {"roles": ["backup-readers"]}, "https://x.test/m": ["lab/db", "lab/web*"]},
    },
}
RSA, EC, OTHER = rsa_jwk("rsa-1"), ec_jwk("ec-1"), rsa_jwk("rsa-2")


class Ticks:
    """Seconds that only tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    """A provider for all tests of this module."""
    with running_provider(CLIENTS, RSA, EC) as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    """The provider with its first keys."""
    if running.keys != [RSA, EC]:
        running.rotate(RSA, EC)
    return running


@pytest.fixture
def ticks() -> Ticks:
    """The time by which keys grow old."""
    return Ticks()


class Asked:
    """A verifier of a provider, over HTTP, with clocks that tests set."""

    def __init__(self, provider: Provider, ticks: Ticks, **settings: Any) -> None:
        self.settings = OidcSettings(**{"issuer": provider.issuer, "audience": AUDIENCE, **settings})
        self.offset = timedelta(0)
        self.urls: list[str] = []
        self._fetch = Fetcher(self.settings)
        keys = ProviderKeys(self.settings.issuer, self._get, ticks)
        self._verifier = OidcVerifier(self.settings, keys, lambda: datetime.now(UTC) + self.offset)

    def _get(self, url: str) -> dict[str, Any]:
        self.urls.append(url)
        return self._fetch(url)

    def close(self) -> None:
        self._fetch.close()

    def __call__(self, token: str) -> Caller:
        return self._verifier.caller_of(token)

    def refuses(self, token: str) -> str:
        """The code with which a token is refused."""
        with pytest.raises(Denied) as caught:
            self(token)
        assert not token or token not in f"{caught.value} {caught.value.hint}"
        return caught.value.code


Asking = Callable[..., Asked]


@pytest.fixture
def asking(provider: Provider, ticks: Ticks) -> Iterator[Asking]:
    """Makes verifiers of the provider, with the settings that matter."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(closing(Asked(provider, ticks, **settings)))


@pytest.fixture
def asked(asking: Asking) -> Asked:
    """A verifier with the usual settings."""
    return asking()


def signed(key: Jwk, claims: dict[str, Any], algorithm: str = "RS256", **header: Any) -> str:
    """A token that the provider never gave, signed with a key of our choice."""
    private = jwt.PyJWK(key, algorithm).key
    return jwt.encode(claims, private, algorithm, {"kid": key["kid"], "typ": "at+jwt", **header})


def claims(provider: Provider, **changes: Any) -> dict[str, Any]:
    """What a good token says; None takes a claim out."""
    now = int(time.time())
    good = {
        "iss": provider.issuer,
        "aud": AUDIENCE,
        "sub": "ada",
        "iat": now,
        "exp": now + 600,
        "holdfast_role": "auditor",
        "holdfast_machines": "*",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def test_a_token_of_the_provider_is_a_caller(asked: Asked, provider: Provider) -> None:
    """Name, role and scope come from its claims; RSA and elliptic curves both do."""
    host = provider.issuer.removeprefix("http://")
    caller = asked(provider.token("auditor", AUDIENCE))
    assert caller == Caller(f"oidc:{host}/auditor", "oidc", Role.AUDITOR, Scope(("lab/web*",)))
    caller = asked(provider.token("admin", AUDIENCE))
    assert (caller.role, caller.scope) == (Role.ADMIN, EVERYTHING)


def test_the_provider_is_asked_once(asked: Asked, provider: Provider) -> None:
    """Discovery and keys are fetched with the first token and kept for the next."""
    for _ in range(5):
        asked(provider.token("auditor", AUDIENCE))
    assert len(asked.urls) == 2


def test_a_token_for_another_api_is_refused(asked: Asked, provider: Provider) -> None:
    """The audience must be ours."""
    assert asked.refuses(provider.token("auditor", "https://elsewhere.test/")) == "oidc-audience"


def test_a_token_of_another_issuer_is_refused(asked: Asked, provider: Provider) -> None:
    """Even when it is signed with a key that the provider has."""
    for issuer in ("https://evil.test", provider.issuer + "/", provider.issuer.upper()):
        assert asked.refuses(signed(RSA, claims(provider, iss=issuer))) == "oidc-issuer"


def test_a_provider_that_claims_another_name_is_not_believed(provider: Provider, asking: Asking) -> None:
    """Discovery at the configured address must name the configured issuer, to the letter."""
    asked = asking(issuer=provider.issuer.replace("127.0.0.1", "localhost"))
    with pytest.raises(Unavailable) as caught:
        asked(provider.token("auditor", AUDIENCE))
    assert "another issuer" in str(caught.value)


def test_an_expired_token_is_refused(asked: Asked, provider: Provider) -> None:
    """With a little leeway for clocks, and none beyond it."""
    token = provider.token("auditor", AUDIENCE)
    asked.offset = timedelta(seconds=600 + LEEWAY_SECONDS - 5)
    asked(token)
    asked.offset = timedelta(seconds=600 + LEEWAY_SECONDS + 5)
    assert asked.refuses(token) == "oidc-expired"


def test_a_token_of_the_future_is_refused(asked: Asked, provider: Provider) -> None:
    """Neither one issued later than now, nor one that is not to be used before later."""
    asked.offset = timedelta(seconds=-LEEWAY_SECONDS - 5)
    assert asked.refuses(provider.token("auditor", AUDIENCE)) == "oidc-not-yet"
    asked.offset = timedelta(0)
    later = int(time.time()) + LEEWAY_SECONDS + 60
    assert asked.refuses(signed(RSA, claims(provider, nbf=later))) == "oidc-not-yet"


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["soon", True, float("nan"), [], {}])
def test_times_must_be_numbers(asked: Asked, provider: Provider, name: str, value: Any) -> None:
    """Whatever is no number is no valid time, though the provider signed it."""
    assert asked.refuses(signed(RSA, claims(provider, **{name: value}))).startswith("oidc-")


@pytest.mark.parametrize("name", ["iss", "aud", "exp", "sub"])
def test_required_claims_are_required(asked: Asked, provider: Provider, name: str) -> None:
    """A token that leaves one out is refused."""
    assert asked.refuses(signed(RSA, claims(provider, **{name: None}))) == "oidc-claims"


def test_an_unsigned_token_is_refused(asked: Asked, provider: Provider) -> None:
    """`none`, however it is spelled, is no algorithm."""
    good = provider.token("auditor", AUDIENCE)
    _, payload, signature = good.split(".")
    for algorithm in ("none", "None", "NONE", ""):
        header = jwt.utils.base64url_encode(f'{{"alg":"{algorithm}","kid":"rsa-1"}}'.encode()).decode()
        assert asked.refuses(f"{header}.{payload}.") == "oidc-algorithm"
        assert asked.refuses(f"{header}.{payload}.{signature}") == "oidc-algorithm"


def test_the_public_key_is_no_shared_secret(asked: Asked, provider: Provider) -> None:
    """A token signed by HMAC with the provider's public key is refused, since HMAC is never an algorithm of ours."""
    pem = jwt.PyJWK(public(RSA), "RS256").key.public_bytes(*_pem())
    forged = _hmac_token(claims(provider), pem)
    assert asked.refuses(forged) == "oidc-algorithm"


@pytest.mark.parametrize("algorithm", ["RS384", "PS256"])
def test_only_configured_algorithms_count(asked: Asked, provider: Provider, algorithm: str) -> None:
    """A sound signature by an algorithm that was not chosen is refused."""
    assert asked.refuses(signed(RSA, claims(provider), algorithm)) == "oidc-algorithm"


def test_another_algorithm_can_be_chosen(provider: Provider, asking: Asking) -> None:
    """PS256 works where the settings name it."""
    asked = asking(algorithms=("PS256",))
    assert asked(provider.token("ps", AUDIENCE)).role is Role.AUDITOR
    assert asked.refuses(provider.token("auditor", AUDIENCE)) == "oidc-algorithm"


def test_a_changed_token_is_refused(asked: Asked, provider: Provider) -> None:
    """No part can be altered, left out or taken from another token."""
    one, two = provider.token("auditor", AUDIENCE).split("."), provider.token("admin", AUDIENCE).split(".")
    payload = jwt.utils.base64url_encode(jwt.utils.base64url_decode(one[1]).replace(b"auditor", b"adminis"))
    forged = [
        [one[0], payload.decode(), one[2]],
        [one[0], two[1], one[2]],
        [one[0], one[1], two[2]],
        [two[0], one[1], one[2]],
        [one[0], one[1], ""],
        [one[0], one[1], one[2][:-4]],
        [one[0], one[1], "A" * len(one[2])],
    ]
    assert {asked.refuses(".".join(parts)) for parts in forged} <= {"oidc-signature", "oidc-malformed"}


def test_no_flipped_bit_of_a_signature_passes(asked: Asked, provider: Provider) -> None:
    """Each bit of the signature counts."""
    head, _, signature = provider.token("admin", AUDIENCE).rpartition(".")
    raw = jwt.utils.base64url_decode(signature)
    for place in range(len(raw) * 8):
        bent = bytearray(raw)
        bent[place // 8] ^= 1 << place % 8
        assert asked.refuses(f"{head}.{jwt.utils.base64url_encode(bytes(bent)).decode()}") == "oidc-signature"


def test_a_token_cannot_bring_its_own_key(asked: Asked, provider: Provider) -> None:
    """`jwk`, `jku` and `x5u` in a header are not looked at: only keys that the provider publishes count."""
    stranger = {**rsa_jwk("mine"), "kid": "rsa-1"}
    brought = {"jwk": public(stranger), "jku": "https://evil.test/keys", "x5u": "https://evil.test/cert"}
    assert asked.refuses(signed(stranger, claims(provider), **brought)) == "oidc-signature"
    assert all(url.startswith(provider.issuer) for url in asked.urls)


def test_a_key_is_used_for_its_own_algorithm_only(asked: Asked, provider: Provider) -> None:
    """An elliptic-curve key cannot be named by a token that says RSA, nor the other way."""
    assert asked.refuses(signed(RSA, claims(provider), kid="ec-1")) == "oidc-key"
    assert asked.refuses(signed(EC, claims(provider), "ES256", kid="rsa-1")) == "oidc-key"


@pytest.mark.parametrize("kid", ["gone", "", "../rsa-1", "rsa-1\x00", "r" * 5000])
def test_an_unknown_key_is_refused(asked: Asked, provider: Provider, kid: str) -> None:
    """A token names a key that the provider has."""
    assert asked.refuses(signed(RSA, claims(provider), kid=kid)) == "oidc-key"


def test_unknown_keys_do_not_make_us_ask_again_and_again(asked: Asked, provider: Provider, ticks: Ticks) -> None:
    """However many tokens name unknown keys, the provider is asked once in a while only."""
    asked(provider.token("auditor", AUDIENCE))
    for number in range(20):
        ticks.now += RETRY_SECONDS / 20
        asked.refuses(signed(RSA, claims(provider), kid=f"made-up-{number}"))
    assert len(asked.urls) == 4


def test_a_rotated_key_is_found_and_the_old_one_forgotten(asked: Asked, provider: Provider, ticks: Ticks) -> None:
    """A token with a new key makes us look; one with a withdrawn key is refused from then on."""
    old = provider.token("auditor", AUDIENCE)
    asked(old)
    provider.rotate(OTHER, EC)
    ticks.now += RETRY_SECONDS
    assert asked(provider.token("auditor", AUDIENCE)).role is Role.AUDITOR
    ticks.now += RETRY_SECONDS
    assert asked.refuses(old) == "oidc-key"


@pytest.mark.parametrize("kind", ["logout+jwt", "secevent+jwt", "dpop+jwt", ["at+jwt"], 7])
def test_a_token_of_another_kind_is_refused(asked: Asked, provider: Provider, kind: Any) -> None:
    """What a provider signs for other purposes lets nobody in."""
    assert asked.refuses(signed(RSA, claims(provider), typ=kind)) == "oidc-type"


def test_a_critical_header_is_refused(asked: Asked, provider: Provider) -> None:
    """We understand no extension, so none may be critical."""
    assert asked.refuses(signed(RSA, claims(provider), crit=["exp"], exp=1)).startswith("oidc-")


def test_a_short_rsa_key_is_not_used(ticks: Ticks) -> None:
    """A provider with a key of 1024 bits could be impersonated by who factors it."""
    weak = rsa_jwk("weak", 1024)
    answers = {"/.well-known/openid-configuration": {"issuer": "https://idp.test", "jwks_uri": "https://idp.test/k"}}
    answers["/k"] = {"keys": [public(weak)]}  # type: ignore[dict-item]  # as JSON is
    keys = ProviderKeys("https://idp.test", lambda url: answers[url.removeprefix("https://idp.test")], ticks)
    settings = OidcSettings(issuer="https://idp.test", audience=AUDIENCE)
    verifier = OidcVerifier(settings, keys, lambda: datetime.now(UTC))
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = signed(weak, {"iss": "https://idp.test", "aud": AUDIENCE, "sub": "ada", "exp": time.time() + 60})
    with pytest.raises(Denied) as caught:
        verifier.caller_of(token)
    assert caught.value.code == "oidc-key"


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "é.é.é",
        "\ud800.a.b",
        "e30.e30.e30",
        "bnVsbA.e30.",
        "W10.e30.",
        "=.=.=",
        "a" * 9000,
    ],
)
def test_garbage_is_refused(asked: Asked, token: str) -> None:
    """Whatever is no token is denied, not a fault, and makes nobody ask the provider."""
    assert asked.refuses(token) in ("oidc-malformed", "oidc-algorithm")
    assert asked.urls == []


def test_a_deeply_nested_header_is_refused(asked: Asked) -> None:
    """A header that would exhaust the parser's stack is denied as any other that cannot be read."""
    deep = jwt.utils.base64url_encode(b'{"alg":' + b"[" * 9000 + b"]" * 9000 + b"}").decode()
    assert asked.refuses(f"{deep}.e30.e30") in ("oidc-malformed", "oidc-algorithm")


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


def test_a_provider_that_is_down_lets_nobody_in(ticks: Ticks) -> None:
    """Keys that are known still count for a while; without any, or when they are old, the answer is unavailable."""
    with ExitStack() as stack, running_provider(CLIENTS, RSA, EC) as provider:
        warm, cold = (stack.enter_context(closing(Asked(provider, ticks))) for _ in range(2))
        token, other = provider.token("auditor", AUDIENCE), signed(OTHER, claims(provider))
        warm(token)
        provider.stop()
        with pytest.raises(Unavailable) as caught:
            cold(token)
        assert caught.value.code == "oidc-keys"
        ticks.now += TRUSTED_SECONDS - 1
        assert warm(token).role is Role.AUDITOR
        with pytest.raises(Unavailable):
            warm(other)
        ticks.now += 2
        with pytest.raises(Unavailable):
            warm(token)


def _pem() -> tuple[Any, Any]:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return Encoding.PEM, PublicFormat.SubjectPublicKeyInfo


def _hmac_token(payload: dict[str, Any], secret: bytes) -> str:
    import hashlib
    import hmac
    import json

    def part(value: Any) -> str:
        return jwt.utils.base64url_encode(json.dumps(value).encode()).decode()

    head = f"{part({'alg': 'HS256', 'typ': 'at+jwt', 'kid': 'rsa-1'})}.{part(payload)}"
    signature = hmac.new(secret, head.encode(), hashlib.sha256).digest()
    return f"{head}.{jwt.utils.base64url_encode(signature).decode()}"
