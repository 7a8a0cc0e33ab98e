"""Settings of a hyperv source are checked before anything connects."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.errors import SourceInvalid
from adapters.hyperv.settings import HypervSettings
from adapters.secret import Secret

PASSWORD = Secret(lambda: "swordfish")


def test_defaults_are_the_safe_ones() -> None:
    """The certificate is checked, messages go through TLS, and the password is shown by nothing."""
    settings = HypervSettings("hv1", "user", PASSWORD)
    assert not settings.insecure
    assert not settings.plain_http
    assert settings.port == 5986
    assert "swordfish" not in repr(settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fingerprint": "AB:CD"},
        {"fingerprint": "AB" * 20},
        {"fingerprint": "AB" * 32, "insecure": True},
        {"ca_file": Path("/ca.pem"), "fingerprint": "AB" * 32},
        {"cluster": True, "fingerprint": "AB" * 32},
        {"plain_http": True, "authentication": "basic"},
        {"plain_http": True, "authentication": "credssp"},
        {"plain_http": True, "insecure": True},
        {"authentication": "digest"},
        {"consistency": "sometimes"},
        {"port": 0},
        {"smb_port": 70000},
        {"smb_handles": 0},
        {"host": ""},
        {"user": ""},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    """Two ways of trust at once, a password in clear text, a SHA-1 where SHA-256 is needed, and unknown words."""
    with pytest.raises(SourceInvalid) as caught:
        HypervSettings(**{"host": "hv1", "user": "user", "password": PASSWORD, **wrong})  # type: ignore[arg-type]
    assert caught.value.code == "hyperv-settings"


def test_ntlm_over_plain_http_is_allowed_by_name() -> None:
    """NTLM encrypts each message itself, so that HTTP may carry it when somebody says so."""
    assert HypervSettings("hv1", "user", PASSWORD, port=5985, plain_http=True).authentication == "ntlm"
