"""What a trader should have at Tradovate, as the ledger says. Pure.

Several events may be about the same account: a purchase and `account.assigned` give it, `trader.failed` and
`trader.left` take it. The last one that was asked for counts. An account may be taken that the ledger knows of no event
that gave it: a user may have accounts that nobody has imported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from worker.ledger.reconcile_view import FlowSeen, LedgerTrader, OrderSeen

FAILED, LEFT, SIGNED, ASSIGNED = "trader.failed", "trader.left", "md.signed", "account.assigned"

PURCHASE = "purchased"
"""Orders of this kind have an id of the shop's; `purchased/import` stands for an account that has none."""

SUBACCOUNT = "passed"
"""Orders of this kind are funded accounts on LIVE, which `reconcile` does not compare."""

_STANDS = frozenset({"rejected", "gave_up", "in_doubt"})
"""With these codes a `trader.failed` has ended without revoking, and the trader has failed nevertheless. What ended as
`conflict` was another's; what was `cancelled` was withdrawn by an operator."""


class Ended(StrEnum):
    """Why a trader must not trade on an account any more."""

    FAILED = "failed"
    LEFT = "left"
    NOT_BOUGHT = "not bought"  # the purchase itself ended as failed


@dataclass(frozen=True, slots=True)
class Grant:
    """An account that a trader got. `ended`: why it is not the trader's any more, and None while it is."""

    account_id: int
    account_name: str | None
    permission_id: int | None
    order_id: str | None  # None: it was assigned, or imported without an order
    asked: datetime  # what gave it; of an account that nothing is known to have given, what took it
    bought: bool = True
    ended: Ended | None = None


@dataclass(frozen=True, slots=True)
class TraderStanding:
    """What the ledger says of one trader. `signed`: entitlements that signatures brought, or should have brought.
    `busy`: topics of events that are not finished; what they change is in progress. `graduate`: has, or may have, a
    funded account on LIVE. `revoked`: trading permissions that were revoked and not given again, and when it was asked
    for. `departed`: when the trader left who has not come back. `unclear`: accounts that may be the trader's, or are
    another's.
    """

    grants: Sequence[Grant]
    revoked: Mapping[int, datetime]
    departed: datetime | None
    unclear: frozenset[int]
    signed: frozenset[int]
    has_signed: bool
    busy: frozenset[str]
    graduate: bool
    event_ids: frozenset[str]

    @property
    def active(self) -> Sequence[Grant]:
        """The accounts on which the trader may trade."""
        return [each for each in self.grants if each.ended is None]


def standing(trader: LedgerTrader) -> TraderStanding:
    """What follows from all that the ledger has of a trader."""
    since = max((each.since for each in trader.departures if each.begun_at is not None), default=None)
    signatures = [each for each in trader.flows if _is_signature(each, since)]
    remembered = trader.signed_at is not None and (since is None or trader.signed_at > since)
    signed = {each.entitlement_id for each in signatures} | ({trader.entitlement_id} if remembered else set())
    unclear = frozenset(_unclear(trader))
    grants = tuple(_grants(trader))
    beside = unclear | {each.account_id for each in grants}
    return TraderStanding(
        (*grants, *_failed_beside(trader, beside)),
        _revoked(trader),
        None if _came_back(trader, since) else since,
        unclear,
        frozenset(each for each in signed if each is not None),
        bool(signatures) or remembered,
        frozenset(each.topic for each in trader.flows if each.state == "open"),
        any(_is_graduation(order, since) for order in trader.orders),
        frozenset(each.event_id for each in trader.flows),
    )


def _is_signature(flow: FlowSeen, since: datetime | None) -> bool:
    """One that came before the trader left has brought nothing that would have to be there."""
    if flow.topic != SIGNED or flow.error_code == "cancelled" or (since is not None and flow.asked_at <= since):
        return False
    return flow.state != "open"


def _is_subaccount(order: OrderSeen) -> bool:
    return order.kind.partition("/")[0] == SUBACCOUNT


def _is_graduation(order: OrderSeen, since: datetime | None) -> bool:
    return _is_subaccount(order) and order.state != "failed" and (since is None or order.asked_at > since)


def _grants(trader: LedgerTrader) -> Iterable[Grant]:
    assigned: dict[int, FlowSeen] = {}
    for flow in trader.flows:
        if flow.topic == ASSIGNED and flow.state == "succeeded" and flow.account_id is not None and _on_demo(flow):
            assigned[flow.account_id] = flow  # flows come in the order of their time
    for order in trader.orders:
        if _is_subaccount(order) or order.account_id is None:
            continue
        given = assigned.pop(order.account_id, None)
        if order.state in ("succeeded", "failed"):
            yield _bought(trader, order, given)
    for account_id, flow in assigned.items():
        taken = _taken(trader, account_id, flow.permission_id, None, flow.asked_at)
        yield Grant(account_id, None, flow.permission_id, None, flow.asked_at, bought=False, ended=taken)


def _failed_beside(trader: LedgerTrader, others: Collection[int]) -> Iterable[Grant]:
    """Accounts that a `trader.failed` names, and no event that gave them."""
    taken: dict[int, Grant] = {}
    for flow in trader.flows:
        account_id = flow.account_id
        if account_id is not None and account_id not in others and _revokes(flow, account_id, None, None):
            taken[account_id] = Grant(account_id, None, None, None, flow.asked_at, bought=False, ended=Ended.FAILED)
    return taken.values()


def _revoked(trader: LedgerTrader) -> Mapping[int, datetime]:
    revoked: dict[int, datetime] = {}
    for flow in trader.flows:  # in the order of their time
        if flow.topic == FAILED and flow.state != "open":
            revoked |= dict.fromkeys(flow.permission_ids, flow.asked_at)
        elif flow.topic == ASSIGNED and flow.permission_id is not None and _on_demo(flow):
            revoked.pop(flow.permission_id, None)
    return revoked


def _came_back(trader: LedgerTrader, since: datetime | None) -> bool:
    """Whether something was given after the departure of then, or may have been."""
    begun = max((each.begun_at for each in trader.departures if each.begun_at is not None), default=None)
    if since is None or begun is None:
        return False
    given = any(flow.topic == ASSIGNED and flow.state != "failed" and flow.asked_at > begun for flow in trader.flows)
    return given or any(order.state != "failed" and order.asked_at > since for order in trader.orders)


def _unclear(trader: LedgerTrader) -> Iterable[int]:
    """Accounts of other traders, and of events that have not ended, or that may have given what nothing has taken."""
    yield from trader.anothers
    for order in trader.orders:
        if _is_subaccount(order) or order.account_id is None or order.state not in ("open", "in_doubt"):
            continue
        taken = _taken(trader, order.account_id, order.permission_id, order.order_id, None, order.asked_at)
        if order.state == "open" or taken is None:
            yield order.account_id
    for flow in trader.flows:
        if flow.topic != ASSIGNED or flow.state != "in_doubt" or flow.account_id is None or not _on_demo(flow):
            continue
        if _taken(trader, flow.account_id, flow.permission_id, None, flow.asked_at) is None:
            yield flow.account_id


def _bought(trader: LedgerTrader, order: OrderSeen, given: FlowSeen | None) -> Grant:
    """What an order brought; `given`: the account was assigned to the trader besides."""
    assert order.account_id is not None
    permission, ended = order.permission_id, Ended.NOT_BOUGHT if order.state == "failed" else None
    if order.ended_at is not None and order.ended_at >= order.asked_at:
        ended = Ended.FAILED
    after = order.ended_at or order.asked_at
    if given is not None and given.asked_at > after:
        permission = given.permission_id or permission
        ended = _taken(trader, order.account_id, order.permission_id, order.order_id, given.asked_at)
    else:
        ended = _taken(trader, order.account_id, order.permission_id, order.order_id, None, order.asked_at) or ended
    named = order.order_id if order.kind == PURCHASE else None
    return Grant(order.account_id, order.account_name, permission, named, order.asked_at, ended=ended)


def _taken(
    trader: LedgerTrader,
    account_id: int,
    permission_id: int | None,
    order_id: str | None,
    assigned: datetime | None,
    bought: datetime | None = None,
) -> Ended | None:
    """Why an account was taken from its trader; None if it was not.

    What was assigned is taken by what came later. What was bought is taken by any `trader.failed` that names it, for
    that may have overtaken its purchase; and by a departure, unless the trader came back with this purchase.
    """
    last: tuple[datetime, Ended] | None = None
    for flow in trader.flows:
        if (assigned is None or flow.asked_at >= assigned) and _revokes(flow, account_id, permission_id, order_id):
            last = max(last or (flow.asked_at, Ended.FAILED), (flow.asked_at, Ended.FAILED))
    for departure in trader.departures:
        # What was assigned before a departure was executed is not given any more (engine/flows/departing.py).
        begun, since = departure.begun_at, departure.since
        if begun is not None and (assigned <= begun if assigned is not None else bought is None or bought <= since):
            last = max(last or (since, Ended.LEFT), (since, Ended.LEFT))
    return None if last is None else last[1]


def _revokes(flow: FlowSeen, account_id: int, permission_id: int | None, order_id: str | None) -> bool:
    """Whether a `trader.failed` has taken the account from its trader, or should have."""
    if flow.topic != FAILED or flow.state == "open":
        return False
    if permission_id is not None and permission_id in flow.permission_ids:
        return True
    if flow.state == "failed" and flow.error_code not in _STANDS:
        return False
    return flow.account_id == account_id or (order_id is not None and flow.order_id == order_id)


def _on_demo(flow: FlowSeen) -> bool:
    return flow.domain in (None, "DEMO")
