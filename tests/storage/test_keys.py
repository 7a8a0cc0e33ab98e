"""The key ring: derived keys, the key file, the printed copy."""

from __future__ import annotations

import json
import os
import pickle
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import Conflict, Corrupt, Denied
from storage.keys import KeyRing
from tests.support.faults import PowerCut, PowerLost

MASTER = bytes(range(32))


def test_a_key_file_is_private_and_loads(tmp_path: Path) -> None:
    """A created key is readable by its owner only and loads to the same keys."""
    made = KeyRing.create(tmp_path / "keys" / "repository.key")
    loaded = KeyRing.load(tmp_path / "keys" / "repository.key")
    assert (tmp_path / "keys" / "repository.key").stat().st_mode & 0o777 == 0o600
    assert (loaded.key_id, loaded.encrypts, loaded.digest_key()) == (made.key_id, True, made.digest_key())


def test_a_plain_repository_still_has_a_key(tmp_path: Path) -> None:
    """An unencrypted repository's key survives the file and the printed copy as unencrypted."""
    made = KeyRing.plain(tmp_path / "k")
    assert not made.encrypts
    assert not KeyRing.load(tmp_path / "k").encrypts
    assert not KeyRing.import_text(made.export()).encrypts


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    """Creating a key where one is raises, and the old key stays."""
    made = KeyRing.create(tmp_path / "k")
    with pytest.raises(Conflict) as caught:
        KeyRing.create(tmp_path / "k")
    assert caught.value.code == "key-exists"
    assert KeyRing.load(tmp_path / "k").key_id == made.key_id


def test_a_power_cut_leaves_a_whole_key_or_none(tmp_path: Path) -> None:
    """Wherever the power goes while a key is saved, its file loads or is absent."""
    outcomes = set()
    for at in range(1, 30):
        path = tmp_path / str(at) / "k"
        with PowerCut(at) as machine:
            with suppress(PowerLost):
                KeyRing(MASTER).save(path)
            finished = machine.operations < at
        outcomes.add(path.exists())
        if path.exists():
            assert KeyRing.load(path).key_id == KeyRing(MASTER).key_id
        if finished:
            break
    assert finished
    assert outcomes == {True, False}


def test_a_missing_key_is_denied(tmp_path: Path) -> None:
    """Without the key file nothing opens, and the error says how to get it back."""
    with pytest.raises(Denied) as caught:
        KeyRing.load(tmp_path / "k")
    assert caught.value.code == "key-missing"
    assert caught.value.hint


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_open_to_others_is_denied(tmp_path: Path, mode: int) -> None:
    """A key file that anybody else may touch is not used."""
    KeyRing.create(tmp_path / "k")
    os.chmod(tmp_path / "k", mode)
    with pytest.raises(Denied) as caught:
        KeyRing.load(tmp_path / "k")
    assert caught.value.code == "key-permissions"


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"key": "AAAA"},
        {"key": "!"},
        {"key": None},
        {"cipher": "rot13"},
        {"cipher": None},
        {"key_id": "00" * 8},
    ],
)
def test_a_damaged_key_file_is_denied(tmp_path: Path, change: dict[str, object]) -> None:
    """A key file with a wrong field is refused, never half believed."""
    KeyRing.create(tmp_path / "k")
    body = json.loads((tmp_path / "k").read_text()) | change
    (tmp_path / "k").write_text(json.dumps(body))
    with pytest.raises(Denied) as caught:
        KeyRing.load(tmp_path / "k")
    assert caught.value.code == "key-format"


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b" " * 5000, b"null"])
def test_a_file_that_is_no_key_is_denied(tmp_path: Path, text: bytes) -> None:
    """Any other file content is refused with the same code."""
    KeyRing.create(tmp_path / "k")
    (tmp_path / "k").write_bytes(text)
    with pytest.raises(Denied) as caught:
        KeyRing.load(tmp_path / "k")
    assert caught.value.code == "key-format"


def test_the_wrong_key_is_told_apart() -> None:
    """A key other than the repository's is denied before any data is touched."""
    mine, other = KeyRing(MASTER), KeyRing(bytes(32))
    mine.require(mine.key_id)
    with pytest.raises(Denied) as caught:
        other.require(mine.key_id)
    assert caught.value.code == "key-mismatch"


def test_derived_keys_are_fixed_for_ever() -> None:
    """The keys derived from a known master key are the ones that existing repositories were written with."""
    ring = KeyRing(MASTER)
    assert ring.key_id == "a9f3aa71c5619b7e"
    assert ring.digest_key().hex() == "478747bd1bcc25235d832dbc46ae28b922056b6e2ef48b04aee6cef5049a8716"
    assert ring.pack_key(bytes(16), 1).hex() == "4ae1828da0f7492a76f611bc7535bacfe042120e8ad6f08336e5bc828416e2b7"


def test_every_use_has_its_own_key() -> None:
    """Digest key and keys of different packs and epochs all differ from each other and from the master key."""
    ring = KeyRing(MASTER)
    keys = {MASTER, ring.digest_key(), *(ring.pack_key(bytes([n]) * 16, e) for n in range(4) for e in (1, 2))}
    assert len(keys) == 10


@given(st.binary(min_size=32, max_size=32), st.booleans())
def test_the_printed_copy_is_the_key(master: bytes, encrypts: bool) -> None:
    """Export and import are inverse, also when retyped in small letters with other spacing."""
    ring = KeyRing(master, encrypts=encrypts)
    text = ring.export()
    assert max(map(len, text.splitlines())) <= 40
    retyped = "\n\n".join(f"  {line}  " for line in [*text.splitlines()[:3], *text.lower().splitlines()[3:-1]])
    retyped += "\n" + text.splitlines()[-1]
    for copy in (text, "\r\n".join(text.splitlines()), retyped):
        again = KeyRing.import_text(copy)
        assert (again.key_id, again.encrypts, again.digest_key()) == (ring.key_id, encrypts, ring.digest_key())


@given(st.integers(0, 10_000), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_a_misread_character_is_noticed(position: int, letter: str) -> None:
    """One wrong character in the printed key is refused, wherever it is."""
    lines = KeyRing(MASTER).export().splitlines()
    body = list("\n".join(lines[3:-1]))
    places = [at for at, sign in enumerate(body) if sign.isalnum()]
    at = places[position % len(places)]
    if body[at] == letter:
        return
    body[at] = letter
    with pytest.raises(Denied) as caught:
        KeyRing.import_text("\n".join([*lines[:3], "".join(body), lines[-1]]))
    assert caught.value.code == "key-format"


@pytest.mark.parametrize("text", ["", "abc", "-----BEGIN HOLDFAST KEY-----", "ä" * 100])
def test_other_text_is_no_key(text: str) -> None:
    """Text that is not a printed key is refused."""
    with pytest.raises(Denied) as caught:
        KeyRing.import_text(text)
    assert caught.value.code == "key-format"


def test_the_key_shows_nowhere() -> None:
    """No repr, text or error of a key ring contains key bytes, and it does not pickle."""
    ring = KeyRing(MASTER)
    shown = f"{ring!r} {ring}"
    assert MASTER.hex() not in shown
    assert "AAECAw" not in shown
    assert ring.key_id in shown
    with pytest.raises(TypeError):
        pickle.dumps(ring)


def test_a_wrapped_secret_opens_for_its_use_and_key_only() -> None:
    """What was wrapped comes back; with any bit flipped, another key or another use it does not."""
    keys, other = KeyRing(bytes(range(32))), KeyRing(bytes(32))
    sealed = keys.wrap(b"one use", b"secret")
    assert keys.unwrap(b"one use", sealed) == b"secret"
    assert b"secret" not in sealed
    assert keys.wrap(b"one use", b"secret") != sealed
    flipped = [bytearray(sealed) for _ in range(len(sealed) * 8)]
    for bit, data in enumerate(flipped):
        data[bit // 8] ^= 1 << bit % 8
    tries = [(keys, b"one use", bytes(data)) for data in flipped]
    tries += [(other, b"one use", sealed), (keys, b"another use", sealed), (keys, b"one use", sealed[:20])]
    for ring, use, data in tries:
        with pytest.raises(Corrupt) as caught:
            ring.unwrap(use, data)
        assert caught.value.code == "sealed-secret"
