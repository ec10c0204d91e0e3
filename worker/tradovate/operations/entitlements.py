"""addEntitlementSubscription (LIVE): one entitlement for one user; refused until the agreement is signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from worker.replies import Absent, Domain, Done, Finding, Result, Unknown
from worker.tradovate.operation import Item, Operation, Reader, Resend, plain
from worker.tradovate.operations._shared import Rank, day_of, dependents

NOT_YET = "live account is required"
"""What HTTP 200 says while the agreement is not signed (vendor, create and manage users and accounts)."""


def _request(items: Sequence[Item]) -> Mapping[str, Any]:
    return plain(items[0])  # always with userId: without it the administrator would get it


def _results(body: Any, items: Sequence[Item]) -> Sequence[Result]:
    # entitlementSubscription is optional in the answer; errorText and errorCode are refusals of the whole call.
    return [Done() if isinstance(body, Mapping) and body else Unknown("not an answer")] * len(items)


async def _look_up(reader: Reader, items: Sequence[Item]) -> Sequence[Finding]:
    """By the user's plugins, in bulk for several users."""
    found = await dependents(reader, Domain.LIVE, "userPlugin", {item["userId"] for item in items})
    today = reader.now().date()

    def has(item: Item) -> bool:
        for row in found.get(item["userId"], ()):
            ends = day_of(row.get("expirationDate"))
            if (
                row.get("entitlementId") == item["entitlementId"]
                and row.get("approval") is not False
                and (ends is None or ends > today)
            ):
                return True
        return False

    return [Done() if has(item) else Absent() for item in items]


def _already(_text: str, code: str | None) -> Done | None:
    return Done() if code == "ConflictWithExisting" else None


ADD_ENTITLEMENT = Operation(
    name="addEntitlementSubscription",
    domain=Domain.LIVE,
    path="/userPlugin/addentitlementsubscription",
    rank=Rank.ENTITLEMENT,
    most=1,
    resend=Resend.AFTER_LOOK_UP,  # a second one is not known to be refused
    maintenance=False,
    lingers=False,
    request=_request,
    results=_results,
    look_up=_look_up,
    doubt_refusals=True,
    certain=lambda text: NOT_YET in text.lower(),
    already=_already,
    joined=True,
)

ADD_ENTITLEMENT_AGAIN = replace(ADD_ENTITLEMENT, name="addEntitlementSubscription@again", rank=Rank.POLL, share=0.2)
"""The same for users who had not signed when it was tried before: after all other work, and never more than a fifth of
the budget, however many have not signed."""
