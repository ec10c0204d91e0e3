"""What a departure means for other flows: from its execution on, its trader is given nothing more. Pure.

While a departure waits for the end of the trading day, its trader trades, and everything goes on. From the moment it is
executed, nothing that was asked for before is sent: its flow ends as `cancelled`. The trader's next purchase is the
exception: it was published after the departure, its trader comes back, and it waits for the departure's end.

The flows ask `stopped` when they plan. The ledger asks `verdict` again when it claims a step that gives something,
because a departure may have begun since the step was planned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum

from schemas.outcomes import ErrorCode
from worker.engine.flows.base import DepartureView, End, View, Wait, departure_key, failed
from worker.engine.flows.common import RECHECK

GIVES: Mapping[str, str] = {
    "createEvaluationUsers": "LIVE",
    "createEvaluationAccounts": "DEMO",
    "createTradingPermission": "DEMO",
    "createTradingPermission@live": "LIVE",
    "requestTradingPermission": "DEMO",
    "addEntitlementSubscription": "LIVE",
    "addEntitlementSubscription@again": "LIVE",
    "checkDuplicate": "LIVE",
    "createPartnerSubaccountRequest": "LIVE",
}
"""The operations that give a trader something (or ask whether it may be given), and the domain on which it appears."""

COMES_BACK = "trader.purchased"
"""The topic whose events wait for the end of a departure that came before them. What is given otherwise (an
entitlement, a permission) is no sign that a trader comes back."""

TEXT = "The trader left (trader.left) before this was done, so it was not done."


class DepartureVerdict(Enum):
    """What a departure means for a step that gives something."""

    GO = "go"
    WAIT = "wait"  # for the departure's end
    STOP = "stop"


def verdict(departure: DepartureView, asked: datetime, *, comes_back: bool) -> DepartureVerdict:
    """What `departure` means for what was asked for at `asked`. `comes_back`: it is a purchase."""
    if comes_back and asked > departure.since:
        return DepartureVerdict.GO if departure.ended else DepartureVerdict.WAIT
    if departure.begun is None:
        return DepartureVerdict.GO
    return DepartureVerdict.GO if departure.ended and asked > departure.begun else DepartureVerdict.STOP


def strictest(departures: Iterable[DepartureView], asked: datetime, *, comes_back: bool) -> DepartureVerdict:
    """The verdict of several departures."""
    found = {verdict(each, asked, comes_back=comes_back) for each in departures}
    return next((each for each in (DepartureVerdict.STOP, DepartureVerdict.WAIT) if each in found), DepartureVerdict.GO)


def stopped(view: View, *, comes_back: bool = False) -> Wait | End | None:
    """Why the flow may give nothing to its trader now; None if it may."""
    if not view.departures:
        return None
    match strictest(view.departures, view.asked, comes_back=comes_back):
        case DepartureVerdict.STOP:
            return failed(ErrorCode.CANCELLED, TEXT)
        case DepartureVerdict.WAIT:
            keys = [departure_key(each.flow_id) for each in view.departures if not each.ended]
            return Wait(keys, view.now + RECHECK)
        case _:
            return None
