"""`account.locked` and `account.unlocked`: what an administrator does to an account, read back before it counts.

The call sets a state: an unknown result is looked up, and sent again if the account does not show it. After an answer
the account is read: what it shows has to be the action, or what comes of it. A read that shows something else may be
late, so it is repeated for half a minute; then the action is set again, `ROUNDS` times in all. If the account's status
was changed after our call was answered, somebody else changed it, and their wish is newer: the event counts as executed
and ends with a warning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar, Self

from schemas.events import AccountLocked, AccountUnlocked
from schemas.outcomes import ErrorCode, Status
from worker.backoff import Delays
from worker.engine.facts import STORED, F, Facts, changed
from worker.engine.flows.account_ref import Refers, account_of, owner_facts
from worker.engine.flows.base import (
    SUCCEEDED,
    End,
    Item,
    Names,
    Planned,
    Rules,
    Send,
    View,
    Wait,
    WithoutOrder,
    failed,
    of_type,
)
from worker.engine.flows.common import back_off, ended_by
from worker.engine.flows.turn_rules import ACTION, OUSTED, held_up, ousted
from worker.results import Result, Succeeded

ACTIONS = {
    "lock": "LockTradingImmediately",
    "liquidate": "LiquidateImmediately",
    "close_only": "LiquidateOnlyModeImmediately",
}
"""By the event's word; unlocking is `Normal`."""

_READ_AGAIN = Delays((1.0, 2.0, 4.0, 8.0, 15.0))
"""Before each further read of what an answer should have changed."""

READS = 6
"""Reads after an answer before it is sent again: half a minute, since a read may be behind what was written."""

ROUNDS = 3
"""How often an action is set that was answered and is not shown; then an operator must look."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The partner has answered that it is set. `reads`: how often it was read since, and was not shown.

    `timestamp`: of the change, by the partner's clock; None where it gave none.
    """

    __pydantic_config__: ClassVar = STORED

    reads: int = 0
    timestamp: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReadBackFacts(Facts):
    """Of what is set and read back. `rounds`: how often it was set and answered; `shown`: a read has shown it."""

    answered: Answered | None = None
    rounds: int = 0
    shown: bool = False

    def kept(self) -> Self:
        """The account's owner."""
        return type(self)(user_id=self.user_id, trader_id=self.trader_id, account_name=self.account_name)

    def with_answer(self, timestamp: str | None = None) -> Self:
        """It was answered once more."""
        rounds = self.rounds + 1
        return changed(self, answered=Answered(0, timestamp), rounds=rounds, sent=rounds)


def read_again(reads: int) -> timedelta:
    """Before read number `reads` + 1: no wait before the first one."""
    return timedelta(seconds=_READ_AGAIN.delay(reads) if reads else 0)


def after(view: View, rules: Rules, tries: int) -> datetime | None:
    """When it is tried again after `tries`; None: at once."""
    return view.now + back_off(view, rules, tries, rules.retry_cap) if tries else None


def not_shown(facts: Facts, text: str) -> Planned:
    """It was answered, and what is read does not show it."""
    return Planned(End(Status.IN_DOUBT, ErrorCode.IN_DOUBT, text), facts)


def given_way(facts: ReadBackFacts) -> Planned:
    """A later event of this account has replaced this one. If Tradovate had answered its call, the change was in effect
    until then.
    """
    if facts.answered is not None:
        return Planned(SUCCEEDED, facts.warned("A newer event of this account came before it could be read back."))
    return Planned(failed(ErrorCode.CANCELLED, OUSTED), facts)


def in_turn(view: View, event: Refers, facts: F, rules: Rules) -> tuple[F, Wait | End | None]:
    """The facts with the event's account, and why the flow has to wait for that, or for its turn."""
    account = facts.account_id or account_of(view, event, rules)
    if not isinstance(account, int):
        return facts, account
    return changed(facts, account_id=account), held_up(view)


class AdminAction(WithoutOrder):
    """`lock`, `liquidate`, `close_only`; with the topic of unlocks: back to normal."""

    facts = ReadBackFacts

    def __init__(self, topic: str, set_: str, read: str) -> None:
        self.topic, self._set, self._read = topic, set_, read

    def names(self, event: AccountLocked | AccountUnlocked) -> Names:
        """The account, the order."""
        closes = getattr(event, "action", None) == "liquidate"
        return Names(order_id=event.order_id, account_id=event.account_id, in_turn=ACTION, must_act=closes)

    def plan(self, view: View, rules: Rules) -> Planned:
        """When it is its turn it is set, then read until it is shown."""
        event = _event(view)
        facts = owner_facts(view, event, of_type(view.facts, ReadBackFacts).new_round())
        if facts.shown:
            return Planned(SUCCEEDED, facts)
        if ousted(view):
            return given_way(facts)
        facts, waits = in_turn(view, event, facts, rules)
        if waits is not None:
            return Planned(waits, facts)
        if facts.answered is not None:
            return Planned(Send(self._read, look_first=True, at=view.now + read_again(facts.answered.reads)), facts)
        return Planned(Send(self._set, at=after(view, rules, facts.rounds)), facts)

    def learn(self, view: View, operation: str, result: Result) -> Planned | Facts:
        """Answered; shown; changed by somebody else; or not shown."""
        facts = of_type(view.facts, ReadBackFacts)
        if operation == self._read:
            return _read_back(facts, result)
        if not isinstance(result, Succeeded):
            return ended_by(result, facts)
        if result.value.get("shown"):
            return changed(facts, shown=True)
        return facts.with_answer(result.value.get("adminTimestamp"))

    def item(self, view: View, _operation: str, _rules: Rules) -> Item:
        """The account and the action."""
        event = _event(view)
        return {
            "accountId": view.facts.account_id,
            "adminAction": "Normal" if isinstance(event, AccountUnlocked) else ACTIONS[event.action],
            "adminActionReasonCode": "Other",
            "adminActionReason": event.reason,
        }


def _read_back(facts: ReadBackFacts, result: Result) -> Planned | Facts:
    answered = facts.answered
    assert answered is not None
    if not isinstance(result, Succeeded):
        return not_shown(facts, f"Tradovate has accepted it, and it could not be read back: {result.text}")
    if result.value["shown"]:
        return changed(facts, shown=True)
    action = result.value["adminAction"]
    if _later(result.value["adminTimestamp"], answered.timestamp):
        text = f"Somebody changed the account after this event was executed: Tradovate shows {action}."
        return Planned(SUCCEEDED, facts.warned(text))
    if answered.reads + 1 < READS:
        return changed(facts, answered=replace(answered, reads=answered.reads + 1))
    if facts.rounds < ROUNDS:
        return changed(facts, answered=None)
    return not_shown(facts, f"Tradovate has accepted it {ROUNDS} times, and shows {action}.")


def _later(shown: str | None, answered: str | None) -> bool:
    """Whether the account was changed after our call was answered, by the partner's own times."""
    try:
        return datetime.fromisoformat(str(shown)) > datetime.fromisoformat(str(answered))
    except (TypeError, ValueError):
        return False


def _event(view: View) -> AccountLocked | AccountUnlocked:
    assert isinstance(view.event, AccountLocked | AccountUnlocked)
    return view.event


LOCKED = AdminAction("account.locked", "setAdminAutoLiqAction", "setAdminAutoLiqAction@read")
UNLOCKED = AdminAction("account.unlocked", "setAdminAutoLiqAction@unlock", "setAdminAutoLiqAction@read_unlock")
