"""The choice of what to begin next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.dispatch.choose import PERHAPS_MOST, SURELY_MOST, Coming, Situation, Start, choose
from worker.ledger.rows import Lane, StepState
from worker.tradovate.operation import Operation
from worker.tradovate.operations import OPERATIONS

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
USERS, ACCOUNTS, PERMISSION, CONTACT = (
    "createEvaluationUsers",
    "createEvaluationAccounts",
    "createTradingPermission",
    "updateContactInfo",
)
SHORTEST = 0.005


def never(_operation: Operation, _state: StepState) -> datetime | None:
    """Nothing is held."""
    return None


def situation(
    *,
    free: int = 12,
    wait: float = SHORTEST,
    coming: Coming = Coming.NOTHING,
    held: Callable[[Operation, StepState], datetime | None] = never,
) -> Situation:
    """A situation in which everything could go."""
    return Situation(NOW, free, held, lambda _name: wait, SHORTEST, coming)


def lane(
    operation: str, ready: int = 1, age: float = 0.0, state: StepState = StepState.DUE, company: int | None = None
) -> Lane:
    """Steps that have been there for `age` seconds."""
    since = NOW - timedelta(seconds=age)
    return Lane(operation, state, company, ready, since, since)


def calls(start: Start) -> int:
    """How many calls a start is: one for a look-up."""
    if start.lane.state is StepState.UNKNOWN:
        return 1
    return -(-start.items // OPERATIONS[start.lane.operation].most)


lanes = st.lists(
    st.builds(
        lane,
        st.sampled_from(sorted(OPERATIONS)),
        st.integers(1, 500),
        st.floats(0, 100),
        st.sampled_from([StepState.DUE, StepState.UNKNOWN]),
        st.none() | st.integers(0, 9),
    ),
    max_size=8,
)
situations = st.builds(situation, free=st.integers(0, 16), wait=st.floats(0, 60), coming=st.sampled_from(Coming))


@given(lanes, situations)
def test_no_more_calls_are_begun_than_are_free(found: list[Lane], now: Situation) -> None:
    """However much is ready, it begins as many calls as may be begun."""
    starts, _ = choose(found, OPERATIONS, now)
    assert sum(calls(start) for start in starts) <= now.free


@given(lanes, situations)
def test_most_urgent_goes_first(found: list[Lane], now: Situation) -> None:
    """What begins is in the order of urgency."""
    starts, _ = choose(found, OPERATIONS, now)
    ranks = [OPERATIONS[start.lane.operation].rank for start in starts]
    assert ranks == sorted(ranks)


@given(lanes, situations)
def test_nothing_is_begun_that_is_not_there(found: list[Lane], now: Situation) -> None:
    """A lane begins at least one item, and no call that would have none."""
    starts, _ = choose(found, OPERATIONS, now)
    for start in starts:
        same = [each for each in starts if each.lane is start.lane]
        assert 0 < sum(each.items for each in same) < start.lane.ready + OPERATIONS[start.lane.operation].look_most
        assert start.items > 0


@given(lanes, situations)
def test_what_waits_for_company_is_looked_at_again(found: list[Lane], now: Situation) -> None:
    """While a call is free, whatever stays behind has a time at which it is looked at again."""
    starts, again = choose(found, OPERATIONS, now)
    begun = sum(start.items for start in starts)
    free = now.free - sum(calls(start) for start in starts)
    if begun < sum(each.ready for each in found) and free > 0:
        assert again is not None
        assert again > now.now


def test_nobody_overtakes_the_most_urgent() -> None:
    """While accounts wait for a free call, contact data, which could go, are not begun."""
    starts, _ = choose([lane(CONTACT, 5), lane(ACCOUNTS, 300)], OPERATIONS, situation(free=2))
    assert [(start.lane.operation, start.items) for start in starts] == [(ACCOUNTS, 200)]


def test_held_lane_holds_nobody_up() -> None:
    """What a penalty or the maintenance holds back is passed over, and looked at again when that is over."""
    until = NOW + timedelta(minutes=5)
    now = situation(held=lambda operation, _state: until if operation.name == ACCOUNTS else None)
    starts, again = choose([lane(ACCOUNTS, 300), lane(USERS, 100)], OPERATIONS, now)
    assert [start.lane.operation for start in starts] == [USERS]
    assert again == until


def test_waiting_lane_holds_nobody_up() -> None:
    """A lone account that waits for company lets a contact update go first."""
    starts, again = choose([lane(ACCOUNTS), lane(CONTACT)], OPERATIONS, situation(wait=10))
    assert [start.lane.operation for start in starts] == [CONTACT]
    assert again == NOW + timedelta(seconds=10)


def test_lone_step_goes_at_once_when_nothing_is_coming() -> None:
    """With a fresh budget and nothing on its way a step does not even wait for BATCH_LINGER_MS."""
    starts, _ = choose([lane(USERS)], OPERATIONS, situation(coming=Coming.NOTHING))
    assert [start.items for start in starts] == [1]


def test_step_waits_while_more_is_coming() -> None:
    """While more is seen to come, the shortest wait begins anew with each newcomer."""
    _, again = choose([replace(lane(USERS, 2, 0.02), newest=NOW)], OPERATIONS, situation(coming=Coming.PERHAPS))
    assert again == NOW + timedelta(seconds=SHORTEST)


def test_step_waits_for_records_that_are_being_taken() -> None:
    """While intake is at it a step waits and looks again, however long it has been there."""
    _, again = choose([lane(USERS, 2, 0.02)], OPERATIONS, situation(coming=Coming.SURELY))
    assert again == NOW + timedelta(seconds=SHORTEST)


@pytest.mark.parametrize(("coming", "most"), [(Coming.PERHAPS, PERHAPS_MOST), (Coming.SURELY, SURELY_MOST)])
def test_wait_for_what_is_coming_has_an_end(coming: Coming, most: float) -> None:
    """A steady trickle does not hold a step up for more than a fraction of a second."""
    assert choose([replace(lane(USERS, 2, most - 0.001), newest=NOW)], OPERATIONS, situation(coming=coming))[0] == []
    starts, _ = choose([replace(lane(USERS, 2, most), newest=NOW)], OPERATIONS, situation(coming=coming))
    assert [start.items for start in starts] == [2]


@pytest.mark.parametrize("coming", [Coming.PERHAPS, Coming.SURELY])
def test_longer_linger_is_waited_once(coming: Coming) -> None:
    """Where BATCH_LINGER_MS is long nobody waits for several times as long: a step goes when it has waited once."""
    setting = replace(situation(wait=2.0, coming=coming), shortest=2.0)
    waiting = replace(lane(USERS, 2, 1.5), newest=NOW)
    assert choose([waiting], OPERATIONS, setting) == ([], NOW + timedelta(seconds=0.5))
    starts, _ = choose([replace(waiting, oldest=NOW - timedelta(seconds=2))], OPERATIONS, setting)
    assert [start.items for start in starts] == [2]


def test_long_wait_counts_from_the_oldest() -> None:
    """When the budget is short a step waits its time, however many come after it."""
    waiting = replace(lane(USERS, 50, 4), newest=NOW)
    assert choose([waiting], OPERATIONS, situation(wait=5, coming=Coming.PERHAPS)) == ([], NOW + timedelta(seconds=1))
    starts, _ = choose([waiting], OPERATIONS, situation(wait=4, coming=Coming.PERHAPS))
    assert [start.items for start in starts] == [50]


def test_full_calls_go_whatever_the_wait() -> None:
    """Of 250 steps two full calls go at once; the rest waits for company."""
    starts, again = choose([lane(USERS, 250)], OPERATIONS, situation(wait=60))
    assert [start.items for start in starts] == [200]
    assert again == NOW + timedelta(seconds=60)


def test_urgent_and_tied_steps_never_wait_for_company() -> None:
    """Permissions, look-ups and steps that are tied together go as they are."""
    ready = [lane(PERMISSION), lane(USERS, 3, state=StepState.UNKNOWN), lane(ACCOUNTS, 7, company=5)]
    starts, again = choose(ready, OPERATIONS, situation(wait=60, coming=Coming.PERHAPS))
    assert {(start.lane.operation, start.lane.state) for start in starts} == {
        (PERMISSION, StepState.DUE),
        (USERS, StepState.UNKNOWN),
        (ACCOUNTS, StepState.DUE),
    }
    assert again is None
