"""What a Xen source may be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.errors import SourceInvalid
from adapters.secret import Secret
from adapters.xen.settings import XenSettings

PIN = "AB:" * 31 + "AB"


def settings(**others: object) -> XenSettings:
    """Settings of a pool."""
    return XenSettings(**{"host": "master.test", "user": "root", "password": Secret(lambda: "hidden"), **others})


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": ""},
        {"user": ""},
        {"port": 0},
        {"connections_per_host": 0},
        {"fingerprint": "AB"},
        {"fingerprint": f"{PIN},AB"},
        {"fingerprint": PIN, "insecure": True},
        {"ca_file": Path("ca.pem"), "insecure": True},
        {"transports": ()},
        {"transports": ("nbd", "smoke signals")},
    ],
)
def test_contradictions_are_refused(wrong: dict[str, object]) -> None:
    """Settings that are wrong or contradict each other are refused when they are made, not during a backup."""
    with pytest.raises(SourceInvalid) as caught:
        settings(**wrong)
    assert caught.value.code == "xen-settings"


def test_a_pool_has_one_fingerprint_for_each_host() -> None:
    """Several fingerprints are told apart, with or without colons, and the clear text transport must be named."""
    assert settings(fingerprint=f"{PIN}, {'cd' * 32}").pins == {"AB" * 32, "CD" * 32}
    assert settings().pins == frozenset()
    assert "insecure_nbd" not in settings().transports
    assert settings(transports=("insecure_nbd",)).transports == ("insecure_nbd",)


def test_settings_show_no_password() -> None:
    """The password is in no representation of the settings."""
    assert "hidden" not in repr(settings())
