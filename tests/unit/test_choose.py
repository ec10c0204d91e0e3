"""The choice of what to begin next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.dispatch.choose import IN_FLIGHT, URGENT_ONLY, Situation, Start, choose
from worker.engine.states import StepState
from worker.ledger.rows import Lane
from worker.partner.operation import Operation
from worker.partner.operations import OPERATIONS

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
USERS, ACCOUNTS, PERMISSION, CONTACT, REVOKE = (
    "createEvaluationUsers",
    "createEvaluationAccounts",
    "createTradingPermission",
    "updateContactInfo",
    "revokeTradingPermissions",
)
SHORTEST = 0.005


def never(_lane: Lane) -> datetime | None:
    """Nothing is held."""
    return None


def situation(
    *,
    free: int = IN_FLIGHT,
    linger: float = SHORTEST,
    coming: bool = False,
    held: Callable[[Lane], datetime | None] = never,
) -> Situation:
    """A situation in which everything could go."""
    return Situation(NOW, free, held, lambda _name: linger, SHORTEST, lambda _name: coming)


def holding(*held: str) -> Callable[[Lane], datetime | None]:
    """These operations are held."""
    return lambda lane: LATER if lane.operation in held else None


def lane(
    operation: str, ready: int = 1, age: float = 0.0, state: StepState = StepState.DUE, batch_id: int | None = None
) -> Lane:
    """Steps that have been there for `age` seconds."""
    since = NOW - timedelta(seconds=age)
    return Lane(operation, state, batch_id, ready, since, since)


def calls(start: Start) -> int:
    """How many calls a start is at least: one for a look-up."""
    if start.lane.state is StepState.UNKNOWN:
        return 1
    return -(-start.items // operation(start).batching.most)


def operation(start: Start) -> Operation:
    """What is begun."""
    return OPERATIONS[start.lane.operation]


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
held_operations = st.frozensets(st.sampled_from(sorted(OPERATIONS)))
situations = st.builds(
    situation,
    free=st.integers(0, IN_FLIGHT),
    linger=st.floats(0, 60),
    coming=st.booleans(),
    held=held_operations.map(lambda held: holding(*held)),
)


@given(lanes, situations)
def test_no_more_calls_are_begun_than_slots_are_free(found: list[Lane], now: Situation) -> None:
    """However much is ready, it begins as many calls as there are free slots, and allows no lane more than that."""
    starts, _ = choose(found, OPERATIONS, now)
    assert sum(calls(start) for start in starts) <= now.free
    assert all(calls(start) <= start.calls <= now.free for start in starts)


@given(lanes, situations)
def test_most_urgent_goes_first(found: list[Lane], now: Situation) -> None:
    """What begins is in the order of urgency."""
    starts, _ = choose(found, OPERATIONS, now)
    ranks = [operation(start).limits.rank for start in starts]
    assert ranks == sorted(ranks)


@given(lanes, situations)
def test_nothing_less_urgent_begins_while_something_waits_for_a_slot(found: list[Lane], now: Situation) -> None:
    """A lane that could go and gets fewer calls than it has work for is the last one that begins."""
    starts, _ = choose(found, OPERATIONS, replace(now, linger=lambda _name: 0.0, coming=lambda _name: False))
    begun: Counter[int] = Counter()
    for start in starts:
        begun[id(start.lane)] += start.items
    ranks = [operation(start).limits.rank for start in starts]
    for each in found:
        if now.held(each) is None and begun[id(each)] < each.ready:
            assert all(rank <= OPERATIONS[each.operation].limits.rank for rank in ranks)


@given(lanes, situations)
def test_ordinary_calls_never_take_the_slots_of_urgent_ones(found: list[Lane], now: Situation) -> None:
    """Whatever waits, held or not: the last slots are taken by calls that may use the reserve of the budget only."""
    starts, _ = choose(found, OPERATIONS, now)
    taken = 0
    for start in starts:
        taken += calls(start)
        if not operation(start).limits.reserve:
            assert taken <= max(0, now.free - URGENT_ONLY)
            assert start.calls <= now.free - URGENT_ONLY


@given(lanes, lanes, situations)
def test_held_lanes_change_nothing_for_the_others(found: list[Lane], more: list[Lane], now: Situation) -> None:
    """Lanes that are held neither block nor free a slot: the others begin as if they were not there."""
    held = {each.operation for each in more}
    rest = [each for each in found if each.operation not in held]
    without, _ = choose(rest, OPERATIONS, now)
    asked = now.held
    now = replace(now, held=lambda each: LATER if each in more else asked(each))
    beside, _ = choose([*rest, *more], OPERATIONS, now)
    assert beside == without
    assert choose(more, OPERATIONS, now) == ([], LATER if more else None)


@given(st.integers(0, IN_FLIGHT), st.integers(1, 500), st.sampled_from(sorted(OPERATIONS)))
def test_a_look_up_may_take_the_slots_that_its_step_may_take(free: int, ready: int, name: str) -> None:
    """Look-ups have the rank of their step and, for what may use the reserve, the same right to the last slots."""
    starts, _ = choose([lane(name, ready, state=StepState.UNKNOWN)], OPERATIONS, situation(free=free))
    room = free if OPERATIONS[name].limits.reserve else max(0, free - URGENT_ONLY)
    assert len(starts) == min(room, -(-ready // OPERATIONS[name].batching.look_up_most))


def test_what_may_use_the_reserve_is_the_most_urgent() -> None:
    """No operation without a right to the reserve is more urgent than one with it: it could not wait for it."""
    reserve = [each.limits.rank for each in OPERATIONS.values() if each.limits.reserve]
    ordinary = [each.limits.rank for each in OPERATIONS.values() if not each.limits.reserve]
    assert max(reserve) < min(ordinary)


@given(lanes, situations)
def test_nothing_is_begun_that_is_not_there(found: list[Lane], now: Situation) -> None:
    """A lane begins at least one item, and no call that would have none."""
    starts, _ = choose(found, OPERATIONS, now)
    for start in starts:
        same = [each for each in starts if each.lane is start.lane]
        assert 0 < sum(each.items for each in same) < start.lane.ready + operation(start).batching.look_up_most
        assert start.items > 0


@given(lanes, situations)
def test_what_lingers_is_looked_at_again(found: list[Lane], now: Situation) -> None:
    """While a slot is free, whatever stays behind has a time at which it is looked at again."""
    starts, again = choose(found, OPERATIONS, now)
    begun = sum(start.items for start in starts)
    free = now.free - URGENT_ONLY - sum(calls(start) for start in starts)
    if begun < sum(each.ready for each in found) and free > 0:
        assert again is not None
        assert again > now.now


def test_a_held_revocation_frees_no_slot_for_ordinary_calls() -> None:
    """While revocations are paused, a burst of accounts leaves the slots free that the next revocation needs."""
    waiting = [lane(REVOKE, 3), lane(ACCOUNTS, 500), lane(CONTACT, 500)]
    starts, _ = choose(waiting, OPERATIONS, situation(held=holding(REVOKE)))
    assert sum(calls(start) for start in starts) == IN_FLIGHT - URGENT_ONLY


def test_nobody_overtakes_the_most_urgent() -> None:
    """While accounts wait for a free slot, contact data, which could go, are not begun."""
    starts, _ = choose([lane(CONTACT, 5), lane(ACCOUNTS, 300)], OPERATIONS, situation(free=URGENT_ONLY + 2))
    assert [(start.lane.operation, start.items) for start in starts] == [(ACCOUNTS, 200)]


def test_held_lane_holds_nobody_up() -> None:
    """What a penalty or the maintenance holds back is passed over, and looked at again when that has ended."""
    now = situation(held=holding(ACCOUNTS))
    starts, again = choose([lane(ACCOUNTS, 300), lane(USERS, 100)], OPERATIONS, now)
    assert [start.lane.operation for start in starts] == [USERS]
    assert again == LATER


def test_lingering_lane_holds_nobody_up() -> None:
    """A lone account that lingers lets a contact update go first."""
    starts, again = choose([lane(ACCOUNTS), lane(CONTACT)], OPERATIONS, situation(linger=10))
    assert [start.lane.operation for start in starts] == [CONTACT]
    assert again == NOW + timedelta(seconds=10)


def test_lone_step_goes_at_once_when_nothing_is_coming() -> None:
    """With a fresh budget and nothing on its way a step does not linger at all."""
    starts, _ = choose([lane(USERS)], OPERATIONS, situation())
    assert [start.items for start in starts] == [1]


def test_step_lingers_while_more_is_coming() -> None:
    """While more is seen to be coming, a step lingers for BATCH_LINGER_MS from when it could go."""
    at = NOW + timedelta(seconds=SHORTEST - 0.001)
    assert choose([lane(USERS, 2, 0.001)], OPERATIONS, situation(coming=True)) == ([], at)


@pytest.mark.parametrize("linger", [SHORTEST, 2.0])
def test_no_step_lingers_longer_than_it_may(linger: float) -> None:
    """A trickle of newcomers does not hold a step up: the linger counts from the oldest of them."""
    trickle = replace(lane(USERS, 2, linger), newest=NOW)
    starts, _ = choose([trickle], OPERATIONS, situation(linger=linger, coming=True))
    assert [start.items for start in starts] == [2]


def test_lone_step_lingers_when_much_of_the_budget_is_used() -> None:
    """When the budget asks for more than BATCH_LINGER_MS, a step lingers though nothing is seen to be coming."""
    waiting = replace(lane(USERS, 50, 4), newest=NOW)
    assert choose([waiting], OPERATIONS, situation(linger=5)) == ([], NOW + timedelta(seconds=1))
    starts, _ = choose([waiting], OPERATIONS, situation(linger=4))
    assert [start.items for start in starts] == [50]


def test_full_calls_go_whatever_the_linger() -> None:
    """Of 250 steps two full calls go at once; the rest lingers."""
    starts, again = choose([lane(USERS, 250)], OPERATIONS, situation(linger=60))
    assert [start.items for start in starts] == [200]
    assert again == NOW + timedelta(seconds=60)


def test_urgent_and_tied_steps_never_linger() -> None:
    """Permissions, look-ups and steps that are tied together go as they are."""
    ready = [lane(PERMISSION), lane(USERS, 3, state=StepState.UNKNOWN), lane(ACCOUNTS, 7, batch_id=5)]
    starts, again = choose(ready, OPERATIONS, situation(linger=60, coming=True))
    assert {(start.lane.operation, start.lane.state) for start in starts} == {
        (PERMISSION, StepState.DUE),
        (USERS, StepState.UNKNOWN),
        (ACCOUNTS, StepState.DUE),
    }
    assert again is None


def test_nothing_urgent_lingers() -> None:
    """No operation that is more urgent than accounts waits for others to share its call, departures excepted."""
    urgent = [each for each in OPERATIONS.values() if each.limits.rank < OPERATIONS[ACCOUNTS].limits.rank]
    assert {each.vendor for each in urgent if each.batching.lingers} == {"cancelEverything"}


def test_reads_before_a_call_linger_and_look_ups_after_one_do_not() -> None:
    """A stream of changes reads the limits of many at once; what became of a call is known as soon as it can be."""
    used = situation(linger=5.0)
    starts, again = choose([lane("updateUserAutoLiqs@read", 3, 1.0, StepState.UNKNOWN)], OPERATIONS, used)
    assert (starts, again) == ([], NOW + timedelta(seconds=4))
    assert choose([lane("updateUserAutoLiqs", 3, 1.0, StepState.UNKNOWN)], OPERATIONS, used)[0]
    assert choose([lane("updateUserAutoLiqs@read", 1, 0.0, StepState.UNKNOWN)], OPERATIONS, situation())[0]
