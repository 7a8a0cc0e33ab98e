"""Signed notes and checkpoints, against published vectors and the implementation of the Go project."""

from __future__ import annotations

import base64
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.ledger.checkpoint import read_checkpoint, sign_checkpoint
from catalog.ledger.keyfile import key_name, load_key, make_key
from catalog.ledger.note import SignerKey, VerifierKey, open_note
from storage.errors import Corrupt, Denied, Invalid

# The example of the documentation of golang.org/x/mod/sumdb/note.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_NOTE = (
    GO_TEXT + "\n\u2014 PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
KEY = SignerKey("holdfast/test", bytes(range(32)))
ROOT, HEAD = sha256(b"root").digest(), sha256(b"head").digest()


def test_published_note() -> None:
    """A note that another implementation signed and published is opened."""
    key = VerifierKey.parse(GO_KEY)
    assert str(key) == GO_KEY
    assert open_note(GO_NOTE, key) == GO_TEXT


def test_checkpoint_round_trip() -> None:
    """A checkpoint has the lines that the specification names, and is read back."""
    made = sign_checkpoint(KEY, 42, ROOT, HEAD)
    lines = made.note.split("\n")
    assert lines[:3] == ["holdfast/test", "42", base64.b64encode(ROOT).decode()]
    assert lines[4] == ""
    assert lines[5].startswith("\u2014 holdfast/test ")
    assert read_checkpoint(made.note, KEY.verifier) == made
    assert sign_checkpoint(KEY, 42, ROOT, HEAD) == made


def test_other_signatures_are_passed_over() -> None:
    """A witness may add its signature; without ours the note is refused."""
    note = sign_checkpoint(KEY, 42, ROOT, HEAD).note
    witness = SignerKey("witness", bytes(32))
    cosigned = note + witness.sign(note.split("\n\n")[0] + "\n").split("\n\n")[1]
    assert read_checkpoint(cosigned, KEY.verifier).size == 42
    with pytest.raises(Corrupt):
        open_note(note, witness.verifier)


def test_every_changed_byte_is_refused() -> None:
    """No byte of a checkpoint can be changed, removed or doubled."""
    note = sign_checkpoint(KEY, 42, ROOT, HEAD).note
    for at in range(len(note)):
        for other in (note[:at] + chr(ord(note[at]) ^ 1) + note[at + 1 :], note[:at] + note[at + 1 :]):
            with pytest.raises(Corrupt):
                read_checkpoint(other, KEY.verifier)


@given(st.text(max_size=200))
def test_garbage(text: str) -> None:
    """Any text is Corrupt as a checkpoint, and Invalid as a key, and raises nothing else."""
    for note in (text, text + "\n\n\u2014 holdfast/test AAAA\n", KEY.verifier.name + "\n" + text + "\n\n\u2014 a b\n"):
        with pytest.raises(Corrupt):
            read_checkpoint(note, KEY.verifier)
    for parse in (VerifierKey.parse, SignerKey.parse):
        with pytest.raises(Invalid):
            parse(text)


@pytest.mark.parametrize("size", ["042", "-1", "+42", "4_2", "\u0664\u0662", "", "9" * 5000, "42 "])
def test_sizes_have_one_form(size: str) -> None:
    """A signed note whose size is written another way is no checkpoint."""
    text = f"holdfast/test\n{size}\n{base64.b64encode(ROOT).decode()}\nchain {base64.b64encode(HEAD).decode()}\n"
    with pytest.raises(Corrupt, match=r"no (checkpoint|signed note)"):
        read_checkpoint(KEY.sign(text), KEY.verifier)


def test_key_file(tmp_path: Path) -> None:
    """The key is made once, readable by its owner only, and never shown."""
    name = key_name(UUID(int=1))
    path = tmp_path / "keys" / "ledger.key"
    assert load_key(path, name) is None
    made = make_key(path, name)
    assert path.stat().st_mode & 0o777 == 0o600
    assert make_key(path, name).verifier == made.verifier
    found = load_key(path, name)
    assert found is not None
    assert found.verifier == made.verifier
    secret = made.secret_text().strip().split("+", 4)[4]
    assert len(secret) == 44
    assert secret not in repr(made) + str(made.verifier)


def test_bad_key_files(tmp_path: Path) -> None:
    """A key file that others can read, that is damaged or that is another repository's is refused."""
    path = tmp_path / "ledger.key"
    make_key(path, key_name(UUID(int=1)))
    with pytest.raises(Denied, match="another"):
        load_key(path, key_name(UUID(int=2)))
    path.chmod(0o640)
    with pytest.raises(Denied, match="open to others"):
        load_key(path, key_name(UUID(int=1)))
    path.chmod(0o600)
    text = path.read_text()
    for bad in ("", text[:-3], text.replace("PRIVATE", "PUBLIC"), "\xff"):
        path.write_bytes(bad.encode("latin-1"))
        with pytest.raises(Denied) as caught:
            load_key(path, key_name(UUID(int=1)))
        assert text.rpartition("+")[2].strip() not in str(caught.value)
