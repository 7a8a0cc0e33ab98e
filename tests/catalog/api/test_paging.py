"""Cursors: what is signed, for how long, and for whom."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest

from catalog.access.caller import EVERYTHING, Scope
from catalog.api.paging import Cursors, Question, service_key
from storage.errors import Corrupt, Invalid
from tests.support.api_home import NOW

KEY = bytes(range(32))
QUESTION = Question.of("list", "/v1/things", [("name", "a"), ("limit", "5")], EVERYTHING)


def at(hours: float, key: bytes = KEY) -> Cursors:
    """Cursors of a server whose clock is so many hours on."""
    return Cursors(key, lambda: NOW + timedelta(hours=hours), 24 * 3600)


def test_a_cursor_leads_back() -> None:
    """A cursor gives position and key again, whatever the size of the page and the order of the parameters."""
    text = at(0).make(QUESTION, 42, ("a", 7))
    again = Question.of("list", "/v1/things", [("cursor", text), ("limit", "9"), ("name", "a")], EVERYTHING)
    assert at(1).read(text, again) == (42, ("a", 7))


@pytest.mark.parametrize(
    ("other", "code"),
    [
        (Question.of("list", "/v1/things", [("name", "b")], EVERYTHING), "cursor-query"),
        (Question.of("list", "/v1/others", [("name", "a")], EVERYTHING), "cursor-query"),
        (Question.of("other", "/v1/things", [("name", "a")], EVERYTHING), "cursor-query"),
        (Question.of("list", "/v1/things", [("name", "a")], Scope(("lab/*",))), "cursor-scope"),
    ],
)
def test_a_cursor_is_bound(other: Question, code: str) -> None:
    """A cursor is refused with another query, path, operation or scope."""
    text = at(0).make(QUESTION, 42, (7,))
    with pytest.raises(Invalid) as caught:
        at(0).read(text, other)
    assert caught.value.code == code


def test_no_bit_can_be_changed() -> None:
    """Whichever bit of a cursor is changed, it is refused; so is one of another key, and what is no cursor."""
    from base64 import urlsafe_b64decode, urlsafe_b64encode

    text = at(0).make(QUESTION, 42, (7,))
    raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    changed = [raw[:i] + bytes([raw[i] ^ bit]) + raw[i + 1 :] for i in range(len(raw)) for bit in (1, 128)]
    texts = [urlsafe_b64encode(one).decode().rstrip("=") for one in changed]
    for wrong in [*texts, at(0, bytes(32)).make(QUESTION, 42, (7,)), "", "=", "ü", "A" * 2000, text[:-2]]:
        with pytest.raises(Invalid) as caught:
            at(0).read(wrong, QUESTION)
        assert caught.value.code == "cursor-tampered"


def test_clocks_that_differ() -> None:
    """A cursor lives for its day by the clock of who reads it; a clock that was set back does not end it early."""
    text = at(0).make(QUESTION, 42, (7,))
    assert at(23.9).read(text, QUESTION)
    assert at(-48).read(text, QUESTION)
    with pytest.raises(Invalid) as caught:
        at(24.1).read(text, QUESTION)
    assert caught.value.code == "cursor-expired"


def test_the_key_is_made_once(tmp_path: Path) -> None:
    """The key is made for its owner alone, kept, and a broken one is not used."""
    path = tmp_path / "keys" / "service.key"
    made = service_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert service_key(path) == made
    path.write_bytes(b"short")
    with pytest.raises(Corrupt):
        service_key(path)
