"""updateContactInfo (LIVE): one user a call, last writer wins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from worker.replies import Absent, Domain, Done, Finding, Result, Unknown
from worker.tradovate.operation import Item, Operation, Reader, Resend, plain
from worker.tradovate.operations._shared import Rank, chunks, read

_MOST_MASTERS = 100

_COMPARED = ("firstName", "lastName", "streetAddress1", "city", "country", "phone")
"""The fields that the entity must have (vendor schema): equal in these, it is the one that we sent."""


def _request(items: Sequence[Item]) -> Mapping[str, Any]:
    return plain(items[0])


def _results(body: Any, _items: Sequence[Item]) -> Sequence[Result]:
    # contactInfo is optional in the answer; errorText and violations are refusals of the whole call.
    return [Done()] if isinstance(body, Mapping) else [Unknown("not an object")]


async def _look_up(reader: Reader, items: Sequence[Item]) -> Sequence[Finding]:
    """Whether the user's contact data are what was sent; in bulk (`ldeps`) for several users."""
    users = sorted({item["userId"] for item in items})
    found: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for some in chunks(users, _MOST_MASTERS):
        page = (
            await read(reader, Domain.LIVE, "/contactInfo/ldeps", masterids=",".join(map(str, some)))
            if len(some) > 1
            else None
        )
        if page is None:
            page = [
                row
                for user in some
                for row in await read(reader, Domain.LIVE, "/contactInfo/deps", masterid=user) or ()
            ]
        for row in page:
            found[row.get("userId", 0)].append(row)
    return [Done() if any(_same(row, item) for row in found[item["userId"]]) else Absent() for item in items]


def _same(row: Mapping[str, Any], item: Item) -> bool:
    return all(row.get(name) == item.get(name) for name in _COMPARED)


UPDATE_CONTACT = Operation(
    name="updateContactInfo",
    domain=Domain.LIVE,
    path="/contactInfo/updatecontactinfo",
    rank=Rank.CONTACT,
    most=1,
    resend=Resend.AFTER_LOOK_UP,  # harmless to repeat, but a look-up in bulk costs less than a hundred repeats
    maintenance=False,
    lingers=False,
    request=_request,
    results=_results,
    look_up=_look_up,
    retry_for=900.0,  # 15 min: the account is there; the shop must not wait a day for an address
)
