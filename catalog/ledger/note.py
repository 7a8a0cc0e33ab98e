"""Signed notes with Ed25519 keys, as c2sp.org/signed-note has them; the same notes that Go's `sumdb/note` reads.

Pure; imports `cryptography` and `storage.errors` of ours. A text is returned only when a known key signed it.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from storage.errors import Corrupt, Invalid

ED25519 = b"\x01"
KEY_BYTES = 32
SIGNATURE_BYTES = 64
MAX_NOTE_BYTES = 64 * 1024
MAX_SIGNATURES = 32
DASH = "\u2014 "
_SECRET = "PRIVATE+KEY+"  # noqa: S105 - a prefix


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key and the name it signs under; its text is `name+keyid+base64`."""

    name: str
    public: bytes

    @property
    def key_id(self) -> str:
        """Eight hex digits that tell the keys of a name apart."""
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public).hexdigest()[:8]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id}+{base64.b64encode(ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read a verifier key. Raises Invalid `ledger-key-format`."""
        name, key_id, encoded = _parts(text.strip())
        key = cls(name, _key_bytes(encoded))
        if key.key_id != key_id:
            raise _bad_key("its id does not belong to it, so a character is wrong")
        return key

    def signed(self, text: str, signature: bytes) -> bool:
        """Whether this key made the signature over the text."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


class SignerKey:
    """A private key and its name. Nothing but `secret_text` shows it."""

    __slots__ = ("_private", "verifier")

    def __init__(self, name: str, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = VerifierKey(_checked_name(name), self._private.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"SignerKey({self.verifier})"

    def __reduce__(self) -> str:
        raise TypeError("a SignerKey is not pickled")

    @classmethod
    def parse(cls, text: str) -> SignerKey:
        """Read what `secret_text` wrote. Raises Invalid `ledger-key-format`."""
        if not text.startswith(_SECRET):
            raise _bad_key("it is no private key")
        name, key_id, encoded = _parts(text.strip().removeprefix(_SECRET))
        key = cls(name, _key_bytes(encoded))
        if key.verifier.key_id != key_id:
            raise _bad_key("its id does not belong to it, so a character is wrong")
        return key

    def secret_text(self) -> str:
        """The private key as one line, in the form that other tools for signed notes read."""
        seed = base64.b64encode(ED25519 + self._private.private_bytes_raw()).decode()
        return f"{_SECRET}{self.verifier.name}+{self.verifier.key_id}+{seed}"

    def sign(self, text: str) -> str:
        """The signed note over a text, which ends in a newline. The same text gives the same note."""
        _check_text(text)
        packed = bytes.fromhex(self.verifier.key_id) + self._private.sign(text.encode())
        return f"{text}\n{DASH}{self.verifier.name} {base64.b64encode(packed).decode()}\n"


def open_note(note: str, key: VerifierKey) -> str:
    """Return the text of a note that `key` signed; signatures of other keys are passed over.

    Raises Corrupt `ledger-note` when it is no note, `ledger-signature` when this key did not sign it.
    """
    if len(note.encode(errors="replace")) > MAX_NOTE_BYTES or "\n\n" not in note or not note.endswith("\n"):
        raise Corrupt("this is no signed note", code="ledger-note")
    text, _, block = note.rpartition("\n\n")
    text += "\n"
    if any(ord(letter) < 0x20 and letter != "\n" for letter in note):
        raise Corrupt("this is no signed note", code="ledger-note", why="it has control characters")
    lines = block.removesuffix("\n").split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise Corrupt("this is no signed note", code="ledger-note", why="it has too many signatures")
    verdicts = [key.signed(text, made) for name, key_id, made in map(_signature, lines) if _same(key, name, key_id)]
    if not verdicts or not all(verdicts):
        raise Corrupt(
            f"the note is not signed by {key.name}+{key.key_id}",
            code="ledger-signature",
            why="its signature is another text's" if verdicts else "there is no signature of that key",
        )
    return text


def _same(key: VerifierKey, name: str, key_id: bytes) -> bool:
    return name == key.name and key_id.hex() == key.key_id


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(DASH).partition(" ")
    try:
        packed = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        packed = b""
    # Another text for the same bytes would be another note.
    if not line.startswith(DASH) or len(packed) <= 4 or base64.b64encode(packed).decode() != encoded:
        raise Corrupt("this is no signed note", code="ledger-note", why="a signature line is malformed")
    return name, packed[:4], packed[4:]


def _parts(text: str) -> tuple[str, str, str]:
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    return _checked_name(name), key_id, encoded


def _key_bytes(encoded: str) -> bytes:
    try:
        packed = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _bad_key("it is no base64") from error
    if packed[:1] != ED25519 or len(packed) != 1 + KEY_BYTES:
        raise _bad_key("it is no Ed25519 key")
    return packed[1:]


def _checked_name(name: str) -> str:
    if not name or "+" in name or any(letter.isspace() or not letter.isprintable() for letter in name):
        raise _bad_key("its name is empty, or has spaces or a plus")
    return name


def _check_text(text: str) -> None:
    if not text.endswith("\n") or any(ord(letter) < 0x20 and letter != "\n" for letter in text):
        raise Invalid("this text cannot be signed as a note", code="ledger-note")


def _bad_key(why: str) -> Invalid:
    return Invalid("this is no key of a ledger", code="ledger-key-format", why=why, hint="it reads name+keyid+base64")
