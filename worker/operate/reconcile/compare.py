"""The ledger's view of a trader and Tradovate's, side by side: the differences. Pure.

What is in progress is not a difference: an event that is not finished hides what it may change. What could not be read
is not one either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from schemas.chicago import day_in_chicago
from schemas.permission_status import PERMISSION_ENDED, PERMISSION_USABLE
from worker.engine.flows.days import renewal_after
from worker.ledger.differences import Difference, Kind
from worker.ledger.reconcile_view import LedgerTrader
from worker.operate.reconcile.fixes import departs, fails, signs
from worker.operate.reconcile.standing import Ended, Grant, TraderStanding
from worker.partner.operations.cancellations import ENDED
from worker.partner.operations.entitlements import held_of
from worker.partner.read_errors import ReadFault, Unreadable

Row = Mapping[str, Any]

PERMISSION, PLUGIN = "tradingPermission", "userPlugin"
SUBSCRIPTIONS = ("tradovateSubscription", "marketDataSubscription")
RENEWS = (PLUGIN, *SUBSCRIPTIONS)
"""What is billed month after month until it is cancelled (vendor, revoke and cancel)."""


@dataclass(frozen=True, slots=True)
class CompareRules:
    """`now`: the database's time. `days`: in which a trader should sign. `entitlement_id`: that of the settings."""

    now: datetime
    days: int
    entitlement_id: int | None

    @property
    def today(self) -> date:
        """The day in Chicago, by which the partner's dates are meant."""
        return day_in_chicago(self.now)


@dataclass(slots=True)
class Tradovate:
    """What Tradovate has of one trader, as far as it was read.

    `rows`: by entity; what is not in it was not read. `gone`: the user, or accounts, that do not exist; `archived`:
    accounts that exist and are closed. `live`: trading permissions on LIVE.
    """

    rows: dict[str, Sequence[Row]] = field(default_factory=dict)
    live: Sequence[Row] = ()
    user_gone: bool = False
    gone: set[int] = field(default_factory=set)
    archived: set[int] = field(default_factory=set)

    @property
    def permissions(self) -> Sequence[Row]:
        """Trading permissions on DEMO, of every status."""
        return self.rows.get(PERMISSION, ())

    def on(self, account_id: int) -> Sequence[Row]:
        """Of these, the ones on an account."""
        return [row for row in self.permissions if row.get("accountId") == account_id]


def usable(rows: Sequence[Row]) -> bool:
    """Whether one of these trading permissions lets its trader in."""
    return any(row.get("status") in PERMISSION_USABLE for row in rows)


def alive(row: Row) -> bool:
    """Whether a trading permission may let its trader in: also by a status that nobody has published."""
    return row.get("status") not in PERMISSION_ENDED and row.get("status") != "Requested"


def may_be_billed(standing: TraderStanding, seen: Tradovate) -> bool:
    """Whether it matters what the trader's user is billed for: nobody needs it, as far as it can be seen on DEMO.

    A trading permission that should be revoked (`permission_alive`) is no need: when it is, nobody would look again.
    """
    under_way = standing.busy & {"trader.purchased", "trader.left", "trader.passed", "account.assigned"}
    lost = {row["id"] for row, _ in _taken(standing, seen.permissions)}
    needed = any(not _over(row) and row["id"] not in lost for row in seen.permissions)
    return not (under_way or standing.graduate or needed)


def renewing(seen: Tradovate, entity: str, today: date) -> bool:
    """Whether one of the user's rows of `entity` will be billed again. Raises `Unreadable`."""
    return any(not ENDED[entity](row, today) for row in seen.rows.get(entity, ()))


def compare(
    trader: LedgerTrader, standing: TraderStanding, seen: Tradovate, rules: CompareRules
) -> Sequence[Difference]:
    """All differences of one trader. Raises `Unreadable` for rows that make no sense."""
    if seen.user_gone:
        return [*_user_gone(trader, standing)]
    return [
        *_permissions(trader, standing, seen),
        *_signature(trader, standing, seen, rules),
        *_billed(trader, standing, seen, rules),
    ]


def _over(row: Row) -> bool:
    return row.get("status") in PERMISSION_ENDED


def _user_gone(trader: LedgerTrader, standing: TraderStanding) -> Iterator[Difference]:
    under_way = standing.busy & {"trader.purchased", "trader.failed", "trader.left", "account.assigned"}
    if standing.active and not under_way:
        count = len(standing.active)
        text = (
            f"User {trader.user_id} of trader {trader.trader_id} is not there at Tradovate;"
            f" the ledger has {count} active account{'s' if count > 1 else ''} of this trader."
        )
        yield Difference(Kind.USER_MISSING, text, trader.trader_id, trader.user_id)


def _permissions(trader: LedgerTrader, standing: TraderStanding, seen: Tradovate) -> Iterator[Difference]:
    if standing.busy & {"trader.failed", "trader.left", "account.assigned"}:
        return
    for grant in standing.active:
        yield from _missing(trader, grant, seen)
    for row, grant in _taken(standing, filter(alive, seen.permissions)):
        yield _alive(trader, standing, grant, row)


def _taken(standing: TraderStanding, permissions: Iterable[Row]) -> Iterator[tuple[Row, Grant]]:
    """Those of these trading permissions that were taken from their trader, each with its account and why."""
    own = {each.account_id for each in standing.active}
    taken = {each.account_id: each for each in standing.grants if each.ended is not None}
    for row in permissions:
        account_id, revoked = row["accountId"], standing.revoked.get(row["id"])
        if account_id in own | standing.unclear:
            continue
        if account_id in taken:
            yield row, taken[account_id]
        elif revoked is not None:
            yield row, Grant(account_id, None, row["id"], None, revoked, bought=False, ended=Ended.FAILED)
        elif standing.departed is not None:
            yield row, Grant(account_id, None, row["id"], None, standing.departed, bought=False, ended=Ended.LEFT)


def _alive(trader: LedgerTrader, standing: TraderStanding, grant: Grant, row: Row) -> Difference:
    why = {
        Ended.FAILED: "failed",
        Ended.LEFT: "left",
        Ended.NOT_BOUGHT: "got no account, for the purchase ended as failed",
    }[grant.ended or Ended.FAILED]
    # Everything of a trader who left is cancelled; one who came back, or failed, loses this account alone.
    leaves = grant.ended is Ended.LEFT and not standing.active and not standing.graduate
    text = (
        f"Trader {trader.trader_id} {why}{_bought(grant)}, and trading permission {row['id']} on account"
        f" {grant.account_id} is {_status(row)} at Tradovate."
    )
    fix = departs(standing, trader) if leaves else fails(standing, trader, grant.account_id, row["id"])
    return _about(Kind.PERMISSION_ALIVE, text, trader, grant)._replace(permission_id=row["id"], fix=fix)


def _missing(trader: LedgerTrader, grant: Grant, seen: Tradovate) -> Iterator[Difference]:
    of_whom = f"of trader {trader.trader_id}{_bought(grant)}"
    if grant.account_id in seen.gone | seen.archived:
        state = "is not there" if grant.account_id in seen.gone else "is archived"
        text = f"Account {grant.account_id} {of_whom} is active in the ledger and {state} at Tradovate."
        yield _about(Kind.ACCOUNT_MISSING, text, trader, grant)
        return
    rows = seen.on(grant.account_id)
    if any(map(alive, rows)):
        return
    if rows:
        last = max(rows, key=lambda row: row["id"])
        text = (
            f"Trading permission {last['id']} {of_whom} on account {grant.account_id} is active in the ledger and"
            f" {_status(last)} at Tradovate."
        )
    else:
        text = (
            f"Account {grant.account_id} {of_whom} is active in the ledger and has no trading permission at Tradovate."
        )
    yield _about(Kind.PERMISSION_MISSING, text, trader, grant)


def _signature(
    trader: LedgerTrader, standing: TraderStanding, seen: Tradovate, rules: CompareRules
) -> Iterator[Difference]:
    trades = [each for each in standing.active if usable(seen.on(each.account_id))]
    if not trades or PLUGIN not in seen.rows or standing.busy & {"md.signed", "trader.left"}:
        return
    held = held_of(seen.rows[PLUGIN], rules.today)
    missing = standing.signed - held
    if missing and None in held:
        raise Unreadable(ReadFault.NO_ENTITLEMENT, str(trader.user_id))
    for entitlement in sorted(missing):
        text = (
            f"Trader {trader.trader_id} has signed the Market Data Agreement, and user {trader.user_id} has no"
            f" entitlement {entitlement} at Tradovate."
        )
        fix = signs(standing, trader, entitlement)
        yield Difference(
            Kind.ENTITLEMENT_MISSING, text, trader.trader_id, trader.user_id, entitlement_id=entitlement, fix=fix
        )
    bought = min((each for each in trades if each.bought), key=lambda each: each.asked, default=None)
    # Who has the entitlement has signed, before this ledger was there.
    has = bool(held) if rules.entitlement_id is None else rules.entitlement_id in held
    if bought is None or standing.has_signed or has or rules.now - bought.asked <= timedelta(days=rules.days):
        return
    text = (
        f"Trader {trader.trader_id} bought account {bought.account_id}{_bought(bought)} on"
        f" {day_in_chicago(bought.asked)} and has not signed the Market Data Agreement."
    )
    yield _about(Kind.UNSIGNED, text, trader, bought)


def _billed(
    trader: LedgerTrader, standing: TraderStanding, seen: Tradovate, rules: CompareRules
) -> Iterator[Difference]:
    if not may_be_billed(standing, seen) or not all(map(_over, seen.live)):
        return
    renews = [entity for entity in RENEWS if renewing(seen, entity, rules.today)]
    if renews:
        before = renewal_after(rules.now)
        text = (
            f"User {trader.user_id} of trader {trader.trader_id} has no account left to trade on, and a subscription"
            f" that renews ({', '.join(renews)}): cancel it before {str(before.time())[:5]} on {before.date()}"
            " (America/Chicago)."
        )
        fix = departs(standing, trader)
        yield Difference(Kind.BILLED_FOR_NOTHING, text, trader.trader_id, trader.user_id, cancel_before=before, fix=fix)


def _about(kind: Kind, text: str, trader: LedgerTrader, grant: Grant) -> Difference:
    return Difference(
        kind,
        text,
        trader.trader_id,
        trader.user_id,
        grant.order_id,
        grant.account_id,
        grant.account_name,
        grant.permission_id,
    )


def _bought(grant: Grant) -> str:
    return "" if grant.order_id is None else f" (order {grant.order_id})"


def _status(row: Row) -> str:
    """The status, if it is one that Tradovate publishes: nothing else of theirs is printed."""
    status = row.get("status")
    return status if status in PERMISSION_USABLE | PERMISSION_ENDED | {"Requested"} else "of an unknown status"
