"""`trader.failed`: a trader broke a rule; every permission that is meant is revoked, before all other work.

What the ledger knows to be the trader's goes at once, without a look. What it does not know is looked up: permissions
by their ids, accounts by theirs, an unknown order by the account name that follows from it. What is another trader's
stays untouched, what is not there is told, and neither keeps the rest from being revoked.

A purchase under way is waited for, until its account has its permission: one that only waits for contact data does
not keep its trader in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.events import TraderFailed
from schemas.outcomes import ErrorCode, Status
from schemas.tradovate import PERMISSION_ENDED
from worker.engine.flows.base import (
    SUCCEEDED,
    End,
    Facts,
    Failed,
    Item,
    Names,
    OrderView,
    Planned,
    Rules,
    Send,
    StepEnd,
    View,
    Wait,
    order_key,
)
from worker.engine.flows.common import RECHECK, new_round, plus
from worker.engine.flows.names import account_name
from worker.engine.flows.purchased import KIND

REVOKE = "revokeTradingPermissions"
FIND = "revokeTradingPermissions@find"

AT_ONCE = 50
"""Permission ids of one event in one call: half of it stays for other events."""

REVOKED = "tradingPermissionIds"
"""The fact, and the outcome's field: the permissions that are meant and are revoked now."""

_WORST = (ErrorCode.IN_DOUBT, ErrorCode.CONFLICT, ErrorCode.REJECTED, ErrorCode.GAVE_UP)
"""Which of several troubles names the outcome; `not_found` comes last."""


class Revocation:
    """A trader broke a rule."""

    topic = "trader.failed"

    def names(self, event: TraderFailed) -> Names:
        """The trader, and all that is to be revoked."""
        return Names(
            trader_id=event.trader_id,
            order_id=event.order_id,
            account_id=event.account_id,
            permission_ids=event.trading_permission_ids or (),
        )

    def details(self, _event: TraderFailed) -> bytes:
        """It asks for no order."""
        return b""

    def freeze(self, event: TraderFailed, _rules: Rules) -> TraderFailed:
        """As it is."""
        return event

    def plan(self, view: View, rules: Rules) -> Planned:
        """Revokes what is known, looks for what is not, waits for an order under way, and ends."""
        facts = new_round(view.facts, (REVOKED, "accountName"))
        if facts.get("unread"):
            # What the look has found may be known to the ledger: planned again with that loaded and locked.
            return Planned(Wait((), view.now), {name: facts[name] for name in facts if name != "unread"})
        event = _event(view)
        case = _Case(view, facts, event)
        if case.order is not None and not case.order_taken:
            told = {"accountName": case.order.facts.get("accountName")}
            if event.account_id is None:
                told["accountId"] = case.order.account_id
            facts = {**facts, **{name: value for name, value in told.items() if value is not None}}
            case = _Case(view, facts, event)
        todo = case.to_revoke()
        if todo:
            some, others = _next(todo, facts)
            return Planned(Send(REVOKE, weight=len(some)), {**facts, "revoking": some, "others": others})
        look = case.to_find(rules)
        if look is not None:
            return Planned(Send(FIND, look_first=True), {**facts, "looking": look})
        wait = case.wait(rules)
        return Planned(wait, facts) if wait is not None else Planned(case.end(), case.told())

    def learn(self, view: View, operation: str, end: StepEnd) -> Planned | Facts:
        """What is revoked, what was found, what was refused; a refusal of several is asked again one by one."""
        facts = dict(view.facts)
        if operation == FIND:
            return _found(facts, end)
        some: list[int] = facts.pop("revoking")
        facts.pop("others", None)
        if not isinstance(end, Failed):
            return plus(facts, REVOKED, *some)
        if len(some) > 1 and (end.divide or end.code in (ErrorCode.REJECTED, ErrorCode.NOT_FOUND)):
            return plus(facts, "alone", *some)
        if end.divide:
            return plus(facts, "last", *some)
        trouble = {str(each): [end.code.value, end.text] for each in some}
        return {**facts, "refused": {**facts.get("refused", {}), **trouble}}

    def item(self, view: View, operation: str, _rules: Rules) -> Item:
        """The permissions to revoke; or what to look for."""
        if operation == FIND:
            looking = view.facts["looking"]
            return {"_accounts": looking["accounts"], "_name": looking["name"], "_ids": looking["ids"]}
        return {"tradingPermissionIds": view.facts["revoking"], "_others": view.facts.get("others", False)}


def _next(todo: Sequence[int], facts: Facts) -> tuple[list[int], bool]:
    """What to revoke in the next call, and whether others wait that one which fails time and again must not keep.

    Together at first; one by one what failed together; at last what failed by itself too, one after the other.
    """
    alone, last = facts.get("alone", ()), facts.get("last", ())
    single = [each for each in todo if each in alone and each not in last]
    some = single[:1] or [each for each in todo if each not in alone][:AT_ONCE]
    return (some, len(todo) > len(some)) if some else ([todo[0]], False)


def _found(facts: dict[str, Any], end: StepEnd) -> Facts:
    looking = facts.pop("looking")
    if isinstance(end, Failed):
        return {**facts, "blind": [end.code.value, end.text]}
    rows = {row[0]: row for row in [*facts.get("found", ()), *end.value["found"]]}
    seen = {
        "permissions": sorted(rows),
        "users": sorted({row[1] for row in rows.values() if row[1] is not None}),
        "accounts": sorted({row[2] for row in rows.values() if row[2] is not None}),
    }
    facts = {**facts, "found": list(rows.values()), "seen": seen, "unread": True}
    facts = plus(facts, "accounts", *end.value["accounts"])
    named = [*(f"a:{each}" for each in looking["accounts"]), *(f"p:{each}" for each in looking["ids"])]
    if looking["name"] is not None:
        named.append("n")
        facts["named"] = [each for each in end.value["accounts"] if each not in looking["accounts"]]
    return plus(facts, "looked", *named)


@dataclass
class _Case:
    """What an event means, as the ledger and the looks up to now tell."""

    view: View
    facts: Facts
    event: TraderFailed

    @property
    def ids(self) -> Sequence[int]:
        return self.event.trading_permission_ids or ()

    @property
    def order(self) -> OrderView | None:
        wanted = self.event.order_id
        return next((each for each in self.view.known if wanted is not None and each.order_id == wanted), None)

    def theirs(self, order: OrderView) -> bool:
        return order.trader_id not in (None, self.event.trader_id)

    @property
    def order_taken(self) -> bool:
        return self.order is not None and self.theirs(self.order)

    def account_taken(self, account_id: int | None) -> bool:
        owners = [order for order in self.view.known if account_id is not None and order.account_id == account_id]
        return any(map(self.theirs, owners))

    def account_ours(self, account_id: int | None) -> bool:
        owners = [order for order in self.view.known if account_id is not None and order.account_id == account_id]
        return any(order.trader_id == self.event.trader_id for order in owners) and not self.account_taken(account_id)

    def taken(self, permission: int) -> bool:
        """Whether the ledger knows a permission as another trader's."""
        if any(order.permission_id == permission and self.theirs(order) for order in self.view.known):
            return True
        row = self.rows.get(permission)
        if row is None or self.account_ours(row[2]):
            return False
        owner = self.view.owners.get(row[1])
        return self.account_taken(row[2]) or owner not in (None, self.event.trader_id)

    @property
    def rows(self) -> Mapping[int, Sequence[Any]]:
        """Permission -> permission, user, account, status."""
        return {row[0]: row for row in self.facts.get("found", ())}

    def known_ids(self) -> Iterable[int]:
        """Permissions that the ledger knows to be the trader's: those of the orders that the event names."""
        for order in self.view.known:
            named = (
                order.order_id == self.event.order_id
                or (order.account_id is not None and order.account_id == self.event.account_id)
                or order.permission_id in self.ids
            )
            if named and order.permission_id is not None and order.trader_id == self.event.trader_id:
                yield order.permission_id

    def to_revoke(self) -> list[int]:
        found = [each for each, row in self.rows.items() if row[3] not in PERMISSION_ENDED]
        past = {*self.facts.get(REVOKED, ()), *map(int, self.facts.get("refused", {}))}
        wanted = dict.fromkeys([*self.known_ids(), *found])
        return [each for each in wanted if each not in past and not self.taken(each)]

    def order_account(self) -> int | None:
        """The order's account, once it may be revoked."""
        order = self.order
        if order is None or self.order_taken or not self._made(order):
            return None
        return order.account_id

    def _made(self, order: OrderView) -> bool:
        """Whether a purchase is or has nothing left to make that lets the trader in."""
        return order.state != "open" or (order.account_id is not None and order.permission_id is not None)

    def to_find(self, rules: Rules) -> dict[str, Any] | None:
        """What to look for now."""
        if "blind" in self.facts:
            return None
        looked = self.facts.get("looked", ())
        accounts = [self.event.account_id, self.order_account()]
        wanted = [
            each
            for each in dict.fromkeys(accounts)
            if each is not None and f"a:{each}" not in looked and not self._waits(each) and not self.account_taken(each)
        ]
        revoked = self.facts.get(REVOKED, ())
        ids = [each for each in self.ids if f"p:{each}" not in looked and each not in revoked and not self.taken(each)]
        ids = [each for each in ids if str(each) not in self.facts.get("refused", {})]
        name = None
        if self.event.order_id is not None and self._nameless() and "n" not in looked:
            name = account_name(rules.account_prefix, self.event.order_id)
        if not wanted and not ids and name is None:
            return None
        return {"accounts": wanted, "ids": ids, "name": name}

    def _nameless(self) -> bool:
        """Whether the ledger knows no account of the order, and will not by itself."""
        order = self.order
        return order is None or (not self.order_taken and order.state != "open" and order.account_id is None)

    def _waits(self, account_id: int) -> bool:
        """Whether an account is still being made."""
        return any(order.account_id == account_id and not self._made(order) for order in self.view.known)

    def wait(self, rules: Rules) -> Wait | None:
        """What to wait for: purchases under way, then an order that is not yet seen."""
        making = [order for order in self.view.known if not self.theirs(order) and not self._made(order)]
        if making:
            return Wait([order_key(KIND, order.order_id) for order in making], self.view.now + RECHECK)
        until = self.view.since + rules.unknown_wait
        unseen = self.event.order_id if self.order is None and not self.facts.get("named") else None
        if unseen is not None and self.view.now < until:
            return Wait((order_key(KIND, unseen),), until)
        return None

    def told(self) -> Facts:
        """The facts as the outcome tells them: what was revoked before is revoked now too."""
        before = [each for each, row in self.rows.items() if row[3] == "Revoked" and not self.taken(each)]
        facts = plus(self.facts, REVOKED, *before)
        revoked = facts[REVOKED]
        return {**facts, "tradingPermissionId": revoked[0]} if len(revoked) == 1 else facts

    def end(self) -> End:
        """Success, or the worst trouble with all of them in one sentence."""
        troubles = [(ErrorCode(code), f"Permission {each}: {text}") for each, (code, text) in self._refused()]
        if "blind" in self.facts:
            troubles.append((ErrorCode(self.facts["blind"][0]), self.facts["blind"][1]))
        troubles += [(ErrorCode.CONFLICT, text) for text in self._conflicts()]
        missing = [(ErrorCode.NOT_FOUND, text) for text in self._missing()]
        if not troubles and not missing:
            return SUCCEEDED
        code = next((worst for worst in _WORST if any(worst is each for each, _ in troubles)), ErrorCode.NOT_FOUND)
        text = " ".join(text for _, text in [*troubles, *missing])
        return End(Status.IN_DOUBT if code is ErrorCode.IN_DOUBT else Status.FAILED, code, text)

    def _refused(self) -> Iterable[tuple[str, Sequence[str]]]:
        yield from self.facts.get("refused", {}).items()

    def _conflicts(self) -> Iterable[str]:
        if self.order_taken:
            yield f"Order {self.event.order_id} is another trader's and untouched."
        if self.account_taken(self.event.account_id):
            yield f"Account {self.event.account_id} is another trader's and untouched."
        for each in sorted({*self.ids, *self.rows}):
            row = self.rows.get(each)
            by_account = row is not None and row[2] == self.event.account_id
            if self.taken(each) and not (by_account and self.account_taken(self.event.account_id)):
                yield f"Permission {each} is another trader's and untouched."

    def _missing(self) -> Iterable[str]:
        looked, revoked = self.facts.get("looked", ()), self.facts.get(REVOKED, ())
        for each in self.ids:
            if f"p:{each}" in looked and each not in self.rows and each not in revoked:
                yield f"Permission {each} was not found."
        account = self.event.account_id
        if account is not None and f"a:{account}" in looked and account not in self.facts.get("accounts", ()):
            yield f"Account {account} was not found."
        if self.event.order_id is not None and self._nameless() and not self.facts.get("named"):
            yield f"Order {self.event.order_id} is not known, and Tradovate has no account of its name."


def _event(view: View) -> TraderFailed:
    assert isinstance(view.event, TraderFailed)
    return view.event
