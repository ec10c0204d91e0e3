"""Departures and the calendar, on a database whose clock the test sets: the trading day's end, and a month's end."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

import pytest

from schemas.chicago import CHICAGO
from schemas.events import TraderLeft
from tests.support.clocks import DatabaseTime
from tests.support.firm import Firm
from tests.support.spine import Stages
from tests.support.stage import Here
from tests.support.waiting import eventually
from worker.engine.rows import IncomingEvent

CANCEL = "/user/cancelEverything"


MONDAY_TO_THURSDAY, SUNDAY = {0, 1, 2, 3}, {6}


def a_day(weekdays: set[int], *, month_end: bool = False) -> date:
    """The last such day that has ended: the broker takes no outcome that is dated in the future."""
    day = datetime.now(CHICAGO).date() - timedelta(days=2)
    while day.weekday() not in weekdays or (month_end and (day + timedelta(days=1)).day != 1):
        day -= timedelta(days=1)
    return day


def chicago(day: date, clock: str) -> datetime:
    """A wall-clock time in Chicago."""
    return datetime.combine(day, time.fromisoformat(clock), CHICAGO)


async def leave(here: Here, user: int, *, immediate: bool = False) -> str:
    """A departure that comes now, by the database's clock; its event id."""
    event = f"left-{user}"
    body = TraderLeft.model_validate({"eventId": event, "userId": user, "immediate": immediate})
    await here.replica.ledger.accept([IncomingEvent("trader.left", event, body, None, 0, 0)])
    return event


@pytest.mark.parametrize(
    ("day", "came", "before", "due"),
    [
        (a_day(MONDAY_TO_THURSDAY), "10:00", "17:14:50", "17:15"),
        (a_day(MONDAY_TO_THURSDAY, month_end=True), "17:20", "17:59:50", "18:00"),  # after its trading day
        (a_day(SUNDAY, month_end=True), "17:20", "17:59:50", "18:00"),  # Monday's trading day is under way
    ],
    ids=["a day", "a month's end", "a Sunday"],
)
async def test_a_departure_waits_for_its_time(stage: Stages, day: date, came: str, before: str, due: str) -> None:
    """It is pending at once and nothing is called; at its time, and not before, it is executed."""
    firm = Firm(await stage())
    on, clock = firm.stage, DatabaseTime(firm.stage.database_url)
    await clock.set(chicago(day, came))
    here = await on.replica()
    ((user, _, permission),) = firm.seed()
    event = await leave(here, user)
    await firm.outcome_with(event, "pending")
    (step,) = await on.steps("state = 'waiting'")
    assert step["due"] == chicago(day, due)
    await clock.set(chicago(day, before))
    early = await here.replica.ledger.replan()
    assert early is None
    assert on.count(CANCEL) == 0
    await clock.set(chicago(day, due))
    assert (await firm.ended(event))["status"] == "succeeded"
    assert firm.permission(permission)["status"] == "Revoked"
    assert [status for status, _ in firm.statuses(event)] == ["pending", "succeeded"]


async def test_after_half_past_six_of_a_months_last_day_it_is_executed_at_once(stage: Stages) -> None:
    """There is nothing to wait for: what the user has at 19:00 is billed."""
    firm = Firm(await stage())
    day = a_day(MONDAY_TO_THURSDAY, month_end=True)
    await DatabaseTime(firm.stage.database_url).set(chicago(day, "18:40"))
    here = await firm.stage.replica()
    ((user, _, _),) = firm.seed()
    outcome = await firm.ended(await leave(here, user))
    assert (outcome["status"], outcome["warnings"]) == ("succeeded", [])
    assert [status for status, _ in firm.statuses(outcome["eventId"])] == ["succeeded"]


async def test_what_could_not_be_done_before_the_renewal_is_said(stage: Stages) -> None:
    """LIVE is away until after 19:00: the outcome warns that another month is billed."""
    firm = Firm(await stage())
    on, clock = firm.stage, DatabaseTime(firm.stage.database_url)
    day = a_day(MONDAY_TO_THURSDAY, month_end=True)
    await clock.set(chicago(day, "18:40"))
    on.fault("cut_before", CANCEL, domain="live")
    here = await on.replica()
    ((user, _, _),) = firm.seed()
    event = await leave(here, user)
    await eventually(lambda: on.count(CANCEL))
    await clock.set(chicago(day, "19:00:01"))
    on.partner.sandbox.core.faults.clear()
    outcome = await firm.ended(event)
    assert outcome["status"] == "succeeded"
    assert f"{day:%d %B %Y}" in outcome["warnings"][0]
