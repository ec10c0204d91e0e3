"""What a `trader.failed` means, by what the ledger knows and what was looked up: whose each thing is, what comes next,
and how it ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.events import TraderFailed
from schemas.outcomes import ErrorCode, Status
from schemas.permission_status import PERMISSION_ENDED
from worker.engine.facts import changed
from worker.engine.flows.base import SUCCEEDED, End, OrderView, Rules, View
from worker.engine.flows.failed_facts import (
    AwaitingOrder,
    AwaitingPurchase,
    FailedFacts,
    LookingUp,
    Revoking,
    Situation,
    State,
)
from worker.engine.flows.names import account_name

AT_ONCE = 50
"""Permission ids of one event in one call: half of it stays for other events."""

_WORST = (ErrorCode.IN_DOUBT, ErrorCode.CONFLICT, ErrorCode.REJECTED, ErrorCode.GAVE_UP)
"""Which of several troubles names the outcome; `not_found` comes last."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What the event means, as the ledger and the look-ups up to now say."""

    view: View
    facts: FailedFacts
    event: TraderFailed

    @property
    def ids(self) -> Sequence[int]:
        """The permissions that the event names, and that may be on DEMO."""
        return [each for each in self.event.trading_permission_ids or () if each not in self.on_live]

    @property
    def on_live(self) -> frozenset[int]:
        """Those that the event names and this worker has made on LIVE. Only permissions on DEMO are revoked. A
        permission of the same number on DEMO is another trader's, unless an order of this trader has it, or it is on an
        account that the event means.
        """
        own = {each.permission_id for each in self.view.known if not self._anothers(each)} | self.facts.found.keys()
        return self.view.on_live.intersection(self.event.trading_permission_ids or ()) - own

    # Whose it is

    @property
    def order(self) -> OrderView | None:
        """The order that the event names, if the ledger knows it."""
        wanted = self.event.order_id
        return next((each for each in self.view.known if wanted is not None and each.order_id == wanted), None)

    def _anothers(self, order: OrderView) -> bool:
        return order.trader_id not in (None, self.event.trader_id)

    @property
    def order_is_anothers(self) -> bool:
        """Whether the order is another trader's."""
        return self.order is not None and self._anothers(self.order)

    def _orders_of(self, account_id: int | None) -> Sequence[OrderView]:
        return [order for order in self.view.known if account_id is not None and order.account_id == account_id]

    def _account_is_anothers(self, account_id: int | None) -> bool:
        return any(map(self._anothers, self._orders_of(account_id)))

    def _account_is_the_traders(self, account_id: int | None) -> bool:
        orders = self._orders_of(account_id)
        return any(each.trader_id == self.event.trader_id for each in orders) and not any(map(self._anothers, orders))

    def permission_is_anothers(self, permission: int) -> bool:
        """Whether the ledger knows a permission as another trader's."""
        if any(order.permission_id == permission and self._anothers(order) for order in self.view.known):
            return True
        row = self.facts.found.get(permission)
        if row is None or self._account_is_the_traders(row.account_id):
            return False
        owner = self.view.owners.get(row.user_id) if row.user_id is not None else None
        return self._account_is_anothers(row.account_id) or owner not in (None, self.event.trader_id)

    # What comes next

    def next(self, rules: Rules) -> Situation | None:
        """The flow's next situation; None when it ends."""
        return self._revoking() or self._looking_up(rules) or self._awaiting_purchase() or self._awaiting_order(rules)

    def _revoking(self) -> Revoking | None:
        """Together at first; one by one what failed together; at last what failed by itself too, one after another."""
        facts, todo = self.facts, self._to_revoke()
        if not todo:
            return None
        singly = [each for each in todo if each in facts.failed_together and each not in facts.failed_singly]
        if singly:
            return Revoking(State.REVOKING_SINGLY, (singly[0],), len(todo) > 1)
        together = [each for each in todo if each not in facts.failed_together][:AT_ONCE]
        if together:
            return Revoking(State.REVOKING, tuple(together), len(todo) > len(together))
        return Revoking(State.REVOKING_LAST, (todo[0],))

    def _to_revoke(self) -> list[int]:
        facts = self.facts
        found = [each for each, row in facts.found.items() if row.status not in PERMISSION_ENDED]
        past = {*facts.trading_permission_ids, *facts.refused}
        wanted = dict.fromkeys([*self._known_ids(), *found])
        return [each for each in wanted if each not in past and not self.permission_is_anothers(each)]

    def _known_ids(self) -> Iterable[int]:
        """Permissions that the ledger knows to be the trader's: those of the orders that the event names."""
        for order in self.view.known:
            named = (
                order.order_id == self.event.order_id
                or (order.account_id is not None and order.account_id == self.event.account_id)
                or order.permission_id in self.ids
            )
            if named and order.permission_id is not None and order.trader_id == self.event.trader_id:
                yield order.permission_id

    def _looking_up(self, rules: Rules) -> LookingUp | None:
        facts, done = self.facts, self.facts.looked_up
        if done.failure is not None:
            return None
        past = {*done.permission_ids, *facts.trading_permission_ids, *facts.refused}
        name = None
        if self.event.order_id is not None and self._has_no_account() and not done.name:
            name = account_name(rules.account_prefix, self.event.order_id)
        looking = LookingUp(
            State.LOOKING_UP,
            tuple(
                each
                for each in dict.fromkeys([self.event.account_id, self._account_of_the_order()])
                if each is not None and each not in done.account_ids
                if not self._is_being_made(each) and not self._account_is_anothers(each)
            ),
            tuple(each for each in self.ids if each not in past and not self.permission_is_anothers(each)),
            name,
        )
        return looking or None

    def _account_of_the_order(self) -> int | None:
        """The order's account, once it may be revoked."""
        order = self.order
        return None if order is None or self.order_is_anothers or not _is_made(order) else order.account_id

    def _has_no_account(self) -> bool:
        """Whether the ledger knows no account of the order, and will not by itself."""
        order = self.order
        return order is None or (not self.order_is_anothers and order.state != "open" and order.account_id is None)

    def _is_being_made(self, account_id: int) -> bool:
        return any(order.account_id == account_id and not _is_made(order) for order in self.view.known)

    def _awaiting_purchase(self) -> AwaitingPurchase | None:
        making = [order for order in self.view.known if not self._anothers(order) and not _is_made(order)]
        return AwaitingPurchase(State.AWAITING_PURCHASE, tuple(order.order_id for order in making)) if making else None

    def _awaiting_order(self, rules: Rules) -> AwaitingOrder | None:
        until, order_id = self.view.since + rules.unknown_wait, self.event.order_id
        unseen = self.order is None and not self.facts.looked_up.named
        if order_id is None or not unseen or self.view.now >= until:
            return None
        return AwaitingOrder(State.AWAITING_ORDER, order_id, until)

    # How it ends

    def with_account(self) -> FailedFacts:
        """The facts with the account of the order, which the outcome names."""
        order = self.order
        if order is None or self.order_is_anothers:
            return self.facts
        name = order.facts.account_name or self.facts.account_name
        own = order.account_id if self.event.account_id is None and order.account_id is not None else None
        return changed(self.facts, account_name=name, account_id=self.facts.account_id if own is None else own)

    def revoked(self) -> FailedFacts:
        """The facts with what was revoked before this event, and is revoked now too."""
        rows = self.facts.found.items()
        return self.facts.with_revoked(
            each for each, row in rows if row.status == "Revoked" and not self.permission_is_anothers(each)
        )

    def end(self) -> End:
        """Success, or the worst trouble with all of them in one sentence."""
        facts, failure = self.facts, self.facts.looked_up.failure
        troubles = [(trouble.code, f"Permission {each}: {trouble.text}") for each, trouble in facts.refused.items()]
        if failure is not None:
            troubles.append((failure.code, failure.text))
        troubles += [(ErrorCode.CONFLICT, text) for text in self._conflicts()]
        troubles += [(ErrorCode.NOT_FOUND, text) for text in self._missing()]
        if not troubles:
            return SUCCEEDED
        codes = {code for code, _ in troubles}
        code = next((worst for worst in _WORST if worst in codes), ErrorCode.NOT_FOUND)
        text = " ".join(text for _, text in troubles)
        return End(Status.IN_DOUBT if code is ErrorCode.IN_DOUBT else Status.FAILED, code, text)

    def _conflicts(self) -> Iterable[str]:
        account = self.event.account_id
        if self.order_is_anothers:
            yield f"Order {self.event.order_id} is another trader's and untouched."
        if self._account_is_anothers(account):
            yield f"Account {account} is another trader's and untouched."
        for each in sorted({*self.ids, *self.facts.found}):
            row = self.facts.found.get(each)
            said_by_account = row is not None and row.account_id == account and self._account_is_anothers(account)
            if self.permission_is_anothers(each) and not said_by_account:
                yield f"Permission {each} is another trader's and untouched."

    def _missing(self) -> Iterable[str]:
        facts, looked_up = self.facts, self.facts.looked_up
        for each in sorted(self.on_live):
            yield f"Permission {each} is on LIVE, where none is revoked; trader.left cancels it."
        for each in self.ids:
            if (
                each in looked_up.permission_ids
                and each not in facts.found
                and each not in facts.trading_permission_ids
            ):
                yield f"Permission {each} was not found."
        account = self.event.account_id
        if account is not None and account in looked_up.account_ids and account not in looked_up.accounts:
            yield f"Account {account} was not found."
        if self.event.order_id is not None and self._has_no_account() and not looked_up.named:
            yield f"Order {self.event.order_id} is not known, and Tradovate has no account of its name."


def _is_made(order: OrderView) -> bool:
    """Whether a purchase has nothing left to make that lets the trader trade."""
    return order.state != "open" or (order.account_id is not None and order.permission_id is not None)
