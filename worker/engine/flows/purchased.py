"""`trader.purchased`: one user a trader, one account with its permission an order, contact data if it can be had.

The account comes before the contact data. The account is what was paid for, and shares its call with up to ninety-nine
others. Contact data takes a call of its own, and its failure does not fail the purchase.

An order that had failed is started again by the next event, or by an operator's retry. What was made before is adopted:
the account is looked up, by its id if the ledger knows it, before another one could be created.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import orjson

from schemas.events import NewUser, TraderPurchased, UserRef
from schemas.outcomes import ErrorCode
from worker.engine.facts import Facts, changed
from worker.engine.flows.base import (
    SUCCEEDED,
    Decision,
    End,
    Item,
    Names,
    Planned,
    Rules,
    Send,
    View,
    Wait,
    failed,
    of_type,
    trader_key,
)
from worker.engine.flows.common import RECHECK, ended_by, follow, permission_pair, permitted, plus, restricted
from worker.engine.flows.departing import stopped
from worker.engine.flows.names import account_name, strong_password
from worker.engine.flows.purchased_facts import Contact, FoundAccount, FoundUser, PurchasedFacts, PurchaseLeft, UserFrom
from worker.results import NotExecuted, Rejected, Result, Succeeded, Unknown

KIND = "purchased"

USERS = "createEvaluationUsers"
ACCOUNTS = "createEvaluationAccounts"
PERMISSION = "createTradingPermission"
CONTACT = "updateContactInfo"

OTHER_TERMS = "The account was created by an earlier event of this order, with other details; it was adopted as it is."


class Purchased:
    """The flow of `trader.purchased`: makes user and account, and sends contact data."""

    topic = "trader.purchased"
    facts = PurchasedFacts

    def names(self, event: TraderPurchased) -> Names:
        """The trader, the user if one is named, and the order."""
        user = event.user
        return Names(
            trader_id=event.trader_id,
            user_id=user.user_id if isinstance(user, UserRef) else None,
            user_name=user.name if isinstance(user, NewUser) else None,
            order_id=event.order_id,
            owns_order=True,
            order_kind=KIND,
            gives=True,
        )

    def details(self, event: TraderPurchased) -> bytes:
        """`traderId` and `account` or `product` as given; user and contact data do not count (README, "What happens
        when").
        """
        given: dict[str, Any] = {"traderId": event.trader_id}
        if event.product is not None:
            given["product"] = event.product
        elif event.account is not None:
            given["account"] = event.account.model_dump(mode="json", by_alias=True, exclude_none=True)
        return orjson.dumps(given, option=orjson.OPT_SORT_KEYS)

    def freeze(self, event: TraderPurchased, rules: Rules) -> TraderPurchased:
        """With the product's account and, for a new user, a password."""
        changes: dict[str, Any] = {}
        if event.account is None and event.product is not None:
            changes["account"] = rules.products[event.product]
        user = event.user
        if isinstance(user, NewUser) and user.password is None:
            changes["user"] = user.model_copy(update={"password": strong_password()})
        return event.model_copy(update=changes) if changes else event

    def plan(self, view: View, rules: Rules) -> Planned:
        """User, account, permission if the account came without one, contact data."""
        event = _event(view)
        order = view.order
        if order is not None and order.flow_id != view.flow_id:
            return follow(view, order)
        facts, contact = of_type(view.facts, PurchasedFacts).new_round(), event.contact_info
        if contact is not None and (end := restricted(contact.country, contact.mailing_country)) is not None:
            return Planned(end, facts)
        if facts.found_user is not None and facts.found_user.unread:
            return Planned(Wait((), view.now), changed(facts, found_user=replace(facts.found_user, unread=False)))
        if facts.user_id is None:
            found = _find_user(view, facts, rules)
            if isinstance(found, Send | Wait | End):
                return _give(view, facts, found)
            user_id, user_from = found
            facts = changed(facts, user_id=user_id, user_from=user_from, found_user=None)
        return _provide(view, facts)

    def learn(self, view: View, operation: str, result: Result) -> Planned | Facts:
        """Ids go into the facts; refused contact data is a warning; any other refusal ends the purchase."""
        facts = of_type(view.facts, PurchasedFacts)
        match operation, result:
            case "updateContactInfo", Succeeded():
                return changed(facts, contact=Contact.DONE)
            case "updateContactInfo", Rejected(text=text) | NotExecuted(text=text) | Unknown(text=text):
                return changed(facts, contact=Contact.REFUSED).warned(f"Contact data: {text}")
            case _, Rejected() | NotExecuted() | Unknown() as failure:
                known = operation == ACCOUNTS and not isinstance(failure, Unknown)
                return ended_by(failure, changed(facts, asked=()) if known else facts)
            case "createEvaluationUsers", Succeeded(value=value) if value.get("adopted"):
                # Whether the ledger knows the user as another trader's is seen when that is loaded.
                return changed(facts, found_user=FoundUser(value["userId"]))
            case "createEvaluationUsers", Succeeded(value=value):
                return changed(facts, user_id=value["userId"], user_from=UserFrom.MADE)
            case "createEvaluationAccounts", Succeeded(value=value) if value.get("adopted"):
                # Whether the ledger knows it as another order's is seen when that is loaded.
                found = FoundAccount(
                    value["accountId"],
                    value["accountName"],
                    value["tradingPermissionId"],
                    value.get("permissionStatus"),
                    unread=True,
                )
                return changed(facts, asked=(), adopting=found)
            case "createEvaluationAccounts", Succeeded(value=value):
                return changed(
                    facts,
                    asked=(),
                    account_id=value["accountId"],
                    account_name=value["accountName"],
                    trading_permission_id=value["tradingPermissionId"],
                    terms=_terms(_event(view)),
                )
            case _, Succeeded(value=value):
                return permitted(facts, value["tradingPermissionId"], value.get("permissionStatus"))

    def item(self, view: View, operation: str, rules: Rules) -> Item:
        """The partner's request item for one of the four operations."""
        event, facts = _event(view), of_type(view.facts, PurchasedFacts)
        match operation:
            case "createEvaluationUsers":
                user = event.user
                assert isinstance(user, NewUser)
                return {
                    "name": user.name,
                    "email": user.email,
                    "password": user.password,
                    "firstName": user.first_name,
                    "lastName": user.last_name,
                    "tradovateSubscriptionPlanId": rules.plan_id,
                }
            case "createEvaluationAccounts":
                account = event.account
                assert account is not None
                own = account_name(rules.account_prefix, event.order_id)
                name = account.name or own
                left = facts.left
                others = set() if left is None else {own, *left.asked} - {name}
                return {
                    "userId": facts.user_id,
                    "name": name,
                    **account.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"name"}),
                    "_derived": own,
                    "_left": None if left is None else left.account_id,
                    "_asked": sorted(others),
                }
            case "createTradingPermission":
                return {"accountId": facts.account_id, "userId": facts.user_id}
            case "updateContactInfo":
                contact = event.contact_info
                assert contact is not None
                user = event.user
                names = {"firstName": user.first_name, "lastName": user.last_name} if isinstance(user, NewUser) else {}
                return {
                    "userId": facts.user_id,
                    **names,
                    **contact.model_dump(mode="json", by_alias=True, exclude_none=True),
                }
            case _:
                raise ValueError(operation)


def _event(view: View) -> TraderPurchased:
    return of_type(view.event, TraderPurchased)


def _provide(view: View, facts: PurchasedFacts) -> Planned:
    """What the user gets: the account, its permission, contact data."""
    event = _event(view)
    if facts.adopting is not None:
        if facts.adopting.unread:
            return Planned(Wait((), view.now), changed(facts, adopting=replace(facts.adopting, unread=False)))
        adopted = _adopted(view, facts, facts.adopting)
        if isinstance(adopted, End):
            return Planned(adopted, facts)
        facts = adopted
    # Whether something like it is there already has to be looked up, unless this flow made all that it is made of.
    may_exist = facts.left is not None or facts.user_from is not UserFrom.MADE or facts.account_adopted
    if facts.account_id is None:
        # A name of the shop's own does not say whose account it is: it has to be seen that it was free before.
        given = event.account.name if event.account is not None else None
        if given is not None:
            left = facts.left or PurchaseLeft()
            facts = changed(facts, asked=plus(facts.asked, *left.asked, given))
        return _give(view, facts, Send(ACCOUNTS, look_first=may_exist or given is not None))
    if facts.trading_permission_id is None:
        assert facts.user_id is not None
        alike = permission_pair("DEMO", facts.account_id, facts.user_id)  # `account.assigned` may ask for the same
        return _give(view, facts, Send(PERMISSION, look_first=may_exist, alike=alike))
    if event.contact_info is not None and facts.contact is None:
        return Planned(Send(CONTACT), facts)
    return Planned(SUCCEEDED, facts)


def _give(view: View, facts: PurchasedFacts, decision: Decision) -> Planned:
    """The decision, if the trader may be given anything now."""
    if not isinstance(decision, Send):
        return Planned(decision, facts)
    return Planned(stopped(view, comes_back=True) or decision, facts)


def _adopted(view: View, facts: PurchasedFacts, found: FoundAccount) -> PurchasedFacts | End:
    """The facts with an account that was there already, unless the ledger knows it as another order's."""
    account, trader = found.account_id, _event(view).trader_id
    # What was imported without an order id is that trader's, and now it gets one.
    if any(order.account_id == account and (order.kind == KIND or order.trader_id != trader) for order in view.known):
        return failed(ErrorCode.CONFLICT, f"Account {account} is another order's.")
    left, terms = facts.left or PurchaseLeft(), _terms(_event(view))
    facts = changed(facts, adopting=None, account_id=account, account_name=found.account_name, account_adopted=True)
    if found.permission_id is not None:
        facts = permitted(facts, found.permission_id, found.permission_status)
    if left.account_id == account and left.terms is not None:
        facts = changed(facts, terms=left.terms)
        if left.terms != terms:
            facts = facts.warned(OTHER_TERMS)
    return facts


def _terms(event: TraderPurchased) -> str:
    """What tells the terms of two accounts apart: a digest of template, balance and risk limits."""
    assert event.account is not None
    given = event.account.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"name"})
    return hashlib.sha256(orjson.dumps(given, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _find_user(view: View, facts: PurchasedFacts, rules: Rules) -> tuple[int, UserFrom] | Decision:
    """The trader's user: known, found, named by the event, or to be made by this flow or by the one that is at it."""
    event = _event(view)
    trader, user = view.trader, event.user
    named = user.user_id if isinstance(user, UserRef) else None
    if trader.user_id is not None:
        if (named is not None and named != trader.user_id) or trader.other_name:
            return failed(ErrorCode.CONFLICT, f"Trader {event.trader_id} is known with another Tradovate user.")
        return trader.user_id, UserFrom.MADE if trader.made_here else UserFrom.KNOWN
    if trader.maker not in (None, view.flow_id):
        return Wait((trader_key(event.trader_id),), view.now + RECHECK)
    if (there := _there(view, facts, named)) is not None:
        return there
    if isinstance(user, NewUser):
        return Send(USERS, makes_user=True)
    until = view.since + rules.unknown_wait
    if view.now >= until:
        text = f"No Tradovate user is known for trader {event.trader_id}, and the event brings none."
        return failed(ErrorCode.NOT_FOUND, text)
    return Wait((trader_key(event.trader_id),), until)


def _there(view: View, facts: PurchasedFacts, named: int | None) -> tuple[int, UserFrom] | End | None:
    """A user who was found or is named by the event, unless the ledger knows that one as another trader's."""
    found, trader_id = facts.found_user, _event(view).trader_id
    user_id = named if found is None else found.user_id
    if user_id is None:
        return None
    if view.owners.get(user_id, trader_id) != trader_id:
        return failed(ErrorCode.CONFLICT, f"Tradovate user {user_id} is known as another trader's.")
    return user_id, UserFrom.GIVEN if found is None else UserFrom.ADOPTED
