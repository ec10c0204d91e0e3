"""addEntitlementSubscription (LIVE): one entitlement for one user; refused until the agreement is signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from schemas.chicago import day_in_chicago
from worker.partner.bulk_reads import dependents, readable
from worker.partner.operation import (
    Batching,
    Entity,
    Item,
    Limits,
    Operation,
    Reader,
    Recovery,
    Resend,
    Response,
    plain,
)
from worker.partner.operations._shared import Rank, alike, day_of, each, user
from worker.partner.single_reads import is_id
from worker.replies import Domain
from worker.results import NotExecuted, Rejected, Result, Succeeded, Unknown

NOT_YET = "live account is required"
"""What HTTP 200 says while the agreement is not signed (vendor, create and manage users and accounts)."""


def _request(items: Sequence[Item]) -> Mapping[str, Any]:
    return plain(items[0])  # always with userId: without it the administrator would get it


def _results(body: Mapping[str, Any], items: Sequence[Item]) -> Sequence[Result]:
    # The vendor calls entitlementSubscription optional. Without it, the look-up finds out.
    plugin, item = body["entitlementSubscription"], items[0]
    same = alike(plugin, userId=item["userId"], entitlementId=item["entitlementId"])
    return [Succeeded() if same else Unknown("an entitlement that is not the one asked for")] * len(items)


def _needs(item: Item) -> Sequence[Entity]:
    return (*user(item), Entity(Domain.LIVE, "entitlement", item["entitlementId"], "entitlement"))


def in_force(row: Mapping[str, Any], today: date) -> bool:
    """Whether the user holds it. What `approval` means alone is not published: new rows may say false as well."""
    ends = day_of(row.get("expirationDate"))
    cancelled = row.get("approval") is False and row.get("autorenewal") is False
    return not cancelled and (ends is None or ends > today)


def held_of(rows: Sequence[Mapping[str, Any]], today: date) -> set[int | None]:
    """The entitlements that a user holds; None among them: one that does not say which it is, for the vendor calls
    `entitlementId` of a plugin optional.
    """
    held = [row.get("entitlementId") for row in rows if in_force(row, today)]
    return {each if is_id(each) else None for each in held}


async def _look_up(reader: Reader, items: Sequence[Item]) -> Sequence[Result]:
    """By the user's plugins, in bulk for several users."""
    found = await dependents(reader, Domain.LIVE, "userPlugin", {item["userId"] for item in items})
    today = day_in_chicago(reader.now())

    async def one(item: Item) -> Result:
        held = held_of(readable(found[item["userId"]]), today)
        if item["entitlementId"] in held:
            return Succeeded()
        return NotExecuted() if None not in held else Unknown("an entitlement of the user that says not which it is")

    return await each(items, one)


def _meant(text: str) -> Rejected:
    """One that the user has is rejected as a conflict; that the agreement is not signed leaves nothing to look up."""
    return Rejected(text, verify=NOT_YET not in text.lower())


ADD_ENTITLEMENT = Operation(
    name="addEntitlementSubscription",
    domain=Domain.LIVE,
    path="/userPlugin/addentitlementsubscription",
    request=_request,
    response=Response({"entitlementSubscription": dict}, _results),
    batching=Batching(joined=True),
    recovery=Recovery(
        resend=Resend.AFTER_LOOK_UP,  # a second one is not known to be refused
        needs=_needs,
        look_up=_look_up,
        rejection=_meant,
    ),
    limits=Limits(rank=Rank.ENTITLEMENT, maintenance=False),
)

ADD_ENTITLEMENT_AGAIN = replace(
    ADD_ENTITLEMENT,
    name="addEntitlementSubscription@again",
    limits=Limits(rank=Rank.POLL, maintenance=False, share=0.2),
)
"""The same for users who had not signed when it was tried before: after all other work, and never more than a fifth of
the budget, however many have not signed."""
