"""Reads, and what their answers prove. What is not of the documented form proves neither a find nor an absence.

| read | documented (vendor) | "there is none" | any other answer of HTTP 200 |
|---|---|---|---|
| `item` | one object with that id | 404 | unreadable |
| `find` | one object with that name | not documented: 404, null, `{}`, `[]`, no body | unreadable |
| `deps`, `list` | a list of entities | `[]`; 404 where a user may be unknown | unreadable |
| `items`, `finds`, `ldeps` | a list of entities | `[]`, as `bulk_reads` believes it | read one by one |
| `getAccountTradingPermissions` | a list in `tradingPermissions` | `[]` in it | unreadable |

An empty list is what a read of many says that has found nothing. Every other form of "there is none" may be what a
wrong host, or a gateway, says to everything: `look_up.look` believes it only if the host has then answered a read in
its documented form (`entities`).
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
    ANOTHER_FORM = "answered in another form than a list of entities"


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


_ONE = ("/item", "/find")
"""Reads of one entity; all others are of many."""

ON_ACCOUNT = "/user/getaccounttradingpermissions"
"""A POST that reads all trading permissions on an account."""

_ACCOUNT_NAMED = tuple(f"/tradingpermission/{verb}" for verb in ("deps", "ldeps", "list"))
"""What a user may trade on: a row that does not name its account could be of any (the vendor requires it), and without
its id it cannot be reported."""

_NOTHING: Sequence[Any] = (None, {}, [])


def entities(path: str, body: Any) -> list[Row] | None:
    """The entities in an answer of the documented form; None for any other body, of which nothing is believed.

    An entity has an id, or says whose it is: `{"error": "invalid_token"}` must not be taken for somebody without
    permissions, and `[{}]` hides what it leaves out.
    """
    lowered = path.lower()
    found: Any = body
    if lowered.endswith(_ONE):
        found = [body]
    elif lowered == ON_ACCOUNT:
        found = body.get("tradingPermissions") if isinstance(body, Mapping) else None
    return found if isinstance(found, list) and all(_is_entity(row, lowered) for row in found) else None


def _is_entity(row: Any, path: str) -> bool:
    if not isinstance(row, Mapping) or not (is_id(row.get("id")) or is_id(row.get("userId"))):
        return False
    return path not in _ACCOUNT_NAMED or (is_id(row.get("id")) and is_id(row.get("accountId")))


async def find(reader: Reader, domain: Domain, entity: str, name: str) -> Row | None:
    """`/<entity>/find?name=`: the object, or None. Raises `Unreadable` when the answer says neither."""
    path = f"/{entity}/find"
    found = await _answer(reader, domain, path, nothing=_NOTHING, name=name)
    if not found:
        return None
    if not same_name(found[0].get("name"), name) or not is_id(found[0].get("id")):
        raise Unreadable(ReadFault.OTHER_NAME, path.strip("/"))
    return found[0]


async def one(reader: Reader, domain: Domain, path: str, **query: Query) -> list[Row]:
    """The rows of a read that is known to exist; none for an empty 404. Raises `Unreadable` for anything else."""
    return await _answer(reader, domain, path, nothing=(), **query)


async def item(reader: Reader, domain: Domain, entity: str, entity_id: int) -> Row | None:
    """`/<entity>/item?id=`; None when it is not there. Raises `Unreadable` when the answer says neither."""
    found = await one(reader, domain, f"/{entity}/item", id=entity_id)
    if found and found[0].get("id") != entity_id:
        raise Unreadable(ReadFault.OTHER_ID, f"{entity}/item")
    return found[0] if found else None


async def _answer(reader: Reader, domain: Domain, path: str, *, nothing: Sequence[Any], **query: Query) -> list[Row]:
    """`nothing`: the bodies that say "there is none", besides an empty 404."""
    match await reader.get(domain, path, **query):
        case Answer(body=body):
            found = [] if body in nothing else entities(path, body)
            if found is None:
                raise Unreadable(ReadFault.NO_ENTITIES, path.strip("/"))
            return found
        case Misdirected(status=404):
            return []
        case reply:
            raise no_answer(path, reply)


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
            found = entities(path, body)
            return No.ANOTHER_FORM if found is None else found
        case Misdirected(status=404):
            return No.NOT_THERE
        case Refusal() | Misdirected(status=405):
            return No.REFUSED
        case Unclear(status=status) if status is not None and 400 <= status < 500 and status != 408:
            return No.REFUSED
        case reply:
            raise no_answer(path, reply)
