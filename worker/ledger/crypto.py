"""Encryption at rest and keyed hashes, from keys derived from SECRET_KEY."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from worker.errors import OperatorError


class Sealed(OperatorError):
    """Data that none of the keys of SECRET_KEY opens: the key that wrote it has been taken away."""

    @property
    def sentence(self) -> str:
        """For an operator."""
        return "No part of SECRET_KEY opens what the ledger keeps: add the key that was in use when it was kept."


_NAME_BYTES = 4
"""Of a key's name before each keyed hash: enough to tell a handful of keys apart, and nothing of the key."""


class Vault:
    """Seals personal data, passwords and the shared token; makes keyed hashes of what must be compared later.

    `keys`: the parts of SECRET_KEY, 32 characters or more each. The first writes, all read, so that a key can be
    replaced without a stop.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(_derive(key, b"seal"))) for key in keys])
        self._digest_keys = {_derive(key, b"digest name")[:_NAME_BYTES]: _derive(key, b"digest") for key in keys}

    def seal(self, data: bytes) -> bytes:
        """Encrypts and authenticates (AES-128-CBC, HMAC-SHA256), with a fresh nonce each time."""
        return self._fernet.encrypt(data)

    def open(self, data: bytes) -> bytes:
        """The opposite of `seal`; raises `Sealed` when no key fits."""
        try:
            return self._fernet.decrypt(data)
        except InvalidToken:
            raise Sealed from None

    def digest(self, data: bytes) -> bytes:
        """A keyed hash (HMAC-SHA256) under the first key, behind that key's name: 36 bytes."""
        name, key = next(iter(self._digest_keys.items()))
        return name + hmac.digest(key, data, hashlib.sha256)

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
        return hmac.compare_digest(digest[_NAME_BYTES:], hmac.digest(key, data, hashlib.sha256))


def _derive(key: str, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=None, info=b"tradovate-worker/" + purpose).derive(key.encode())
