"""The two ways to seal a pack's parts: AES-256-GCM, or a keyed BLAKE3 tag where nothing is hidden.

Imports `storage` only. Source: FORMAT.md, section Seal. Both write into buffers that the caller reuses.
"""

from __future__ import annotations

from typing import Protocol

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.keys import KeyRing
from storage.packs.format import TAG_BYTES, PackHeader


class SealBroken(Exception):
    """The tag does not fit: the bytes, their place or the key are not the ones that were sealed."""


class Seal(Protocol):
    """Seals and opens the parts of one pack. Safe to use from several threads."""

    def seal_into(self, nonce: bytes, binding: bytes, payload: memoryview, out: memoryview) -> None:
        """Write the sealed payload and its tag to `out`, which is 16 bytes longer than the payload."""

    def open_into(self, nonce: bytes, binding: bytes, sealed: memoryview, out: memoryview) -> None:
        """Write the payload to `out`, which is 16 bytes shorter than `sealed`. Raises SealBroken."""


class GcmSeal:
    """AES-256-GCM under the pack's own key."""

    def __init__(self, key: bytes, bound: bytes) -> None:
        self._cipher = AESGCM(key)
        self._bound = bound

    def seal_into(self, nonce: bytes, binding: bytes, payload: memoryview, out: memoryview) -> None:
        """Encrypt `payload`; see Seal."""
        if hasattr(AESGCM, "encrypt_into"):
            self._cipher.encrypt_into(nonce, payload, self._bound + binding, out)
        else:
            out[:] = self._cipher.encrypt(nonce, payload, self._bound + binding)

    def open_into(self, nonce: bytes, binding: bytes, sealed: memoryview, out: memoryview) -> None:
        """Decrypt `sealed`; see Seal."""
        try:
            if hasattr(AESGCM, "decrypt_into"):
                self._cipher.decrypt_into(nonce, sealed, self._bound + binding, out)
            else:
                out[:] = self._cipher.decrypt(nonce, sealed, self._bound + binding)
        except InvalidTag as error:
            raise SealBroken from error


class PlainSeal:
    """The payload as it is, and a keyed tag."""

    def __init__(self, key: bytes, bound: bytes) -> None:
        self._key = key
        self._bound = bound

    def seal_into(self, nonce: bytes, binding: bytes, payload: memoryview, out: memoryview) -> None:
        """Copy and tag `payload`; see Seal."""
        out[: len(payload)] = payload
        out[len(payload) :] = self._tag(nonce, binding, payload)

    def open_into(self, nonce: bytes, binding: bytes, sealed: memoryview, out: memoryview) -> None:
        """Check and copy `sealed`; see Seal."""
        payload = sealed[:-TAG_BYTES]
        if self._tag(nonce, binding, payload) != sealed[-TAG_BYTES:]:
            raise SealBroken
        out[:] = payload

    def _tag(self, nonce: bytes, binding: bytes, payload: memoryview) -> bytes:
        hasher = blake3(nonce + self._bound + binding, key=self._key, max_threads=1)
        return hasher.update(payload).digest(TAG_BYTES)


def seal_for(header: PackHeader, keys: KeyRing) -> Seal:
    """Return the seal of one pack."""
    kind = GcmSeal if header.encrypted else PlainSeal
    return kind(keys.pack_key(header.pack_id, header.epoch), header.binding)
