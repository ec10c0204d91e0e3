"""Whose turn it is among the events of one account: pure decisions, and any interleaving in a world in memory."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from schemas.events import RiskChanged
from schemas.outcomes import ErrorCode
from tests.support.small_world import Fate, SmallWorld
from tests.support.views import NOW, RULES, view
from worker.engine.flows.base import End, Queue, TurnView, Wait, turn_key
from worker.engine.flows.turn_rules import ACTION, LIMITS, OUST_AGAIN, PATIENCE, held_up
from worker.sandbox import SandboxConfig

OTHER = uuid.UUID(int=9)
LOCK = {"accountId": 11, "action": "lock", "reason": "r"}


def turn(
    *others: TurnView, subject: str = ACTION, begun: bool = False, after: timedelta = timedelta(0)
) -> Wait | End | None:
    """What an event in place 5 has to wait for."""
    queue = Queue(5, subject, begun, others=others)
    return held_up(view("account.locked", LOCK, after=after, queue=queue))


def other(place: int, subject: str = ACTION, begun: datetime | None = NOW, **more: Any) -> TurnView:
    """Another event of the account."""
    return TurnView(OTHER, place, subject, begun, more.pop("ended", False), **more)


def waits(found: Wait | End | None) -> Wait:
    assert isinstance(found, Wait)
    assert list(found.keys) == [turn_key(OTHER)]
    return found


def test_an_event_waits_for_those_before_it_and_for_no_other() -> None:
    """Of its subject or of another one; not for those that have ended, or that came later."""
    for subject in (ACTION, LIMITS):
        assert waits(turn(other(4, subject))).until == NOW + PATIENCE
        assert turn(other(4, subject, ended=True)) is None
        assert turn(other(6, subject, begun=None)) is None
        assert turn(other(4, subject), begun=True) is None


def test_a_lock_passes_a_stuck_change_of_limits() -> None:
    """Ten seconds after it came, whatever is before it: they are different entities."""
    assert turn(other(4, LIMITS), after=PATIENCE) is None
    assert turn(other(4, LIMITS, begun=None), after=PATIENCE) is None


def test_a_stuck_lock_or_unlock_is_ousted_by_the_next_one() -> None:
    """When it has had its turn for ten seconds; one that has not begun ousts the one before it first."""
    waiting = waits(turn(other(4, begun=NOW + timedelta(seconds=5)), after=PATIENCE))
    assert (waiting.ousts, waiting.until) == (None, NOW + timedelta(seconds=5) + PATIENCE)
    assert waits(turn(other(4, begun=None), after=timedelta(hours=1))).ousts is None
    ousting = waits(turn(other(4), after=PATIENCE))
    assert (ousting.ousts, ousting.until) == (OTHER, NOW + PATIENCE + OUST_AGAIN)


def test_a_liquidation_and_a_change_of_limits_are_never_ousted() -> None:
    """Positions are closed, and limits are merged, whatever comes after them."""
    assert waits(turn(other(4, must_act=True), after=timedelta(hours=1))).ousts is None
    assert waits(turn(other(4, LIMITS), subject=LIMITS, after=timedelta(hours=1))).ousts is None


def test_an_event_whose_account_was_known_too_late_is_not_executed_after_a_newer_one() -> None:
    """The newer one stands, also when it has ended."""
    for ended in (False, True):
        found = turn(other(6, ended=ended))
        assert isinstance(found, End)
        assert found.error_code is ErrorCode.CANCELLED
    assert turn(other(6, LIMITS, ended=True)) is None


FATES = st.sampled_from([Fate.WELL, Fate.WELL, *Fate])
ACTIONS = st.sampled_from(["lock", "liquidate", "close_only", None])
SET = {"setAdminAutoLiqAction": ACTION, "setAdminAutoLiqAction@unlock": ACTION, "updateUserAutoLiqs": LIMITS}


class Account(RuleBasedStateMachine):
    """An account that is bought, whose events name it or its order, while calls fail and time goes by."""

    def __init__(self) -> None:
        super().__init__()
        self.world = SmallWorld(SandboxConfig(risk_update="replace", liquidate_shown="LockTradingImmediately"), RULES)
        user = {"name": "ann", "email": "ann@example.com", "firstName": "F", "lastName": "L"}
        account = {"templateAccountId": 11, "initialBalance": 50_000, "postTradeRisk": {"weeklyLossAutoLiq": 5}}
        self.buy = {"orderId": "100", "traderId": "ann", "user": user, "account": account}
        self.bought = False
        self.values = 0
        self.executed: dict[str, list[int]] = defaultdict(list)
        self._seen = 0

    def _named(self, *, by_order: bool) -> Mapping[str, Any]:
        found = [row.account_id for row in self.world.orders.values() if row.account_id is not None]
        return {"orderId": "100"} if by_order or not found else {"accountId": found[0]}

    @precondition(lambda self: not self.bought)
    @rule()
    def the_trader_buys(self) -> None:
        self.bought = True
        self.world.accept("trader.purchased", **self.buy)

    @rule(action=ACTIONS, by_order=st.booleans())
    def the_firm_locks_or_unlocks(self, action: str | None, by_order: bool) -> None:
        named = {**self._named(by_order=by_order), "reason": "r"}
        if action is None:
            self.world.accept("account.unlocked", **named)
        else:
            self.world.accept("account.locked", action=action, **named)

    @rule(name=st.sampled_from(["dailyLossAutoLiq", "trailingMaxDrawdown"]), by_order=st.booleans())
    def the_firm_changes_limits(self, name: str, by_order: bool) -> None:
        self.values += 1
        self.world.accept("risk.changed", postTradeRisk={name: self.values}, **self._named(by_order=by_order))

    @precondition(lambda self: self.world.open_steps())
    @rule(which=st.integers(0, 5), fate=FATES)
    def work_goes_on(self, which: int, fate: Fate) -> None:
        steps = self.world.open_steps()
        self.world.work(steps[which % len(steps)], fate)

    @precondition(lambda self: self.world.open_steps())
    @rule(fates=st.lists(FATES, min_size=5, max_size=5))
    def much_work_goes_on(self, fates: list[Fate]) -> None:
        for fate in fates:
            if steps := self.world.open_steps():
                self.world.work(steps[0], fate)
                self.calls_are_in_the_order_of_acceptance()

    @precondition(lambda self: self.world.late)
    @rule()
    def a_lost_call_takes_effect(self) -> None:
        self.world.happen(min(self.world.late))

    @rule()
    def time_goes_by(self) -> None:
        self.world.now += PATIENCE

    @precondition(lambda self: self.world.open_steps())
    @rule(which=st.integers(0, 5))
    def an_operator_cancels(self, which: int) -> None:
        steps = self.world.open_steps()
        assume(self.world.cancel(steps[which % len(steps)]))

    @precondition(lambda self: any(flow.state == "failed" for flow in self.world.flows.values()))
    @rule(which=st.integers(0, 5))
    def an_operator_retries(self, which: int) -> None:
        failed = [flow_id for flow_id, flow in self.world.flows.items() if flow.state == "failed"]
        self.world.retry(failed[which % len(failed)])

    def _place(self, flow_id: uuid.UUID) -> int:
        return max(row.place for row in self.world.turns.values() if row.flow_id == flow_id)

    @invariant()
    def calls_are_in_the_order_of_acceptance(self) -> None:
        for operation, flow_id in self.world.made[self._seen :]:
            if operation in SET:
                self.executed[SET[operation]].append(self._place(flow_id))
        self._seen = len(self.world.made)
        for places in self.executed.values():
            assert places == sorted(places)

    @invariant()
    def one_of_a_subject_is_under_way(self) -> None:
        for subject in (ACTION, LIMITS):
            begun = {
                row.flow_id
                for row in self.world.turns.values()
                if row.subject == subject and row.begun_at is not None and not row.ended
            }
            assert len(begun) <= 1

    def teardown(self) -> None:
        """Everything ends when the partner is well, and what was accepted last stands."""
        for _ in range(3000):
            steps = self.world.open_steps()
            if not steps:
                break
            self.world.work(steps[0])
            self.calls_are_in_the_order_of_acceptance()
            self.one_of_a_subject_is_under_way()
        assert self.world.open_steps() == []
        flows = self.world.flows.values()
        assert {flow.state for flow in flows} <= {"succeeded", "failed", "in_doubt"}
        done = [flow for flow in flows if flow.topic == "risk.changed" and flow.state == "succeeded"]
        wanted = {"weeklyLossAutoLiq": 5.0}
        for flow in sorted(done, key=lambda each: self._place(each.id)):
            assert isinstance(flow.event, RiskChanged)
            wanted |= flow.event.post_trade_risk.model_dump(by_alias=True, exclude_none=True)
        for account_id in {flow.account_id for flow in done if flow.account_id is not None}:
            row = self.world.sandbox.core.world.auto_liqs.rows[account_id]
            unsure = any(flow.topic == "risk.changed" and flow.state == "in_doubt" for flow in flows)
            assert unsure or wanted.items() <= row.items()


Account.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None, derandomize=True)
TestAccount = Account.TestCase


@pytest.mark.parametrize("first", ["orderId", "accountId"])
def test_both_names_of_an_account_are_one_queue(first: str) -> None:
    """An event that names the order and one that names the account wait for each other."""
    world = SmallWorld(SandboxConfig(), RULES)
    user = {"name": "ann", "email": "ann@example.com", "firstName": "F", "lastName": "L"}
    account = {"templateAccountId": 11, "initialBalance": 50_000}
    world.accept("trader.purchased", orderId="100", traderId="ann", user=user, account=account)
    while world.open_steps():
        world.work(world.open_steps()[0])
    names = {"orderId": "100", "accountId": world.orders["purchased", "100"].account_id}
    one = world.accept("account.locked", action="lock", reason="r", **{first: names[first]})
    second = next(name for name in names if name != first)
    two = world.accept("account.unlocked", reason="r", **{second: names[second]})
    assert [step.waits_for for step in world.open_steps() if step.flow_id == two] == [[turn_key(one)]]
