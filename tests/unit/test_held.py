"""What a replica knows to be held back without asking the ledger each time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from worker.dispatch.held_lanes import ASK_AGAIN, HeldLanes
from worker.engine.states import StepState
from worker.ledger import holds
from worker.ledger.budget import BUDGET, MINUTE_BUDGET, Closed
from worker.ledger.rows import Lane
from worker.partner.operations import OPERATIONS

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
USERS = OPERATIONS["createEvaluationUsers"]
ACCOUNTS = OPERATIONS["createEvaluationAccounts"]
REVOKE = OPERATIONS["revokeTradingPermissions"]


def lane(name: str, state: StepState = StepState.DUE, ready: int = 1) -> Lane:
    return Lane(name, state, None, ready, NOW, NOW)


def closed(scope: str, seconds: float | None = 3600.0) -> Closed:
    return Closed(None if seconds is None else NOW + timedelta(seconds=seconds), "why", scope, NOW)


@pytest.mark.parametrize(
    ("by", "scope", "held"),
    [
        (USERS, holds.ALL, {"users", "accounts", "revoke", "look"}),
        (USERS, holds.PAUSE_ALL, {"users", "accounts", "revoke", "look"}),
        (USERS, BUDGET, {"users", "accounts", "look"}),
        (USERS, MINUTE_BUDGET, {"users", "accounts", "look"}),
        (REVOKE, BUDGET, {"users", "accounts", "revoke", "look"}),
        (USERS, holds.pause_scope(USERS.name), {"users"}),
        (USERS, holds.endpoint_scope(USERS.name), {"users"}),
    ],
)
def test_what_holds_one_back_holds_back_all_that_it_concerns(by: object, scope: str, held: set[str]) -> None:
    """A lock-out or a pause of everything holds back all; a spent budget all that may not use the reserve, so that the
    most urgent of them gets the next call; anything else holds back its own kind alone.
    """
    known = HeldLanes()
    assert by in (USERS, REVOKE)
    known.closed(USERS if by is USERS else REVOKE, StepState.DUE, closed(scope), 100.0)
    asked = {
        "users": (USERS, lane(USERS.name)),
        "look": (USERS, lane(USERS.name, StepState.UNKNOWN)),
        "accounts": (ACCOUNTS, lane(ACCOUNTS.name)),
        "revoke": (REVOKE, lane(REVOKE.name)),
    }
    assert {name for name, (operation, each) in asked.items() if known.until(operation, each, 100.0)} == held


@pytest.mark.parametrize(("seconds", "until"), [(None, ASK_AGAIN), (3600.0, ASK_AGAIN), (0.2, 0.2), (-5.0, None)])
def test_a_hold_is_asked_about_again(seconds: float | None, until: float | None) -> None:
    """After a second at the latest, since an operator may lift it; earlier if it ends earlier."""
    known = HeldLanes()
    known.closed(USERS, StepState.DUE, closed(holds.ALL, seconds), 100.0)
    found = known.until(USERS, lane(USERS.name), 100.0)
    assert found == (None if until is None else pytest.approx(100.0 + until))
    assert known.until(USERS, lane(USERS.name), 101.01) is None


def test_what_begins_is_no_longer_held() -> None:
    """A call that begins shows that what held it back has ended, for the others as well."""
    known = HeldLanes()
    known.closed(USERS, StepState.DUE, closed(MINUTE_BUDGET), 100.0)
    known.begun(ACCOUNTS, StepState.DUE, 100.1)
    assert known.until(USERS, lane(USERS.name), 100.1) is None


def test_a_lane_of_one_busy_trader_is_left_alone_for_longer_and_longer() -> None:
    """Steps that all wait for one trader's call are asked about again after 2, 4, 8 ms and so on, up to 256."""
    known, now = HeldLanes(), 100.0
    waits = []
    for _ in range(10):
        known.blocked(lane(USERS.name), now)
        until = known.until(USERS, lane(USERS.name), now)
        assert until is not None
        waits.append(round((until - now) * 1000))
        now = until
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 256, 256]


def test_newcomers_and_ended_calls_open_a_lane_again() -> None:
    """A lane that has other steps than those that were found waiting, or whose trader may be free, is tried at once."""
    known = HeldLanes()
    known.blocked(lane(USERS.name), 100.0)
    assert known.until(USERS, lane(USERS.name, ready=2), 100.0) is None
    assert known.until(USERS, lane(USERS.name), 100.0) is not None
    known.unblocked()
    assert known.until(USERS, lane(USERS.name), 100.0) is None
