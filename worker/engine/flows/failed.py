"""`trader.failed`: a trader broke a rule; every permission that is meant is revoked, before all other work.

What the ledger knows to be the trader's is revoked at once, without a look-up. What it does not know is looked up:
permissions by their ids, accounts by theirs, an unknown order by the account name that is derived from it. What belongs
to another trader stays untouched. What is not there is reported. Neither keeps the rest from being revoked.

A purchase in progress is waited for until its account has its permission, and no longer: while it waits for contact
data, its trader could trade.
"""

from __future__ import annotations

from dataclasses import replace

from schemas.events import TraderFailed
from worker.engine.facts import Facts, Trouble, changed
from worker.engine.flows.base import Item, Names, Planned, Rules, Send, View, Wait, WithoutOrder, of_type, order_key
from worker.engine.flows.common import RECHECK
from worker.engine.flows.failed_facts import (
    AwaitingOrder,
    AwaitingPurchase,
    FailedFacts,
    LookingUp,
    Reading,
    Revoking,
    Situation,
)
from worker.engine.flows.failed_scope import Scope
from worker.engine.flows.purchased import KIND
from worker.results import NotExecuted, Rejected, Result, Succeeded, Unknown

REVOKE = "revokeTradingPermissions"
FIND = "revokeTradingPermissions@find"


class Revocation(WithoutOrder):
    """The flow of `trader.failed`: revokes the trader's trading permissions."""

    topic = "trader.failed"
    facts = FailedFacts

    def names(self, event: TraderFailed) -> Names:
        """The trader, and all that is to be revoked."""
        return Names(
            trader_id=event.trader_id,
            order_id=event.order_id,
            account_id=event.account_id,
            permission_ids=event.trading_permission_ids or (),
        )

    def plan(self, view: View, rules: Rules) -> Planned:
        """Revokes what is known, looks up what is not, waits for an order under way, and ends."""
        scope = Scope(view, of_type(view.facts, FailedFacts).new_round(), of_type(view.event, TraderFailed))
        scope = replace(scope, facts=scope.with_account())
        situation = scope.next(rules)
        if situation is not None:
            return Planned(_decision(situation, view), changed(scope.facts, situation=situation))
        facts = scope.revoked()
        ids = facts.trading_permission_ids
        return Planned(scope.end(), changed(facts, trading_permission_id=ids[0] if len(ids) == 1 else None))

    def learn(self, view: View, _operation: str, result: Result) -> Planned | Facts:
        """What is revoked, what was found, what was refused."""
        facts = of_type(view.facts, FailedFacts)
        match facts.situation, result:
            case LookingUp() as looking, Succeeded(value=value):
                # The ledger may know whose that is: the flow is planned when that is loaded and locked.
                return Planned(Wait((), view.now), facts.with_found(looking, value["found"], value["accounts"]))
            case LookingUp(), Rejected() | NotExecuted() | Unknown() as failure:
                return facts.with_failed_look_up(Trouble(failure.code, failure.text))
            case Revoking(permission_ids=ids), Succeeded():
                return facts.with_revoked(ids)
            case Revoking() as revoking, Rejected() | NotExecuted() | Unknown() as failure:
                divide = isinstance(failure, NotExecuted) and failure.divide
                return facts.with_failure(revoking, Trouble(failure.code, failure.text), divide=divide)
            case _:
                raise ValueError("a result of a step that the flow has not asked for")

    def item(self, view: View, _operation: str, _rules: Rules) -> Item:
        """The permissions to revoke; or what to look up."""
        match of_type(view.facts, FailedFacts).situation:
            case LookingUp(account_ids=accounts, permission_ids=ids, name=name):
                return {"_accounts": accounts, "_name": name, "_ids": ids}
            case Revoking(permission_ids=ids, others_wait=others_wait):
                return {"tradingPermissionIds": list(ids), "_others": others_wait}
            case _:
                raise ValueError("the flow asks for nothing")


def _decision(situation: Situation, view: View) -> Send | Wait:
    match situation:
        case Revoking(permission_ids=ids):
            return Send(REVOKE, weight=len(ids))
        case LookingUp():
            return Send(FIND, look_first=True)
        case Reading():
            return Wait((), view.now)
        case AwaitingPurchase(order_ids=order_ids):
            return Wait([order_key(KIND, each) for each in order_ids], view.now + RECHECK)
        case AwaitingOrder(order_id=order_id, until=until):
            return Wait((order_key(KIND, order_id),), until)
