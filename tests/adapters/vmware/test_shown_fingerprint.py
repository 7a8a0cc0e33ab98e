"""A server that is not trusted: the error shows the fingerprint that a person can compare, then pin."""

from __future__ import annotations

import socket

import pytest

from adapters.errors import SourceDenied
from adapters.trust import shown_fingerprint
from tests.adapters.vmware.conftest import MakeSession
from tests.support.vcsim_process import Vcsim


def test_the_error_shows_what_to_compare_and_pin(vcsim: Vcsim, session_of: MakeSession) -> None:
    """Without a CA or a pin the refusal names the SHA-256 of what answered; pinned, it is trusted."""
    with pytest.raises(SourceDenied) as caught:
        _ = session_of(vcsim, fingerprint=None).content
    assert caught.value.code == "certificate-untrusted"
    assert vcsim.fingerprint in caught.value.why
    assert "compare" in caught.value.hint
    assert session_of(vcsim, fingerprint=caught.value.why.rpartition(" ")[2]).content.about.productLineId == "vpx"


def test_nothing_is_shown_where_nobody_answers() -> None:
    """A closed port, or a name that is none, has no fingerprint and is no further failure."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert shown_fingerprint(f"127.0.0.1:{unused.getsockname()[1]}") is None
    assert shown_fingerprint("127.0.0.1:no-port") is None
