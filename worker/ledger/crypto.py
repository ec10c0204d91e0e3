"""Encryption at rest and keyed hashes, from keys derived from SECRET_KEY."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from worker.errors import OperatorError


class Sealed(OperatorError):
    """Data that no key of SECRET_KEY decrypts: the key that encrypted it was removed."""

    @property
    def sentence(self) -> str:
        """For an operator."""
        return "No part of SECRET_KEY opens what the ledger keeps: add the key that was in use when it was kept."


_NAME_BYTES = 4
"""Of a key's name before what was made with it: enough to tell a handful of keys apart, and nothing of the key."""

_NONCE_BYTES = 12
"""Drawn at random, so that one key may seal 2**32 texts (NIST SP 800-38D, 8.3): thousands of events a day for
centuries."""


class Vault:
    """Seals personal data, passwords and the shared token; makes keyed hashes of what must be compared later.

    `keys`: the parts of SECRET_KEY, 32 characters or more each. The first writes, all read, so that a key can be
    replaced without a stop.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        named = [(_derive(key, b"name")[:_NAME_BYTES], key) for key in keys]
        self._seals = {name: AESGCM(_derive(key, b"seal")) for name, key in named}
        self._digest_keys = {name: _derive(key, b"digest") for name, key in named}
        self._first = named[0][0]

    def seal(self, data: bytes) -> bytes:
        """Encrypts and authenticates (AES-256-GCM) under the first key: its name, a fresh nonce, then the text."""
        nonce = os.urandom(_NONCE_BYTES)
        return self._first + nonce + self._seals[self._first].encrypt(nonce, data, None)

    def open(self, data: bytes) -> bytes:
        """The opposite of `seal`; raises `Sealed` when no key fits."""
        key, begin = self._seals.get(data[:_NAME_BYTES]), _NAME_BYTES + _NONCE_BYTES
        if key is None:
            raise Sealed
        try:
            return key.decrypt(data[_NAME_BYTES:begin], data[begin:], None)
        except (InvalidTag, ValueError):  # the latter: it is too short for a nonce
            raise Sealed from None

    def digest(self, data: bytes) -> bytes:
        """A keyed hash (BLAKE2b) under the first key, behind that key's name: 36 bytes."""
        return self._first + _hash(self._digest_keys[self._first], data)

    def same(self, digest: bytes, data: bytes) -> bool:
        """Whether `digest` was made of `data`. False also when none of the keys made it."""
        found = self._compared(digest, data)
        return found is not None and found

    def differs(self, digest: bytes, data: bytes) -> bool:
        """Whether `digest` was made of something else. False also when none of the keys made it: a key that was taken
        out of SECRET_KEY proves nothing of any event.
        """
        found = self._compared(digest, data)
        return found is not None and not found

    def _compared(self, digest: bytes, data: bytes) -> bool | None:
        key = self._digest_keys.get(digest[:_NAME_BYTES])
        if key is None:
            return None
        return hmac.compare_digest(digest[_NAME_BYTES:], _hash(key, data))


def _hash(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, key=key, digest_size=32).digest()


def _derive(key: str, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=None, info=b"tradovate-worker/" + purpose).derive(key.encode())
