"""Reads that accept every form of "nothing found", and take nothing for it that does not say so.

An empty 404 may be the answer of a wrong host. It counts as "there is none" here, and `look_up.look` believes a
look-up only if the host has then answered a read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from worker.partner.operation import Reader
from worker.partner.read_errors import NotPermitted, ReadFault, Unreadable, no_answer
from worker.replies import Answer, Domain, Misdirected, Query, Refusal, Unclear

Row = Mapping[str, Any]


class No(Enum):
    """Why a bulk read has no rows."""

    NOT_THERE = "not there"  # 404 without a body: no such read, or nothing that was asked for
    REFUSED = "refused"  # it does not take the question in this form, or not from us


Page = Sequence[Row] | No


def is_id(value: Any) -> bool:
    """Whether `value` is what the partner uses as an id: a positive integer of 64 bits."""
    return type(value) is int and 0 < value < 2**63


def same_name(left: Any, right: str) -> bool:
    """Whether two login or account names are the same to the partner, which does not tell capitals apart in logins."""
    return isinstance(left, str) and folded(left) == folded(right)


def folded(name: str) -> str:
    """A name as it is compared."""
    return name.strip().casefold()


def rows(body: Any) -> list[Row]:
    """The entities in the answer to a read: a list, one object, or nothing. Raises `Unreadable` for anything else.

    An entity has an id, or says whose it is: `{"error": "invalid_token"}` must not be taken for somebody without
    permissions.
    """
    if body is None or body == "":
        return []
    found = body if isinstance(body, list) else [body]
    found = [row for row in found if row != {}]
    if not all(isinstance(row, Mapping) and (is_id(row.get("id")) or is_id(row.get("userId"))) for row in found):
        raise Unreadable(ReadFault.NO_ENTITIES)
    return found


async def find(reader: Reader, domain: Domain, entity: str, name: str) -> Row | None:
    """`/<entity>/find?name=`: the object, or None under every form of "nothing found": 404, null, {}, [], nothing.

    Raises `Unreadable` when the answer says neither.
    """
    found = await one(reader, domain, f"/{entity}/find", name=name)
    named = [row for row in found if same_name(row.get("name"), name) and is_id(row.get("id"))]
    if found and not named:
        raise Unreadable(ReadFault.OTHER_NAME, f"{entity}/find")
    return named[0] if named else None


async def one(reader: Reader, domain: Domain, path: str, **query: Query) -> list[Row]:
    """The rows of a read that is known to exist; none for an empty 404. Raises `Unreadable` for anything else."""
    match await reader.get(domain, path, **query):
        case Answer(body=body):
            return rows(body)
        case Misdirected(status=404):
            return []
        case reply:
            raise no_answer(path, reply)


async def item(reader: Reader, domain: Domain, entity: str, entity_id: int) -> Row | None:
    """`/<entity>/item?id=`; None when it is not there. Raises `Unreadable` when the answer says neither."""
    found = await one(reader, domain, f"/{entity}/item", id=entity_id)
    if found and found[0].get("id") != entity_id:
        raise Unreadable(ReadFault.OTHER_ID, f"{entity}/item")
    return found[0] if found else None


async def page(reader: Reader, domain: Domain, path: str, **query: Query) -> Page:
    """A bulk read, which may not exist, or not take several values in this form.

    Raises `Unreadable` for what says nothing: a server that fails is not asked a hundred times in another way.
    """
    try:
        reply = await reader.get(domain, path, **query)
    except NotPermitted:
        return No.REFUSED  # one id among many may be another firm's
    match reply:
        case Answer(body=body):
            return rows(body)
        case Misdirected(status=404):
            return No.NOT_THERE
        case Refusal() | Misdirected(status=405):
            return No.REFUSED
        case Unclear(status=status) if status is not None and 400 <= status < 500 and status != 408:
            return No.REFUSED
        case reply:
            raise no_answer(path, reply)
