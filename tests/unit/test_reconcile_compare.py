"""The ledger's view of a trader beside Tradovate's: which differences follow. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from worker.ledger.differences import Difference, Kind
from worker.ledger.reconcile_view import DepartureSeen, FlowSeen, LedgerTrader, OrderSeen
from worker.operate.reconcile.compare import CompareRules, Tradovate, compare
from worker.operate.reconcile.standing import standing
from worker.partner.read_errors import Unreadable

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
USER, ACCOUNT, PERMISSION, T_PROP = 5, 10, 100, 31
NEXT_MONTH = {"year": 2026, "month": 12, "day": 20}
RENEWS = {"id": 1, "userId": USER, "cancelledRenewal": False, "expirationDate": NEXT_MONTH}
ENTITLED = {"id": 1, "userId": USER, "entitlementId": T_PROP, "autorenewal": True, "expirationDate": NEXT_MONTH}


def hours(number: float) -> datetime:
    """So many hours before now."""
    return NOW - timedelta(hours=number)


def order(at: float = 24, **changes: Any) -> OrderSeen:
    values = {
        "kind": "purchased", "order_id": "100", "flow_id": uuid.UUID(int=1), "state": "succeeded",
        "account_id": ACCOUNT, "account_name": "EVAL100", "permission_id": PERMISSION, "asked_at": hours(at),
        "ended_at": None,
    }  # fmt: skip
    return OrderSeen(**{**values, **changes})


def flow(topic: str, at: float = 2, **changes: Any) -> FlowSeen:
    values = {
        "id": uuid.UUID(int=int(10_000 - 10 * at)), "topic": topic, "event_id": f"e-{at}", "state": "succeeded",
        "error_code": None, "order_id": None, "account_id": None, "asked_at": hours(at), "permission_id": None,
        "permission_ids": (), "entitlement_id": None, "domain": None,
    }  # fmt: skip
    return FlowSeen(**{**values, **changes})


def left(at: float = 2, *, begun: bool = True, ended: bool = True) -> DepartureSeen:
    return DepartureSeen(uuid.UUID(int=3), hours(at), hours(at) if begun else None, ended)


def seen(
    *statuses: str, account: int = ACCOUNT, plugins: Sequence[Any] = (), subscriptions: Sequence[Any] = ()
) -> Tradovate:
    """What Tradovate has: a trading permission for each status."""
    permissions = [
        {"id": PERMISSION + number, "userId": USER, "accountId": account, "status": status}
        for number, status in enumerate(statuses)
    ]
    return Tradovate({"tradingPermission": permissions, "userPlugin": plugins, "tradovateSubscription": subscriptions})


def differences(
    tradovate: Tradovate,
    orders: Sequence[OrderSeen] = (),
    flows: Sequence[FlowSeen] = (),
    departures: Sequence[DepartureSeen] = (),
    **trader: Any,
) -> Sequence[Difference]:
    values = {"signed_at": None, "entitlement_id": None, **trader}
    row = LedgerTrader("cust", USER, orders=orders, flows=flows, departures=departures, **values)
    return compare(row, standing(row), tradovate, CompareRules(NOW, 7, T_PROP))


def kinds(*given: Any, **more: Any) -> list[Kind]:
    return [each.kind for each in differences(*given, **more)]


def test_an_entitlement_that_says_not_which_it_is_may_be_the_one() -> None:
    """It is not reported as missing, with an event that would buy it again: the trader could not be read."""
    unsaid = seen("Approved", plugins=[{**ENTITLED, "entitlementId": None}])
    with pytest.raises(Unreadable):
        differences(unsaid, [order()], [flow("md.signed", entitlement_id=T_PROP)])
    both = seen("Approved", plugins=[{**ENTITLED, "entitlementId": None}, ENTITLED])
    assert kinds(both, [order()], [flow("md.signed", entitlement_id=T_PROP)]) == []


@pytest.mark.parametrize(("status", "found"), [
    ("Accepted", []), ("Approved", []), ("Unheard", []), ("Requested", [Kind.PERMISSION_MISSING]),
    ("Revoked", [Kind.PERMISSION_MISSING]), ("Declined", [Kind.PERMISSION_MISSING]),
])  # fmt: skip
def test_an_active_account_needs_a_permission_that_lets_its_trader_in(status: str, found: list[Kind]) -> None:
    """Accepted and Approved do; a status that nobody has published proves nothing."""
    assert kinds(seen(status), [order()]) == found


@pytest.mark.parametrize(("status", "found"), [
    ("Accepted", [Kind.PERMISSION_ALIVE]), ("Approved", [Kind.PERMISSION_ALIVE]), ("Unheard", [Kind.PERMISSION_ALIVE]),
    ("Requested", []), ("Revoked", []), ("Declined", []),
])  # fmt: skip
@pytest.mark.parametrize("ended", [
    {"flows": [flow("trader.failed", permission_ids=[PERMISSION])]},
    {"flows": [flow("trader.failed", account_id=ACCOUNT)]},
    {"flows": [flow("trader.failed", at=30, order_id="100")]},  # it had overtaken its purchase
    {"flows": [flow("trader.failed", account_id=ACCOUNT, state="failed", error_code="gave_up")]},
    {"flows": [flow("trader.failed", account_id=ACCOUNT, state="in_doubt", error_code="in_doubt")]},
    {"flows": [flow("trader.left", state="in_doubt", error_code="in_doubt")], "departures": [left()]},
    {"flows": [flow("trader.failed", at=2, account_id=ACCOUNT),
               flow("account.assigned", at=3, account_id=ACCOUNT, state="in_doubt", error_code="in_doubt")]},
    {"flows": [flow("trader.failed", permission_ids=[PERMISSION], state="failed", error_code="not_found")]},
    {"departures": [left()]},
    {"orders": [order(ended_at=hours(1))]},
    {"orders": [order(state="failed")]},
])  # fmt: skip
def test_who_failed_or_left_needs_none(ended: dict[str, Any], status: str, found: list[Kind]) -> None:
    """However the account was lost, a permission that may let its trader in is reported, and its end is not."""
    assert kinds(seen(status), **{"orders": [order()], **ended}) == found


@pytest.mark.parametrize("kept", [
    {"flows": [flow("trader.failed", account_id=ACCOUNT, state="failed", error_code="cancelled")]},
    {"flows": [flow("trader.failed", account_id=ACCOUNT, state="failed", error_code="conflict")]},
    {"flows": [flow("trader.failed", account_id=11)]},
    {"flows": [
        flow("trader.failed", at=3, account_id=ACCOUNT), flow("account.assigned", at=2, account_id=ACCOUNT),
    ]},
    {"departures": [left(at=30)]},  # the trader came back
    {"departures": [left(begun=False, ended=False)]},
])  # fmt: skip
def test_what_took_nothing_leaves_the_account_active(kept: dict[str, Any]) -> None:
    """A withdrawn or foreign event, one about another account, and a departure before the purchase change nothing."""
    assert kinds(seen("Approved"), [order()], **kept) == []
    assert kinds(seen("Revoked"), [order()], **kept) == [Kind.PERMISSION_MISSING]


@pytest.mark.parametrize("ended", [
    {"departures": [left()]},
    {"departures": [left()], "orders": [order(account_id=11, permission_id=200)]},
    {"departures": [left()], "orders": [order(state="in_doubt")]},
    {"flows": [flow("trader.failed", account_id=ACCOUNT)]},
    {"flows": [flow("trader.failed", account_id=ACCOUNT, state="in_doubt", error_code="in_doubt")]},
    {"flows": [flow("trader.failed", permission_ids=[PERMISSION])], "orders": [order(account_id=11)]},
    {"flows": [flow("trader.failed", account_id=ACCOUNT)], "orders": [order(state="in_doubt")]},
])  # fmt: skip
def test_what_was_taken_needs_no_order(ended: dict[str, Any]) -> None:
    """A permission of a trader who left or failed is reported, whatever event gave it."""
    alive = [each for each in differences(seen("Approved"), **ended) if each.kind is Kind.PERMISSION_ALIVE]
    assert [(each.account_id, each.permission_id) for each in alive] == [(ACCOUNT, PERMISSION)]
    assert Kind.PERMISSION_ALIVE not in kinds(seen("Revoked"), **ended)


@pytest.mark.parametrize("ended", [{"departures": [left()]}, {"flows": [flow("trader.failed", account_id=ACCOUNT)]}])
def test_what_was_taken_needs_no_subscription(ended: dict[str, Any]) -> None:
    """Nobody would look again when the permission is revoked."""
    found = kinds(seen("Approved", subscriptions=[RENEWS]), **ended)
    assert found == [Kind.PERMISSION_ALIVE, Kind.BILLED_FOR_NOTHING]


@pytest.mark.parametrize("kept", [
    {},
    {"departures": [left()], "orders": [order(at=1, account_id=11, state="in_doubt")]},  # may have come back
    {"departures": [left()], "flows": [flow("account.assigned", at=1, account_id=11, state="in_doubt")]},
    {"departures": [left()], "flows": [flow("trader.left", state="open")]},
    {"departures": [left()], "anothers": frozenset({ACCOUNT})},
    {"flows": [flow("trader.failed", account_id=ACCOUNT)], "anothers": frozenset({ACCOUNT})},
    {"flows": [flow("trader.failed", account_id=ACCOUNT), flow("account.assigned", at=1, account_id=ACCOUNT,
                                                               state="in_doubt")]},
    {"flows": [flow("trader.failed", permission_ids=[PERMISSION]),
               flow("account.assigned", at=1, account_id=11, permission_id=PERMISSION)]},
])  # fmt: skip
def test_what_may_have_been_given_again_or_is_another_s_stays(kept: dict[str, Any]) -> None:
    """An event that revokes it would harm a trader who may trade."""
    assert Kind.PERMISSION_ALIVE not in kinds(seen("Approved"), **kept)


def test_a_signature_in_doubt_is_a_signature() -> None:
    """The trader is not asked to sign again; the entitlement that is not there is reported."""
    doubt = flow("md.signed", state="in_doubt", error_code="in_doubt", entitlement_id=T_PROP)
    assert kinds(seen("Accepted"), [order(at=900)], [doubt]) == [Kind.ENTITLEMENT_MISSING]


def test_one_who_came_back_loses_the_old_account_alone() -> None:
    """Everything of a trader who left is cancelled; of one who has bought again, one trading permission."""
    (gone,) = differences(seen("Accepted"), [order()], departures=[left()])
    assert gone.fix is not None
    assert gone.fix.topic == "trader.left"
    old, new = order(), order(at=1, order_id="101", account_id=11, permission_id=200)
    both = seen("Accepted")
    both.rows["tradingPermission"] = [*both.permissions, {"id": 200, "accountId": 11, "status": "Accepted"}]
    (alive,) = differences(both, [old, new], departures=[left()])
    assert alive.fix is not None
    assert (alive.fix.topic, alive.fix.body["tradingPermissionIds"]) == ("trader.failed", [PERMISSION])


def test_an_event_is_the_same_until_it_has_ended() -> None:
    """Run after run the same difference makes the same event, and the next one when that has not helped."""
    failed = flow("trader.failed", account_id=ACCOUNT)
    first, again = (differences(seen("Accepted"), [order()], [failed])[0].fix for _ in range(2))
    assert first is not None
    assert first == again
    done = flow(
        "trader.failed", at=1, account_id=ACCOUNT, event_id=first.event_id, state="failed", error_code="gave_up"
    )
    second = differences(seen("Accepted"), [order()], [failed, done])[0].fix
    assert second is not None
    assert second.event_id == first.event_id.removesuffix("-1") + "-2"


def test_a_signature_brings_an_entitlement() -> None:
    """What was signed for and is not there is reported, unless the trader may not trade, or has left since."""
    signed = flow("md.signed", entitlement_id=T_PROP)
    (missing,) = differences(seen("Accepted"), [order()], [signed])
    assert (missing.kind, missing.entitlement_id) == (Kind.ENTITLEMENT_MISSING, T_PROP)
    assert kinds(seen("Accepted", plugins=[ENTITLED]), [order()], [signed]) == []
    assert kinds(seen("Revoked"), [order()], [signed]) == [Kind.PERMISSION_MISSING]
    assert kinds(seen("Accepted"), [order(at=1)], [signed], [left(at=1.5)]) == []
    assert kinds(seen("Accepted"), [order()], signed_at=hours(3), entitlement_id=T_PROP) == [Kind.ENTITLEMENT_MISSING]


def test_who_has_not_signed_within_the_days_is_reported() -> None:
    """Not before, not without a purchase, and not if the entitlement shows that it was signed before this ledger."""
    old = order(at=7 * 24 + 1)
    assert kinds(seen("Accepted"), [old]) == [Kind.UNSIGNED]
    assert kinds(seen("Accepted"), [order(at=7 * 24 - 1)]) == []
    assert kinds(seen("Accepted", plugins=[ENTITLED]), [old]) == []
    assert kinds(seen("Accepted"), flows=[flow("account.assigned", at=900, account_id=ACCOUNT)]) == []


@pytest.mark.parametrize(("rows", "renews"), [
    ({"tradovateSubscription": [RENEWS]}, True),
    ({"tradovateSubscription": [{**RENEWS, "cancelledRenewal": True}]}, False),
    ({"tradovateSubscription": [{**RENEWS, "expirationDate": {"year": 2026, "month": 11, "day": 28}}]}, False),
    ({"userPlugin": [ENTITLED]}, True),
    ({"userPlugin": [{**ENTITLED, "autorenewal": False}]}, False),
    ({"marketDataSubscription": [{"id": 1, "year": 2026, "month": 11, "expired": False}]}, True),
    ({"marketDataSubscription": [{"id": 1, "year": 2026, "month": 10, "expired": False}]}, False),
    ({"marketDataSubscription": [{"id": 1, "year": 2026, "month": 11, "expired": True}]}, False),
])  # fmt: skip
def test_what_renews_and_nobody_needs_is_billed_for_nothing(rows: dict[str, Any], renews: bool) -> None:
    """Membership, entitlement and market data count, each by its own signs of an end; with the time to cancel it."""
    tradovate = seen("Revoked")
    tradovate.rows |= rows
    failed = [flow("trader.failed", account_id=ACCOUNT)]
    found = differences(tradovate, [order()], failed)
    assert [each.kind for each in found] == [Kind.BILLED_FOR_NOTHING] * renews
    for each in found:
        assert each.cancel_before == datetime(2026, 12, 1, 1, tzinfo=UTC)  # 19:00 of 30 November in Chicago
        assert "19:00 on 2026-11-30" in each.sentence


@pytest.mark.parametrize("needed", [
    {"orders": [order(), order(kind="passed/event", order_id="e-1", account_id=999)]},
    {"flows": [flow("trader.failed", at=3, account_id=ACCOUNT), flow("trader.purchased", state="open")]},
    {"flows": [flow("trader.failed", at=3, account_id=ACCOUNT), flow("trader.left", state="open")]},
])  # fmt: skip
def test_what_somebody_needs_is_not(needed: dict[str, Any]) -> None:
    """A graduate, a purchase that is being made, and a departure that waits for the day's end."""
    given = {"orders": [order()], "flows": [flow("trader.failed", account_id=ACCOUNT)], **needed}
    assert kinds(seen("Revoked", subscriptions=[RENEWS]), **given) == []


def test_a_permission_on_live_needs_its_subscription() -> None:
    """A trader who trades on LIVE alone is not billed for nothing; one with a permission of another account neither."""
    failed = [flow("trader.failed", account_id=ACCOUNT)]
    live = seen("Revoked", subscriptions=[RENEWS])
    live.live = [{"id": 7, "status": "Accepted"}]
    assert kinds(live, [order()], failed) == []
    assert kinds(seen("Accepted", account=77, subscriptions=[RENEWS]), [order()], failed) == []


def test_a_user_who_is_gone_is_one_difference() -> None:
    """Not one for each account, nor one for what a user who is not there cannot have; none if nothing is active."""
    gone = Tradovate({"tradingPermission": [], "userPlugin": []}, user_gone=True)
    orders = [order(), order(order_id="101", account_id=11)]
    assert kinds(gone, orders) == [Kind.USER_MISSING]
    assert kinds(gone, orders, departures=[left()]) == []
