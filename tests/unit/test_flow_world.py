"""In any order of events, failing calls, cancellations, retries and departures, nothing is created twice, and no trader
who left can trade.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.small_world import Fate, SmallWorld
from tests.support.views import RULES
from worker.engine.flows.departing import GIVES
from worker.engine.flows.purchased_facts import PurchasedFacts
from worker.engine.states import StepState
from worker.sandbox import SandboxConfig

ORDERS, TRADERS = ("100", "200"), ("ann", "bob")
NAMES = (None, "GIVEN{}", "SHARED1")
"""Of accounts: derived, one for each order, one for both. Two events of one order may give different ones."""

FATES = st.sampled_from([Fate.WELL, Fate.WELL, Fate.WELL, *Fate])


class Firm(RuleBasedStateMachine):
    """A shop, two traders, two orders; a partner who takes two accounts of one name."""

    bare = False

    def __init__(self) -> None:
        super().__init__()
        config = SandboxConfig(account_names_unique=False, permission_with_account=not self.bare)
        self.world = SmallWorld(config, RULES)
        self.left: list[tuple[int, datetime]] = []  # the user, and when the departure had ended
        self._seen = 0

    # -- what happens

    @rule(order=st.sampled_from(ORDERS), trader=st.sampled_from(TRADERS), name=st.sampled_from(NAMES))
    def a_trader_buys(self, order: str, trader: str, name: str | None) -> None:
        account: dict[str, Any] = {"templateAccountId": 11, "initialBalance": 50_000}
        if name is not None:
            account["name"] = name.format(order)
        user = {"name": trader, "email": f"{trader}@example.com", "firstName": "F", "lastName": "L"}
        contact = {"streetAddress1": "1 Main", "city": "A", "state": "TX", "country": "US", "phone": "+15125550100"}
        self.world.accept(
            "trader.purchased", orderId=order, traderId=trader, user=user, account=account, contactInfo=contact
        )

    @rule(trader=st.sampled_from(TRADERS))
    def a_trader_leaves(self, trader: str) -> None:
        self.world.accept("trader.left", traderId=trader, immediate=True)

    @rule(trader=st.sampled_from(TRADERS), order=st.sampled_from(ORDERS))
    def a_trader_fails(self, trader: str, order: str) -> None:
        self.world.accept("trader.failed", traderId=trader, orderId=order)

    @precondition(lambda self: self.world.open_steps())
    @rule(which=st.integers(0, 5), fate=FATES)
    def work_goes_on(self, which: int, fate: Fate) -> None:
        steps = self.world.open_steps()
        self.world.work(steps[which % len(steps)], fate)

    @precondition(lambda self: self.world.open_steps())
    @rule(fates=st.lists(FATES, min_size=4, max_size=4))
    def much_work_goes_on(self, fates: list[Fate]) -> None:
        for fate in fates:
            if steps := self.world.open_steps():
                self.world.work(steps[0], fate)
                self.who_has_left_is_out()  # at the moment of the departure's end: the trader may come back

    @precondition(lambda self: self.world.late)
    @rule(which=st.integers(0, 5))
    def a_lost_call_takes_effect(self, which: int) -> None:
        late = sorted(self.world.late)
        self.world.happen(late[which % len(late)])

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

    @precondition(lambda self: self._permissions())
    @rule(which=st.integers(0, 3))
    def another_program_revokes_the_newest_permissions(self, which: int) -> None:
        for permission in self._permissions()[-1 - which :]:
            permission["status"] = "Revoked"

    def _permissions(self) -> list[dict[str, Any]]:
        return list(self.world.sandbox.core.world.permissions.rows.values())

    # -- what is promised

    @invariant()
    def nothing_is_made_twice(self) -> None:
        effects = self.world.sandbox.control.effects()
        users = effects["users_by_name"]
        assert all(count == 1 for count in users.values()), users
        accounts: Counter[str] = Counter()
        for name, count in effects["accounts_by_name"].items():
            if name[-3:] in ORDERS:  # each of two orders may create one with the name that they share
                accounts[name[-3:]] += count
        assert all(count == 1 for count in accounts.values()), effects["accounts_by_name"]
        orders = {flow.order_id for flow in self.world.flows.values() if flow.topic == "trader.purchased"}
        assert sum(effects["accounts_by_name"].values()) <= len(orders), effects["accounts_by_name"]
        permissions: Counter[str] = Counter()
        for pair, count in effects["permissions"].items():
            permissions[pair.partition(":")[0]] += count
        assert all(count == 1 for count in permissions.values()), effects["permissions"]

    @invariant()
    def an_account_is_of_one_order(self) -> None:
        owners = Counter(row.account_id for row in self.world.orders.values() if row.account_id is not None)
        assert all(count == 1 for count in owners.values()), owners

    @invariant()
    def who_has_left_is_out(self) -> None:
        for outcome in self.world.outcomes[self._seen :]:
            if outcome.topic == "trader.left" and outcome.status == "succeeded":
                assert outcome.user_id is not None
                assert self.world.active(outcome.user_id) == []
                self.left.append((outcome.user_id, outcome.occurred_at))
        self._seen = len(self.world.outcomes)
        for user_id, ended in self.left:
            for permission in self.world.active(user_id):
                if self._is_being_looked_up(user_id):
                    continue  # whose purchase made it is known when its call has a result
                bought = [
                    flow
                    for flow in self.world.flows.values()
                    if isinstance(flow.facts, PurchasedFacts)
                    and permission["accountId"] in (flow.facts.account_id, _found(flow.facts))
                ]
                assert any(self._comes_back(flow, user_id, ended) for flow in bought), permission

    def _is_being_looked_up(self, user_id: int) -> bool:
        return any(
            step.state is StepState.UNKNOWN
            and step.attempts > 0
            and step.operation in GIVES
            and self.world.flows[step.flow_id].user_id == user_id
            for step in self.world.steps.values()
        )

    def _comes_back(self, flow: Any, user_id: int, ended: datetime) -> bool:
        """Whether a purchase is not of before the departures that had ended then."""
        since = [
            row.since
            for row in self.world.departures.values()
            if row.trader_key == f"u:{user_id}" and row.ended and row.begun_at is not None and row.begun_at <= ended
        ]
        return all(flow.asked_at > each for each in since)

    @invariant()
    def one_trader_is_on_an_account(self) -> None:
        users: dict[int, set[int]] = {}
        for row in self._permissions():
            users.setdefault(row["accountId"], set()).add(row["userId"])
        assert all(len(each) == 1 for each in users.values()), users

    def teardown(self) -> None:
        """Everything ends when the partner is well."""
        for _ in range(2000):
            steps = self.world.open_steps()
            if not steps:
                break
            self.world.work(steps[0])
            self.nothing_is_made_twice()
            self.an_account_is_of_one_order()
            self.who_has_left_is_out()
        assert self.world.open_steps() == []
        assert {flow.state for flow in self.world.flows.values()} <= {"succeeded", "failed", "in_doubt"}
        final: Counter[tuple[str, str]] = Counter()
        for outcome in self.world.outcomes:
            if outcome.status != "pending":
                final[outcome.topic, outcome.event_id] += 1
        for flow in self.world.flows.values():
            assert 1 <= final[flow.topic, flow.event_id] <= flow.round + 1
        self.who_has_left_is_out()


def _found(facts: PurchasedFacts) -> int | None:
    """An account that was found and is being adopted."""
    return None if facts.adopting is None else facts.adopting.account_id


class BareFirm(Firm):
    """Accounts come without their permissions."""

    bare = True


Firm.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
BareFirm.TestCase.settings = Firm.TestCase.settings
TestFirm = Firm.TestCase
TestBareFirm = BareFirm.TestCase
