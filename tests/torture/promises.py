"""What the program promises, as far as the oracle looks at it, and how a breach is said."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Promise(StrEnum):
    """One rule of the oracle each."""

    ONE_USER = "one user"
    ONE_ACCOUNT = "one account"
    ONE_PERMISSION = "one trading permission"
    ONE_ENTITLEMENT = "one entitlement"
    ONE_REQUEST = "one subaccount request"
    ONE_DOCUMENT = "one document"
    ASKED_FOR = "nothing at the partner that no event asked for"
    PROVEN = "what an outcome says is at the partner"
    REASON = "no event fails without a reason"
    OUT = "a failed trader is out"
    TURNS = "the last lock, unlock or change of limits of an account stands"
    ENDS = "every event has a final outcome"
    ONE_END = "exactly one final outcome"
    PENDING = "pending never after the final outcome"
    PUBLISHED_ONCE = "an outcome is published again only if its replica was hit"
    OF_AN_EVENT = "no outcome without an event"
    INVALID = "bad input, and nothing else, is invalid"
    DEAD_LETTER = "bad input, and nothing else, is a dead letter"
    SIGNED = "one md.signed for every signature"
    BUDGET = "the budget"
    LOCK_OUT = "no call in a lock-out"
    LOGINS = "no login closes a session in use"
    REVOKED = "a revocation within 30 s"
    PERSONAL = "no personal value is seen"
    DELETED = "personal data goes when its flow ends"
    MEMBERS = "a member ends only when it is asked to"
    READY = "ready again when everything works"


@dataclass(frozen=True)
class Breach:
    """A promise that was not kept. `key`: the event, trader or order that it is about, for its timeline."""

    promise: Promise
    what: str
    key: str | None = None
