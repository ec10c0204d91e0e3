"""resetDemoAccountState (DEMO): accounts that go back to the same trading day share a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker.partner.operation import Item, Operation, Resend
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
    rank=Rank.RESET,
    most=MOST,  # the vendor states no limit
    # Nothing tells whether a reset was carried out. But it brings back the state at the open of one named day, which
    # is the same however often and however late it is brought back; what the trader did in between was to go anyway.
    resend=Resend.ALWAYS,
    maintenance=True,
    lingers=True,
    request=_request,
    promises=OK,
    results=simple,
    needs=account,
)
