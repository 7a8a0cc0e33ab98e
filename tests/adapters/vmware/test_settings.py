"""Settings of a vmware source are checked before anything connects."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.errors import SourceInvalid
from adapters.secret import Secret
from adapters.trust import plain
from adapters.vmware.settings import TRANSPORTS, VmwareSettings

PASSWORD = Secret(lambda: "swordfish")


def test_defaults_are_the_safe_ones() -> None:
    """The certificate is checked, and no disk travels in clear text, unless somebody says so."""
    settings = VmwareSettings("vc", "user", PASSWORD)
    assert not settings.insecure
    assert settings.transports == TRANSPORTS
    assert "nbd" not in TRANSPORTS
    assert "swordfish" not in repr(settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fingerprint": "AB:CD"},
        {"fingerprint": "AB" * 20},
        {"fingerprint": "AB" * 32, "insecure": True},
        {"ca_file": Path("/ca.pem"), "fingerprint": "AB" * 32},
        {"quiesce": "sometimes"},
        {"port": 0},
        {"connections_per_host": 0},
        {"host": ""},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    """Two ways of trust at once, a SHA-1 where SHA-256 is needed, and unknown words are refused."""
    with pytest.raises(SourceInvalid) as caught:
        VmwareSettings(**{"host": "vc", "user": "user", "password": PASSWORD, **wrong})
    assert caught.value.code == "vmware-settings"


def test_a_fingerprint_is_read_as_tools_print_it() -> None:
    """With colons or without, in any case."""
    assert plain("ab:" * 31 + "ab") == plain("AB" * 32) == "AB" * 32
