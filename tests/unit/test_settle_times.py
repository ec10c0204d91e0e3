"""When a step is tried again, and when it is given up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import EVENTS
from worker.backoff import Schedule
from worker.dispatch.operation_rules import rules_of
from worker.engine.flows.purchased_facts import PurchasedFacts
from worker.engine.memory import EMPTY
from worker.engine.rows import Claimed, Finish, FlowRow, Later
from worker.engine.states import StepState
from worker.engine.steps.after_call import Sent, after_call
from worker.engine.steps.timing import Timing
from worker.partner.operations import OPERATIONS
from worker.partner.response import read_reply
from worker.replies import NotSent

USERS = OPERATIONS["createEvaluationUsers"]
STATUS = OPERATIONS["getPartnerSubaccountRequestStatus"]
CONTACT = OPERATIONS["updateContactInfo"]

EVENT = EVENTS["trader.purchased"].model_validate(EVENTS["trader.purchased"].examples[0])
NOW = datetime(2026, 11, 18, 16, 0, tzinfo=UTC)
START = PurchasedFacts()
FLOW = FlowRow(UUID(int=1), "trader.purchased", EVENT, "e-1", None, 0, 0, None, "t", None, "1", None, NOW, NOW, START)


def times(operation: str, schedule: Schedule, draw: float, took: float = 0.0) -> list[float]:
    """When a step of it is tried, in seconds of its own time, with every try unsent after `took` seconds."""
    timing = Timing(schedule, timedelta(seconds=15), draw)
    spent, memory = 0.0, EMPTY
    tries: list[float] = []
    for tried in count():
        assert tried < 10_000
        tries.append(spent)
        step = Claimed(1, operation, StepState.IN_FLIGHT, tried, spent, memory, None, FLOW)
        _, result = read_reply(OPERATIONS[operation], NotSent("away"), [{}])
        (move,) = after_call(timing, rules_of(OPERATIONS[operation]), result, [Sent(step)], seconds=took, call_id=1)
        if isinstance(move, Finish):
            return tries
        assert isinstance(move, Later)
        assert move.spent == pytest.approx(spent + took + move.wait.total_seconds(), abs=1e-5)
        spent, memory = move.spent, move.memory
    raise AssertionError


@given(st.floats(0.3, 0.99), st.floats(0.1, 5), st.floats(1, 60), st.floats(1, 500), st.floats(0, 3))
def test_the_last_try_is_when_time_ends(draw: float, base: float, cap: float, total: float, took: float) -> None:
    """A step is tried for all of RETRY_FOR_SECONDS: once more at its end, and not again after it."""
    tries = times(USERS.name, Schedule(base, cap, total), draw, took)
    assert tries[-1] + took >= total - 1e-5
    assert all(tried + took < total + 1e-5 for tried in tries[:-1])
    assert tries[-1] <= total + 1e-5


def test_what_must_not_wait_so_long_has_its_own_time() -> None:
    """Contact data, which only warns, is tried for a quarter of an hour at most."""
    assert times(CONTACT.name, Schedule(1, 300, 86_400), 0.5)[-1] == pytest.approx(CONTACT.recovery.retry_for)


@pytest.mark.parametrize("draw", [0.0, 0.5, 0.99])
def test_a_poll_that_failed_is_no_more_frequent(draw: float) -> None:
    """A request's status is asked for every 30 to 60 seconds, also when the partner did not tell it."""
    tries = times(STATUS.name, Schedule(0.1, 1.0, 400), draw)
    gaps = [after - before for before, after in pairwise(tries[:-1])]
    assert gaps
    assert all(30 <= gap < 60 for gap in gaps)
