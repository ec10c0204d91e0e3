"""What the declarations share: ranks, per-item results, and reads that accept every form of 'nothing found'."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import date
from enum import IntEnum
from typing import Any

from worker.replies import Answer, Domain, Done, Finding, NotExecuted, Query, Refused, Result, Unknown
from worker.tradovate.operation import Item, Reader, Unreadable


class Rank(IntEnum):
    """Who goes first (contract 5.6); gaps leave room."""

    REVOCATION = 0
    DEPARTURE = 10
    ENTITLEMENT = 20
    PERMISSION = 30
    ACCOUNT = 40
    USER = 50
    SUBACCOUNT = 60
    RESET = 70
    CONTACT = 80
    POLL = 90


MOST = 100
"""Items a call (Tradovate, create evaluation users and accounts)."""


def is_id(value: Any) -> bool:
    """Whether `value` is what the partner uses as an id: a positive integer."""
    return type(value) is int and value > 0


def per_item(body: Any, items: Sequence[Item], one: Callable[[Mapping[str, Any], Item], Result]) -> Sequence[Result]:
    """One result an item out of `{"results": [...]}`: `results[i]` belongs to `items[i]`.

    Another number of results than items, or no such list, leaves all of them unknown: nothing but the order ties a
    result to its item.
    """
    results = body.get("results") if isinstance(body, Mapping) else None
    if not isinstance(results, list) or len(results) != len(items):
        return [Unknown("the answer has another number of results than the request has items")] * len(items)
    return [
        _one(result, item, one) if isinstance(result, Mapping) else Unknown("the item's result is not an object")
        for result, item in zip(results, items, strict=True)
    ]


def _one(result: Mapping[str, Any], item: Item, one: Callable[[Mapping[str, Any], Item], Result]) -> Result:
    text = result.get("errorText")
    if text is not None and not isinstance(text, str):
        return Unknown("the item's errorText is not a text")
    return Refused(text) if text else one(result, item)


async def find(reader: Reader, domain: Domain, entity: str, name: str) -> Mapping[str, Any] | None:
    """`/<entity>/find?name=`: the object, or None under every form of 'nothing found' that the partner may use.

    The vendor does not say what find answers for nothing: 404, null, {}, an empty body and [] are all taken as that.
    Raises `Unreadable` when the answer says neither.
    """
    match await reader.get(domain, f"/{entity}/find", name=name):
        case NotExecuted(status=404):
            return None
        case Answer(body=body):
            found = rows(body)
            return next((row for row in found if same_name(row.get("name"), name)), None)
        case reply:
            raise Unreadable(f"{entity}/find: {type(reply).__name__}")


async def read(reader: Reader, domain: Domain, path: str, **query: Query) -> list[Mapping[str, Any]] | None:
    """A bulk read's rows; None when the partner does not have it (404: 'entity or route unknown').

    Raises `Unreadable` when the answer says neither.
    """
    match await reader.get(domain, path, **query):
        case NotExecuted(status=404):
            return None
        case Answer(body=body):
            return rows(body)
        case reply:
            raise Unreadable(f"{path}: {type(reply).__name__}")


def rows(body: Any) -> list[Mapping[str, Any]]:
    """The entities in a reading answer: a list, one object, or nothing. Raises `Unreadable` for anything else."""
    if body is None or body == "":
        return []
    if isinstance(body, Mapping):
        return [body] if body else []
    if isinstance(body, list) and all(isinstance(row, Mapping) for row in body):
        return [row for row in body if row]
    raise Unreadable("the answer holds no entities")


def same_name(left: Any, right: str) -> bool:
    """Whether two login or account names are the same to the partner, which does not tell capitals apart in logins."""
    return isinstance(left, str) and left.strip().lower() == right.strip().lower()


def chunks(values: Iterable[Any], size: int) -> Iterable[list[Any]]:
    """`values` in lists of at most `size`."""
    everything = list(values)
    for start in range(0, len(everything), size):
        yield everything[start : start + size]


async def each(items: Sequence[Item], one: Callable[[Item], Awaitable[Finding]]) -> list[Finding]:
    """Looks up one item after the other; an unreadable answer about one leaves its neighbours alone."""
    findings: list[Finding] = []
    for item in items:
        try:
            findings.append(await one(item))
        except Unreadable as unreadable:
            findings.append(Unknown(str(unreadable)))
    return findings


async def dependents(
    reader: Reader, domain: Domain, entity: str, users: Iterable[int]
) -> dict[int, list[Mapping[str, Any]]]:
    """A kind of entity by user; in bulk (`ldeps`) for several users, one by one where there is no such read.

    Raises `Unreadable` when an answer says neither.
    """
    found: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for some in chunks(sorted(set(users)), MOST):
        page = None
        if len(some) > 1:
            page = await read(reader, domain, f"/{entity}/ldeps", masterids=",".join(map(str, some)))
        if page is None:
            page = [
                {**row, "userId": user}
                for user in some
                for row in await read(reader, domain, f"/{entity}/deps", masterid=user) or ()
            ]
        for row in page:
            found[row.get("userId", 0)].append(row)
    return found


async def by_id(reader: Reader, domain: Domain, entity: str, ids: Iterable[int]) -> dict[int, Mapping[str, Any]]:
    """Entities by their ids; what is not there is left out.

    `items` may answer fewer than asked, in any order, and 404 for more than about ten (measured). So ten are asked at
    once, and an answer of 404 or a missing row is believed only of `item`, which is asked for each of those.
    """
    found: dict[int, Mapping[str, Any]] = {}
    for some in chunks(sorted(set(ids)), _ITEMS):
        page = None
        if len(some) > 1:
            page = await read(reader, domain, f"/{entity}/items", ids=",".join(map(str, some)))
        for row in page or ():
            if row.get("id") in some:
                found[row["id"]] = row
        for missing in [each for each in some if each not in found]:
            for row in await read(reader, domain, f"/{entity}/item", id=missing) or ():
                if row.get("id") == missing:
                    found[missing] = row
    return found


_ITEMS = 10


def day_of(value: Any) -> date | None:
    """A day as the partner tells it: `{"year", "month", "day"}`, or a time as text; None when it is neither."""
    try:
        if isinstance(value, Mapping):
            return date(value["year"], value["month"], value["day"])
        return date.fromisoformat(str(value)[:10])
    except (KeyError, TypeError, ValueError):
        return None


def simple(body: Any, items: Sequence[Item]) -> Sequence[Result]:
    """What a SimpleResponse says of all items alike: `ok`, or nothing that can be understood."""
    said = isinstance(body, Mapping) and body.get("ok") is True
    return [Done() if said else Unknown("neither ok nor an error")] * len(items)


def adopted(**value: Any) -> Done:
    """It is there already, and it is ours."""
    return Done({**value, "adopted": True})
