"""updateContactInfo (LIVE): one user a call, last writer wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker.partner.bulk_reads import dependents, readable
from worker.partner.operation import Item, Limits, Operation, Reader, Recovery, Resend, Response, plain
from worker.partner.operations._shared import Rank, alike, each, user
from worker.replies import Domain
from worker.results import NotExecuted, Result, Succeeded, Unknown


def _request(items: Sequence[Item]) -> Mapping[str, Any]:
    return plain(items[0])


def _results(body: Mapping[str, Any], items: Sequence[Item]) -> Sequence[Result]:
    # The vendor calls contactInfo optional. Without it, the look-up finds out.
    # Its values are not compared: Tradovate may write a phone number or a state in another form than it was sent.
    proven = alike(body["contactInfo"], userId=items[0]["userId"])
    return [Succeeded() if proven else Unknown("contact data that are not this user's")]


def _same(row: Mapping[str, Any], item: Item) -> bool:
    """Whether `row` has all that was sent, but for spaces, signs and capitals: a phone number may come back in another
    form. What comes back in yet another one, or not at all, is not proven: it is sent again, which is harmless.
    """
    return all(_letters(row.get(name)) == _letters(value) for name, value in plain(item).items())


def _letters(value: Any) -> str:
    return "".join(each for each in str(value or "").casefold() if each.isalnum())


async def _look_up(reader: Reader, items: Sequence[Item]) -> Sequence[Result]:
    """Whether the user's contact data are what was sent; in bulk (`ldeps`) for several users."""
    found = await dependents(reader, Domain.LIVE, "contactInfo", {item["userId"] for item in items})

    async def one(item: Item) -> Result:
        own = readable(found[item["userId"]])
        return Succeeded() if any(_same(row, item) for row in own) else NotExecuted()

    return await each(items, one)


UPDATE_CONTACT = Operation(
    name="updateContactInfo",
    domain=Domain.LIVE,
    path="/contactInfo/updatecontactinfo",
    request=_request,
    response=Response({"contactInfo": dict}, _results),
    recovery=Recovery(
        resend=Resend.AFTER_LOOK_UP,  # harmless to repeat, but a look-up in bulk costs less than a hundred repeats
        needs=user,
        look_up=_look_up,
        retry_for=900.0,  # 15 min: the account is there; the shop must not wait a day for an address
    ),
    limits=Limits(rank=Rank.CONTACT, maintenance=False),
)
