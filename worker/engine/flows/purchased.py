"""`trader.purchased`: one user a trader, one account with its permission an order, contact data if it can be had.

The account goes before the contact data: it is what was paid for, it shares calls with ninety-nine others, and
contact data takes a call of its own and never spoils the purchase.

An order that had failed is started again by the next event, or by an operator's retry. What was made before is adopted:
the account is looked up, by its id if the ledger knows it, before another one could be created.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from schemas.events import NewUser, TraderPurchased, UserRef
from schemas.outcomes import ErrorCode
from worker.engine.flows.base import (
    ADOPTING,
    ENDED,
    LEFT,
    SUCCEEDED,
    Decision,
    End,
    Facts,
    Item,
    Names,
    Planned,
    Rules,
    Send,
    View,
    Wait,
    failed,
    trader_key,
    warned,
)
from worker.engine.flows.common import RECHECK, ended_by, follow, permitted, plus, restricted
from worker.engine.flows.departing import stopped
from worker.engine.flows.names import account_name, strong_password
from worker.results import NotExecuted, Rejected, Result, Succeeded, Unknown

KIND = "purchased"

USERS = "createEvaluationUsers"
ACCOUNTS = "createEvaluationAccounts"
PERMISSION = "createTradingPermission"
CONTACT = "updateContactInfo"

_COPIED = ("userId", "accountId", "accountName", "tradingPermissionId", "warnings")
_LEFT = ("userId", "accountId", "accountName", "tradingPermissionId", "terms")

ASKED = "asked"
"""The fact with the account names that the order has asked for, of the shop's choice, while it is not known what came
of that. An order that ended so may have left an account that its next event gives another name."""

OTHER_TERMS = "The account was created by an earlier event of this order, with other details; it was adopted as it is."


class Purchased:
    """A trader bought an evaluation."""

    topic = "trader.purchased"

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
            makes="accountId",
            keeps=_LEFT,
            remembers=(ASKED,),
            gives=True,
        )

    def details(self, event: TraderPurchased) -> bytes:
        """`traderId` and `account` or `product` as given; user and contact data do not count (contract 5.1)."""
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
            return follow(view, order, _COPIED)
        facts, contact = _begin(view.facts), event.contact_info
        if contact is not None and (end := restricted(contact.country, contact.mailing_country)) is not None:
            return Planned(end, facts)
        if "userId" not in facts:
            found = _find_user(view, rules)
            if isinstance(found, Send | Wait | End):
                return _give(view, facts, found)
            facts = {**facts, **found}
        return _provide(view, facts)

    def learn(self, view: View, operation: str, result: Result) -> Planned | Facts:
        """Ids go into the facts; refused contact data is a warning; any other refusal ends the purchase."""
        facts = dict(view.facts)
        match operation, result:
            case "updateContactInfo", Succeeded():
                return {**facts, "contact": "done"}
            case "updateContactInfo", Rejected(text=text) | NotExecuted(text=text) | Unknown(text=text):
                return warned({**facts, "contact": "refused"}, f"Contact data: {text}")
            case _, Rejected() | NotExecuted() | Unknown() as failure:
                known = operation == ACCOUNTS and not isinstance(failure, Unknown)
                return ended_by(failure, _known(facts) if known else facts)
            case "createEvaluationUsers", Succeeded() as succeeded:
                adopted = bool(succeeded.value.get("adopted"))
                return {**facts, "userId": succeeded.value["userId"], "userFrom": "adopted" if adopted else "made"}
            case "createEvaluationAccounts", Succeeded(value=value) if value.get("adopted"):
                # Whether the ledger knows it as another order's is seen when that is loaded.
                seen = {"accounts": [value["accountId"]]}
                return {**_known(facts), ADOPTING: dict(value), "seen": seen, "unread": True}
            case "createEvaluationAccounts", Succeeded(value=value):
                return {**_known(facts), **_ids(value), "terms": _terms(_event(view))}
            case _, Succeeded(value=value):
                return permitted(facts, value)

    def item(self, view: View, operation: str, rules: Rules) -> Item:
        """The partner's request item for one of the four operations."""
        event = _event(view)
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
                left = view.facts.get(LEFT)
                others = set() if left is None else {own, *left.get(ASKED, ())} - {name}
                return {
                    "userId": view.facts["userId"],
                    "name": name,
                    **account.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"name"}),
                    "_derived": own,
                    "_left": None if left is None else left.get("accountId"),
                    "_asked": sorted(others),
                }
            case "createTradingPermission":
                return {"accountId": view.facts["accountId"], "userId": view.facts["userId"]}
            case "updateContactInfo":
                contact = event.contact_info
                assert contact is not None
                user = event.user
                names = {"firstName": user.first_name, "lastName": user.last_name} if isinstance(user, NewUser) else {}
                return {
                    "userId": view.facts["userId"],
                    **names,
                    **contact.model_dump(mode="json", by_alias=True, exclude_none=True),
                }
            case _:
                raise ValueError(operation)


def _event(view: View) -> TraderPurchased:
    assert isinstance(view.event, TraderPurchased)
    return view.event


def _begin(facts: Facts) -> Facts:
    """The facts to plan with: in a new round nothing is known but what was left behind, which has to be verified."""
    if ENDED not in facts:
        return facts
    return {LEFT: facts.get(LEFT, {}), **({"contact": "done"} if facts.get("contact") == "done" else {})}


def _provide(view: View, facts: Facts) -> Planned:
    """What the user gets: the account, its permission, contact data."""
    event = _event(view)
    if "unread" in facts:
        return Planned(Wait((), view.now), {name: facts[name] for name in facts if name != "unread"})
    if ADOPTING in facts:
        adopted = _adopted(view, facts)
        if isinstance(adopted, End):
            return Planned(adopted, facts)
        facts = adopted
    # Whether something like it is there already has to be looked up, unless this flow made all that it is made of.
    may_exist = LEFT in facts or facts.get("userFrom") != "made"
    if "accountId" not in facts:
        # A name of the shop's own does not say whose account it is: it has to be seen that it was free before.
        given = event.account.name if event.account is not None else None
        if given is not None:
            facts = plus(facts, ASKED, *facts.get(LEFT, {}).get(ASKED, ()), given)
        return _give(view, facts, Send(ACCOUNTS, look_first=may_exist or given is not None))
    if facts.get("tradingPermissionId") is None:
        return _give(view, facts, Send(PERMISSION, look_first=may_exist))
    if event.contact_info is not None and "contact" not in facts:
        return Planned(Send(CONTACT), facts)
    return Planned(SUCCEEDED, facts)


def _give(view: View, facts: Facts, decision: Decision) -> Planned:
    """The decision, if the trader may be given anything now."""
    if not isinstance(decision, Send):
        return Planned(decision, facts)
    return Planned(stopped(view, comes_back=True) or decision, facts)


def _known(facts: Facts) -> dict[str, Any]:
    """The facts when it is known what came of asking for an account."""
    return {name: facts[name] for name in facts if name != ASKED}


def _ids(value: Mapping[str, Any]) -> Facts:
    return {name: value[name] for name in ("accountId", "accountName", "tradingPermissionId")}


def _adopted(view: View, facts: Facts) -> Facts | End:
    """The facts with an account that was there already, unless the ledger knows it as another order's."""
    value: Mapping[str, Any] = facts[ADOPTING]
    account = value["accountId"]
    trader = _event(view).trader_id
    # What was imported without an order id is that trader's, and now it gets one.
    if any(order.account_id == account and (order.kind == KIND or order.trader_id != trader) for order in view.known):
        return failed(ErrorCode.CONFLICT, f"Account {account} is another order's.")
    left, terms = facts.get(LEFT, {}), _terms(_event(view))
    facts = {name: facts[name] for name in facts if name not in (ADOPTING, "seen")}
    if value["tradingPermissionId"] is not None:
        facts = permitted(facts, value)
    if left.get("accountId") == account and left.get("terms") is not None:
        facts = {**facts, "terms": left["terms"]}
        if left["terms"] != terms:
            facts = warned(facts, OTHER_TERMS)
    return {**facts, **_ids(value)}


def _terms(event: TraderPurchased) -> str:
    """What tells the terms of two accounts apart: a digest of template, balance and risk limits."""
    assert event.account is not None
    given = event.account.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"name"})
    return hashlib.sha256(orjson.dumps(given, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _find_user(view: View, rules: Rules) -> Facts | Decision:
    """The trader's user: known, named by the event, or to be made by this flow or by the one that is at it."""
    event = _event(view)
    trader, user = view.trader, event.user
    named = user.user_id if isinstance(user, UserRef) else None
    if trader.user_id is not None:
        if (named is not None and named != trader.user_id) or trader.other_name:
            return failed(ErrorCode.CONFLICT, f"Trader {event.trader_id} is known with another Tradovate user.")
        return {"userId": trader.user_id, "userFrom": "made" if trader.made_here else "known"}
    if named is not None:
        return {"userId": named, "userFrom": "given"}
    if trader.maker not in (None, view.flow_id):
        return Wait((trader_key(event.trader_id),), view.now + RECHECK)
    if isinstance(user, NewUser):
        return Send(USERS, makes_user=True)
    until = view.since + rules.unknown_wait
    if view.now >= until:
        text = f"No Tradovate user is known for trader {event.trader_id}, and the event brings none."
        return failed(ErrorCode.NOT_FOUND, text)
    return Wait((trader_key(event.trader_id),), until)
