"""What the cookie says: a signed note that its bearer has shown the token. No state, so every replica accepts it.

The keys are derived from CONSOLE_TOKEN and SECRET_KEY together: a new token ends all sessions; of several parts of
SECRET_KEY the first signs and all are read, so that a key can be replaced without signing operators out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

COOKIE = "tradovate_worker_console"

LIFE = 12 * 3600
"""Seconds that a signing-in lasts: one shift. The cookie cannot be called back before, but for a new CONSOLE_TOKEN."""

MOST_NAME = 64
"""Characters of a name: it is kept beside each change, and stands in the cookie."""


@dataclass(frozen=True, slots=True)
class ConsoleSession:
    """An operator who has shown the token. `id` is random, `by` the name they gave (may be empty)."""

    id: str
    until: int
    by: str = ""
    csrf: str = field(default="", repr=False)


class Signer:
    """Makes and reads cookies."""

    def __init__(self, token: str, secret_keys: Sequence[str]) -> None:
        self._token = hashlib.sha256(token.encode()).digest()
        self._keys = [_derive(token, key) for key in secret_keys]

    def is_token(self, given: str) -> bool:
        """Whether this is the token, in a time that tells nothing of it."""
        digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest()
        return hmac.compare_digest(digest, self._token)

    def open(self, by: str, now: float) -> str:
        """A cookie for an operator who has shown the token."""
        note = orjson.dumps([secrets.token_hex(16), int(now) + LIFE, by[:MOST_NAME]])
        return f"{_text(note)}.{_text(self._sign(self._keys[0], b'session', note))}"

    def read(self, cookie: str, now: float) -> ConsoleSession | None:
        """The session of a cookie of ours that has not run out."""
        try:
            note_text, _, signature_text = cookie.partition(".")
            note, signature = _bytes(note_text), _bytes(signature_text)
        except (binascii.Error, ValueError):
            return None
        for key in self._keys:
            if hmac.compare_digest(self._sign(key, b"session", note), signature):
                session_id, until, by = orjson.loads(note)
                csrf = _text(self._sign(key, b"csrf", session_id.encode()))
                return ConsoleSession(session_id, until, by, csrf) if now < until else None
        return None

    def is_csrf(self, session: ConsoleSession, given: str) -> bool:
        """Whether a form was ours, and this session's."""
        asked = given.encode("utf-8", "surrogateescape")
        # Made under any of the keys: the form may be older than a change of SECRET_KEY.
        return any(
            hmac.compare_digest(_text(self._sign(key, b"csrf", session.id.encode())).encode(), asked)
            for key in self._keys
        )

    @staticmethod
    def _sign(key: bytes, purpose: bytes, data: bytes) -> bytes:
        return hmac.digest(key, purpose + b"\0" + data, hashlib.sha256)


def _derive(token: str, key: str) -> bytes:
    salt = hashlib.sha256(token.encode()).digest()
    return HKDF(hashes.SHA256(), 32, salt=salt, info=b"tradovate-worker/operate/console").derive(key.encode())


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    padded = text.encode("ascii") + b"=" * (-len(text) % 4)
    return base64.b64decode(padded, altchars=b"-_", validate=True)
