"""Names that find themselves: an account's name follows from its order alone, so that it can be looked up."""

from __future__ import annotations

import hashlib
import secrets

MOST = 64
"""Characters of an account name (Tradovate, create evaluation accounts: `^[A-Z]+[0-9]+$`, at most 64)."""


def account_name(prefix: str, order_id: str) -> str:
    """The prefix and the order's digits; or the prefix and 20 digits of a hash of the order id.

    `prefix`: capital letters. Order ids that are not all ASCII digits, or too long, are hashed to twenty digits. Two
    equal names among a hundred million orders then have a probability of about one in twenty thousand.
    """
    if order_id.isascii() and order_id.isdigit() and len(prefix) + len(order_id) <= MOST:
        return prefix + order_id
    number = int.from_bytes(hashlib.sha256(order_id.encode()).digest()) % 10**20
    return f"{prefix}{number:020d}"


def strong_password() -> str:
    """A password for a user whose trader will set one by Tradovate's reset mail: 120 bits at random in 20 characters,
    and four more so that every class is there.
    """
    return secrets.token_urlsafe(15) + "aZ4!"
