"""What is kept of the rate budget for sessions and revocations."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from worker.ledger.budget import Budget
from worker.partner.operations import OPERATIONS
from worker.settings import RunSettings, load

COMPLETE = {
    "TRADOVATE_NAME": "acme",
    "TRADOVATE_PASSWORD": "a password",
    "TRADOVATE_APP_ID": "acme-worker",
    "TRADOVATE_APP_VERSION": "1.0",
    "TRADOVATE_CID": "8",
    "TRADOVATE_SEC": "a secret",
    "TRADOVATE_DEVICE_ID": "device",
    "TRADOVATE_SUBSCRIPTION_PLAN_ID": "1",
    "SECRET_KEY": "a key of the tests that is long enough",
}

budgets = st.builds(Budget, st.integers(1, 100_000), st.integers(1, 100_000))


@given(budgets)
def test_of_the_hour_a_tenth_is_kept_at_most_120(budget: Budget) -> None:
    """The calls that only sessions and revocations may use are a tenth of the hour's, and never more than 120."""
    assert budget.limit(reserve=True) == budget.hourly
    assert budget.hourly - budget.limit(reserve=False) == min(120, budget.hourly // 10)


@given(budgets)
def test_of_the_minute_a_tenth_is_kept_at_least_one_at_most_60(budget: Budget) -> None:
    """Of a minute's calls a tenth is kept, however few they are at least one of two; ordinary work always has some."""
    kept = budget.minute - budget.minute_limit(reserve=False)
    assert budget.minute_limit(reserve=True) == budget.minute
    assert kept == (min(60, max(1, budget.minute // 10)) if budget.minute > 1 else 0)
    assert budget.minute_limit(reserve=False) > 0


def test_only_revocations_and_locks_may_use_what_is_kept() -> None:
    """No other operation may spend the last calls."""
    assert {each.vendor for each in OPERATIONS.values() if each.limits.reserve} == {
        "revokeTradingPermissions", "setAdminAutoLiqAction",
    }  # fmt: skip


def test_a_budget_has_the_numbers_of_the_settings() -> None:
    """The hour, the minute, and the longest time that a call takes are settings."""
    settings = load(
        RunSettings,
        {
            **COMPLETE,
            "TRADOVATE_HOURLY_BUDGET": "300",
            "TRADOVATE_MINUTE_BUDGET": "20",
            "TRADOVATE_TIMEOUT_SECONDS": "10",
        },
    )
    assert Budget.of(settings) == Budget(300, 20, timedelta(seconds=15))
