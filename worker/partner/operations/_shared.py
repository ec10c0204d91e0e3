"""What the declarations share: ranks, results per item, the entities that items need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date
from enum import IntEnum
from typing import Any

from worker.partner.classify import timed_out
from worker.partner.operation import Entity, Item
from worker.partner.read_errors import Unreadable
from worker.partner.single_reads import is_id
from worker.replies import Domain
from worker.results import Rejected, Result, Succeeded, Unknown


class Rank(IntEnum):
    """Who goes first (README, "What happens when"); gaps leave room."""

    REVOCATION = 0
    DEPARTURE = 10
    ENTITLEMENT = 20
    PERMISSION = 30
    ACCOUNT = 40
    USER = 50
    RISK = 55
    SUBACCOUNT = 60
    RESET = 70
    CONTACT = 80
    POLL = 90


MOST = 100
"""Items a call (Tradovate, create evaluation users and accounts)."""


def user(item: Item) -> Sequence[Entity]:
    """Needs its user."""
    return (Entity(Domain.LIVE, "user", item["userId"], "user"),)


def account(item: Item, domain: Domain = Domain.DEMO) -> Sequence[Entity]:
    """Needs its account."""
    return (Entity(domain, "account", item["accountId"], "account"),)


def nothing(_item: Item) -> Sequence[Entity]:
    """Needs nothing that could be read: an empty 404 is never about the item."""
    return ()


def per_item(
    body: Mapping[str, Any],
    items: Sequence[Item],
    one: Callable[[Mapping[str, Any], Item], Result],
    ids: Sequence[str],
) -> Sequence[Result]:
    """One result an item out of `{"results": [...]}`: `results[i]` belongs to `items[i]`.

    Another number of results than items leaves all of them unknown: nothing but the order ties a result to its item.
    So do `ids` that two results share: to which item it belongs is not known.
    """
    results = body["results"]
    if len(results) != len(items):
        return [Unknown("the response has another number of results than the request has items")] * len(items)
    times = Counter(
        (name, result[name])
        for result in results
        for name in ids
        if isinstance(result, Mapping) and is_id(result.get(name))
    )

    def read(result: Any, item: Item) -> Result:
        if not isinstance(result, Mapping):
            return Unknown("the item's result is no object")
        if any(times[name, result.get(name)] > 1 for name in ids if is_id(result.get(name))):
            return Unknown("another item's result has the same id")
        return _one(result, item, one, ids)

    return [read(result, item) for result, item in zip(results, items, strict=True)]


def _one(
    result: Mapping[str, Any], item: Item, one: Callable[[Mapping[str, Any], Item], Result], ids: Sequence[str]
) -> Result:
    text = result.get("errorText")
    if text is not None and not isinstance(text, str):
        return Unknown("the item's errorText is not a text")
    if not text or not text.strip():
        return one(result, item)
    if any(result.get(name) is not None for name in ids):
        return Unknown("the item is refused and granted")
    if timed_out(text):
        return Unknown("the item's errorText says that the request timed out")
    return Rejected(text.strip())


def alike(entity: Any, **expected: Any) -> bool:
    """Whether an entity in a response is the one that was asked for.

    Every field of the vendor's entities is optional, the id too. With an id, what it says of `expected` must agree, and
    what it leaves out contradicts nothing. Without an id, it must say all of `expected`.
    """
    if not isinstance(entity, Mapping):
        return False
    if entity.get("id") is None:
        return bool(expected) and all(entity.get(name) == value for name, value in expected.items())
    return is_id(entity["id"]) and all(entity.get(name) in (None, value) for name, value in expected.items())


async def each(items: Sequence[Item], one: Callable[[Item], Awaitable[Result]]) -> list[Result]:
    """Looks up one item after the other; an unreadable answer about one leaves the others alone."""
    results: list[Result] = []
    for item in items:
        try:
            results.append(await one(item))
        except Unreadable as unreadable:
            results.append(Unknown(str(unreadable)))
    return results


def day_of(value: Any) -> date | None:
    """A day as the partner tells it: `{"year", "month", "day"}`, or a time as text; None when it is neither."""
    try:
        if isinstance(value, Mapping):
            return date(value["year"], value["month"], value["day"])
        return date.fromisoformat(str(value)[:10])
    except (KeyError, TypeError, ValueError):
        return None


OK = {"ok": bool}
"""What a SimpleResponse promises."""


def simple(body: Mapping[str, Any], items: Sequence[Item]) -> Sequence[Result]:
    """What a SimpleResponse says of all items alike. `ok: false` without an errorText says nothing."""
    return [Succeeded() if body["ok"] else Unknown("ok is false, and no errorText says why")] * len(items)


def verified(text: str) -> Rejected:
    """A rejection that may be about what an earlier call of ours made: it is looked up first."""
    return Rejected(text, verify=True)


def adopted(**value: Any) -> Succeeded:
    """It is there already, and it is ours."""
    return Succeeded({**value, "adopted": True})
