"""What counts as a change of an account's risk status, and the record that it becomes. Pure; no row raises.

A row has more than a status: `maxNetLiq`, `minNetLiq` and their times move with every tick of a market. Only the fields
of `WATCHED` are compared, in a form in which null, an absent field and the state of a new account are the same, and two
spellings of one moment too. What Tradovate adds some day is passed on, and is no change by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from schemas.bridged import RiskStatus
from schemas.cleaning import clean
from worker.bridge.signal_record import vendor_id
from worker.errors import Interruption
from worker.partner._json import NONSENSE, clean_json

__all__ = ["WATCHED", "Change", "KnownStatus", "ReceivedStatus", "Watched", "compared", "read", "record", "watched_in"]

WATCHED: Final = (
    "autoLiqCounter",
    "autoLiqStarted",
    "autoLiqStopped",
    "liquidateOnly",
    "userTriggeredLiqOnly",
    "adminAction",
    "adminTimestamp",
)
"""What says that somebody, or Tradovate's automatic liquidation, has done something to the account."""

_LONGEST = 4096
"""Bytes of a status; one has some 300. Of a larger one only the fields that we know are kept."""

_FIELDS = frozenset(each.alias for each in RiskStatus.model_fields.values() if each.alias)
_NUMBERS = frozenset({"maxNetLiq", "minNetLiq"})
_WORD = 128
"""Characters of a time or an action; the longest action has some thirty."""

Watched = tuple[Any, ...]
"""The fields of `WATCHED` in the form in which they are compared."""


class _Unreadable(Interruption):
    """A watched field of another type than its own."""


class ReceivedStatus(NamedTuple):
    """A status as it came. `since`: when its connection was authorized, for one of an event; None for initial data."""

    account_id: int
    watched: Watched
    status: Mapping[str, Any]
    since: datetime | None = None


class KnownStatus(NamedTuple):
    """The last status of an account that the ledger has, and how many changes there were before it."""

    version: int
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """The `version`-th change of an account's status. `before`: as it was when it last changed."""

    account_id: int
    version: int
    before: Mapping[str, Any] = field(repr=False)
    now: Mapping[str, Any] = field(repr=False)


def watched_in(row: Any) -> tuple[int, Watched] | None:
    """The account and what is compared; None when the row cannot be read. Quick, for thousands come at once."""
    if not isinstance(row, dict):
        return None
    account_id = vendor_id(row.get("accountId")) or vendor_id(row.get("id"))
    if account_id is None:
        return None
    try:
        return account_id, _watched(row)
    except _Unreadable:
        return None


def read(row: Mapping[str, Any], account_id: int, watched: Watched, since: datetime | None) -> ReceivedStatus:
    """The whole of a row that `watched_in` could read: cleaned, its known fields of the types of the schema."""
    known = {name: row[name] for name in _FIELDS if name in row}
    known |= dict(zip(WATCHED, (_typed(name, known.get(name)) for name in WATCHED), strict=True))
    for name in known.keys() - set(WATCHED):
        known[name] = _number(known[name]) if name in _NUMBERS else _word(known[name])
    known = {name: known[name] for name in known if name in row}
    others = clean_json({name: row[name] for name in row if name not in _FIELDS | {"id", "accountId"}})
    status = {**others, **known} if others is not NONSENSE else known
    try:
        large = len(orjson.dumps(status)) > _LONGEST
    except TypeError:  # deeper than orjson writes, or a whole number of more than 64 bits
        large = True
    return ReceivedStatus(account_id, watched, known if large else status, since)


def compared(
    known: Mapping[int, KnownStatus], received: Sequence[ReceivedStatus]
) -> tuple[dict[int, KnownStatus], list[Change]]:
    """What the ledger has to keep, by account, and the changes, in their order.

    The first status of an account sets the starting point. It is a change only if an event brought it and one of its
    times is later than the start of this connection: then something has happened to a new account, of which no row had
    come.
    """
    now = dict(known)
    changes: list[Change] = []
    for each in received:
        last = now.get(each.account_id)
        if last is None:
            happened = each.since is not None and any(
                isinstance(at, datetime) and at > each.since for at in each.watched
            )
            last = KnownStatus(0, {} if happened else each.status)
            now[each.account_id] = last
        if _watched(last.status) != each.watched:
            changes.append(Change(each.account_id, last.version + 1, last.status, each.status))
            now[each.account_id] = KnownStatus(last.version + 1, each.status)
    return {account_id: each for account_id, each in now.items() if known.get(account_id) is not each}, changes


def record(change: Change) -> bytes:
    """The value of the record for Kafka: the same bytes for the same change.

    The event id holds a digest of what changed beside the account and the version: a ledger that was lost begins to
    count from one again, and its changes are others.
    """
    before, now = _watched(change.before), _watched(change.now)
    digest = hashlib.sha256(repr((before, now)).encode()).hexdigest()[:16]
    return orjson.dumps(
        {
            "eventId": f"risk-{change.account_id}-{change.version}-{digest}",
            "accountId": change.account_id,
            "userTriggered": user_triggered(change.before, change.now),
            "before": change.before,
            "now": change.now,
        }
    )


def user_triggered(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether the trader did it: the account is now under a restriction that its trader has set
    (`userTriggeredLiqOnly`), and no administrator has just acted on it.
    """
    acted = _of_admin(before) != _of_admin(now) and _compared("adminAction", now.get("adminAction")) is not None
    return now.get("userTriggeredLiqOnly") is True and not acted


def _of_admin(row: Mapping[str, Any]) -> Watched:
    return tuple(_compared(name, row.get(name)) for name in ("adminAction", "adminTimestamp"))


def _watched(row: Mapping[str, Any]) -> Watched:
    return tuple(_compared(name, row.get(name)) for name in WATCHED)


def _compared(name: str, value: Any) -> Any:
    """A watched field without its spelling: null and absent are what a new account has; a moment is a moment."""
    value = _typed(name, value)
    if name == "autoLiqCounter":
        return value or 0
    if name == "userTriggeredLiqOnly":
        return bool(value)
    if name == "adminAction":
        return None if value is None or value.lower() == "normal" else value
    return _moment(value) if value else None


def _typed(name: str, value: Any) -> Any:
    """A watched field as the schema has it. Raises `_Unreadable`."""
    if value is None:
        return None
    if name == "autoLiqCounter":
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
            return value
    elif name == "userTriggeredLiqOnly":
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
    elif isinstance(value, str) and len(value) <= _WORD:
        return clean(value)
    raise _Unreadable(name)


def _moment(text: str) -> datetime | str:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC)


def _number(value: Any) -> float | None:
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53
    return value if whole or isinstance(value, float) else None


def _word(value: Any) -> str | None:
    return clean(value) if isinstance(value, str) and len(value) <= _WORD else None
