"""resetDemoAccountState (DEMO): accounts that go back to the same trading day share a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker.partner.operation import Batching, Item, Limits, Operation, Recovery, Resend, Response
from worker.partner.operations._shared import MOST, OK, Rank, account, simple
from worker.replies import Domain


def _request(items: Sequence[Item]) -> Mapping[str, Any]:
    return {
        "accountIds": list(dict.fromkeys(item["accountId"] for item in items)),
        "resetTradeDate": items[0]["resetTradeDate"],
    }


RESET = Operation(
    name="resetDemoAccountState",
    domain=Domain.DEMO,
    path="/account/resetdemoaccountstate",
    request=_request,
    response=Response(OK, simple),
    batching=Batching(
        most=MOST,  # the vendor states no limit
        lingers=True,
    ),
    recovery=Recovery(
        # No read shows whether a reset was carried out. But it brings back the state at the open of one named day,
        # which is the same however often and however late it is done; what the trader did in between is lost anyway.
        resend=Resend.ALWAYS,
        needs=account,
    ),
    limits=Limits(rank=Rank.RESET, maintenance=True),
)
