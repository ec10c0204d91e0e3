"""Leases that a replica gives up when the database is unavailable for a moment: the steps go on when it is back."""

from __future__ import annotations

import asyncio

import pytest

from schemas.events import TraderPurchased
from tests.support.events import purchase
from tests.support.firm import Firm
from tests.support.spine import Stages
from tests.support.waiting import eventually
from worker.embedded import EmbeddedPostgres
from worker.engine.rows import IncomingEvent
from worker.ledger.budget import Closed
from worker.ledger.claims import CallKind
from worker.ledger.errors import Cause, DatabaseUnavailable
from worker.partner.operations.users import CREATE_USERS

USERS = "/user/createevaluationusers"
LONG = "300"
"""Seconds that a call may last, and a lease five more: far beyond what any of these tests waits for."""


async def test_a_look_up_goes_on_when_the_database_is_back(
    fragile_stage: Stages, own_postgres: EmbeddedPostgres
) -> None:
    """A database that is unavailable while a look-up reads costs the steps no lease time."""
    on = await fragile_stage(TRADOVATE_TIMEOUT_SECONDS=LONG)
    on.fault("cut_after", USERS, times=1)
    on.fault("delay", "/user/find", times=1, seconds=1.5)
    await on.replica()
    await on.buy(purchase(1))
    await eventually(lambda: on.count("/user/find"))
    await asyncio.to_thread(own_postgres.down)
    await eventually(lambda: on.calls("/user/find")[0].get("ended_at"))
    await asyncio.to_thread(own_postgres.up)
    assert (await on.outcome("e-1"))["status"] == "succeeded"
    assert on.count(USERS) == 1


async def test_a_wait_that_cannot_be_planned_is_planned_again_at_once(stage: Stages) -> None:
    """A connection that is cut while a wait is planned again costs the flow no lease time."""
    firm = Firm(await stage(UNKNOWN_WAIT_SECONDS="1"))
    on = firm.stage
    here = await on.replica()
    event = await firm.send("trader.left", traderId="cust-9", immediate=True)
    await eventually(lambda: on.steps("state = 'waiting'"))
    async with here.replica.database.transaction() as connection:
        await connection.execute("select 1 from trader where trader_id = 'cust-9' for update")
        await eventually(lambda: on.steps("state = 'waiting' and lease is not null"), 20)
        await eventually(
            lambda: on.rows(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and wait_event_type = 'Lock'"
            )
        )
    outcome = await firm.ended(event, 15)
    assert outcome["errorCode"] == "not_found"


async def test_what_was_claimed_and_not_sent_is_due_again(stage: Stages) -> None:
    """A claim whose commit was not answered is undone: the step is due, and its call counts for nothing."""
    on = await stage(TRADOVATE_TIMEOUT_SECONDS=LONG)
    replica = (here := await on.replica()).replica
    await here.stop()
    body = purchase(1)
    event = IncomingEvent("trader.purchased", "e-1", TraderPurchased.model_validate(body), None, 0, 0)
    await replica.ledger.accept([event])
    async with replica.database.connection() as connection:
        generation = await connection.fetchval("select generation from session")
    lanes, _ = await replica.ledger.survey([CREATE_USERS.name])
    kind = CallKind(CREATE_USERS.name, CREATE_USERS.domain, CREATE_USERS.limits.rank, 100, reserve=False, per_hour=None)
    batches = await replica.dispatcher.claims.sends(kind, lanes[0], 100, generation)
    assert not isinstance(batches, Closed)
    with pytest.raises(DatabaseUnavailable), replica.ledger.giving_up([batches[0].lease]):
        raise DatabaseUnavailable(Cause.UNREACHABLE)
    assert await replica.ledger.reap(replica.dispatcher.settle) == 1
    assert await replica.ledger.reap(replica.dispatcher.settle) == 0
    await replica.database.close()
    (step,) = await on.steps()
    (call,) = await on.rows("select result, finished_at from call where kind = 'send'")
    assert (step["state"], step["attempts"], step["lease"], call["result"]) == ("due", 0, None, "not_sent")
