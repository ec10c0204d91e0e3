"""Who we are to the partner, what a session is, and why there is none."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime

import orjson

from worker.errors import Unavailable
from worker.ledger.crypto import Vault
from worker.partner.hosts import Addresses
from worker.partner.token import Token
from worker.replies import Domain

__all__ = ["Credentials", "Identity", "NoSession", "Token"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """The organization's API user, as the settings have it."""

    name: str = field(repr=False)
    password: str = field(repr=False)
    app_id: str | None = field(default=None, repr=False)
    app_version: str | None = field(default=None, repr=False)
    cid: str | None = field(default=None, repr=False)
    sec: str | None = field(default=None, repr=False)
    device_id: str | None = field(default=None, repr=False)

    def body(self, ticket: str | None = None) -> bytes:
        """The login's body; with a penalty ticket the same one and the ticket.

        `cid` is a string in the vendor's schema and a number in all its examples: a number if it can be one.
        """
        cid = int(self.cid) if self.cid is not None and re.fullmatch(r"[0-9]{1,18}", self.cid) else self.cid
        body = {
            "name": self.name,
            "password": self.password,
            "appId": self.app_id,
            "appVersion": self.app_version,
            "cid": cid,
            "sec": self.sec,
            "deviceId": self.device_id,
            "p-ticket": ticket,
        }
        return orjson.dumps({key: value for key, value in body.items() if value is not None})

    def scrub(self, text: str) -> str:
        """The text without any of these values."""
        for value in (self.name, self.password, self.sec, self.cid, self.device_id):
            if value:
                text = text.replace(value, "***")
        return text


class NoSession(Unavailable):
    """There is no session, and none to be had before `until` (the database's time; None: an operator has to act).

    `scope` says what keeps it back: a hold's scope, `lease`, `retry`, `others`, `budget`.
    """

    def __init__(self, until: datetime | None, why: str, scope: str) -> None:
        super().__init__(why)
        self.until = until
        self.why = why
        self.scope = scope


class Identity:
    """Our API user as the ledger knows it: keyed hashes, compared under any of the vault's keys.

    The owner (address, name, key id) is whose session a row is; the fingerprint (everything) is what a rejected login
    was tried with; `addresses_digest` (all addresses and the owner) is what stored hosts belong to.
    """

    def __init__(self, vault: Vault, credentials: Credentials, addresses: Addresses) -> None:
        live_url = addresses.base(Domain.LIVE)
        urls = [url(domain) for domain in Domain for url in (addresses.base, addresses.socket)]
        self._vault = vault
        self._owner = orjson.dumps([live_url, credentials.name, credentials.cid])
        self._everything = orjson.dumps([live_url, credentials.body().decode()])
        self._addresses = orjson.dumps([urls, addresses.follow, credentials.name, credentials.cid])

    @property
    def owner(self) -> bytes:
        """The hash that a session is stored with."""
        return self._vault.digest(self._owner)

    @property
    def fingerprint(self) -> str:
        """The hash that a hold is stored with, in hexadecimal."""
        return self._vault.digest(self._everything).hex()

    @property
    def addresses_digest(self) -> bytes:
        """The hash that hosts are stored with."""
        return self._vault.digest(self._addresses)

    def has_addresses(self, belongs: bytes | None) -> bool:
        """Whether stored hosts belong to our settings."""
        return belongs is not None and self._vault.same(belongs, self._addresses)

    def owns(self, owner: bytes | None) -> bool:
        """Whether a session is of our user."""
        return owner is not None and self._vault.same(owner, self._owner)

    def made(self, fingerprint: str | None) -> bool:
        """Whether a hold came of exactly our settings."""
        return fingerprint is not None and self._vault.same(bytes.fromhex(fingerprint), self._everything)
