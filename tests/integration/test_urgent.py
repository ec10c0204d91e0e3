"""Revocations go first: whatever hangs, waits or is slow, the next one is sent."""

from __future__ import annotations

import asyncio
import uuid
from functools import partial
from typing import Any

import asyncpg
import pytest

from tests.support.events import purchase
from tests.support.firm import Firm
from tests.support.spine import Stages
from tests.support.stage import Stage
from tests.support.waiting import eventually, others_turn
from worker.dispatch.choose import IN_FLIGHT, URGENT_ONLY
from worker.dispatch.operation_rules import kind_of
from worker.engine.states import StepState
from worker.ledger import holds
from worker.ledger.budget import Closed, Wanted
from worker.ledger.call_log import BEGIN_LOCK, Opened, begin_calls
from worker.ledger.rows import Lane
from worker.partner.operations import OPERATIONS
from worker.wiring.replica import Replica

REVOKE = "revokeTradingPermissions"

LONG = "60"
"""Seconds that a call may last: far beyond what any of these tests waits for."""
LOCKED = 9.0
"""Seconds; a statement gives up a lock, and its connection, after ten."""
SOON = 25.0
"""Seconds within which a revocation has been sent on a busy machine, half as long as what is in its way lasts."""


def hanging(on: Stage) -> int:
    """Calls in flight at the partner."""
    return len(on.partner.sandbox.core.calls.in_flight)


async def _paused(replica: Replica, operation: str) -> None:
    async with replica.database.transaction() as connection:
        await holds.pause(connection, operation, "a look")


async def test_a_held_revocation_keeps_slots_free_for_itself(stage: Stages) -> None:
    """While revocations are paused, calls that hang take no more slots than are theirs; when they are resumed, the
    revocation is sent beside them.
    """
    firm = Firm(await stage(TRADOVATE_TIMEOUT_SECONDS=LONG))
    on = firm.stage
    replica = (await on.replica()).replica
    (permission,) = (row[2] for row in firm.seed())
    await _paused(replica, REVOKE)
    event = await firm.send("trader.failed", traderId="cust-0", tradingPermissionIds=[permission])
    await eventually(lambda: on.steps(f"operation like '{REVOKE}%' and state in ('due', 'unknown')"))
    on.fault("hang", "/contactInfo/updateContactInfo")
    await on.buy(*(purchase(number, contact=True) for number in range(1, 2 * IN_FLIGHT)))
    await eventually(lambda: on.steps("operation = 'updateContactInfo' and state = 'due'"), 40)
    await eventually(lambda: hanging(on) == IN_FLIGHT - URGENT_ONLY, 40)
    async with replica.database.transaction() as connection:
        await holds.resume(connection, REVOKE)
    assert (await firm.ended(event, SOON))["status"] == "succeeded"
    assert hanging(on) == IN_FLIGHT - URGENT_ONLY
    on.partner.sandbox.core.faults.clear()


async def test_a_revocation_is_sent_while_nothing_can_be_recorded(stage: Stages) -> None:
    """Results that wait for locked rows take all connections that they may; a revocation is accepted and sent."""
    firm = Firm(await stage(TRADOVATE_TIMEOUT_SECONDS=LONG, BATCH_LINGER_MS="0"))
    on = firm.stage
    await on.replica()
    (permission,) = (row[2] for row in firm.seed())
    on.fault("delay", "/user/createEvaluationUsers", seconds=8.0)
    for number in range(1, IN_FLIGHT - URGENT_ONLY + 1):
        await on.buy(purchase(number))
        await eventually(partial(_called, on, number), 20)
    holder = await asyncpg.connect(on.database_url)
    async with holder.transaction():
        await holder.execute("select 1 from trader for update")
        await eventually(partial(_waiting, on, 4), 20)
        await firm.send("trader.failed", traderId="t", tradingPermissionIds=[permission])
        await eventually(lambda: on.count(f"/user/{REVOKE}"), LOCKED)
        assert not on.wire.outcomes_of("e-1")
    await holder.close()
    await on.all_ended()


def _called(on: Stage, count: int) -> bool:
    return on.count("/user/createEvaluationUsers") >= count


async def _waiting(on: Stage, count: int) -> bool:
    rows = await on.rows(
        "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    )
    return len(rows) >= count


async def test_one_trader_with_many_steps_slows_nobody(stage: Stages) -> None:
    """Thirty entitlements of one user, which are more urgent and go one at a time, leave the slots to a purchase."""
    firm = Firm(await stage(TRADOVATE_TIMEOUT_SECONDS=LONG))
    on = firm.stage
    replica = (await on.replica()).replica
    await _paused(replica, "addEntitlementSubscription")
    ((user, _, _),) = firm.seed()
    firm.sign(user)
    for number in range(30):
        await firm.send("md.signed", userId=user, entitlementId=100 + number)
    await eventually(partial(_ready, on), 20)
    on.fault("delay", "/userPlugin/addEntitlementSubscription", seconds=5.0)
    async with replica.database.transaction() as connection:
        await holds.resume(connection, "addEntitlementSubscription")
    await eventually(lambda: on.count("/userPlugin/addEntitlementSubscription"), 20)
    await on.buy(purchase(1))
    assert (await on.outcome("e-1", SOON))["status"] == "succeeded"
    on.partner.sandbox.core.faults.clear()


async def _ready(on: Stage) -> bool:
    steps = await on.steps("operation = 'addEntitlementSubscription' and state in ('due', 'unknown')")
    return len(steps) == 30


async def test_the_most_urgent_is_next_behind_the_lock(stage: Stages) -> None:
    """While the lock under which calls are begun is held, look-ups and a revocation queue up; it goes before them."""
    on = await stage()
    replica = (here := await on.replica()).replica
    await here.stop()
    claims = replica.dispatcher.claims
    contact, revoke = OPERATIONS["updateContactInfo"], OPERATIONS[REVOKE]
    await on.rows(
        'insert into flow (id, topic, event_id, partition, "offset", state, asked_at)'
        " values ($1, 't', 'e', 0, 0, 'open', now())",
        flow := uuid.uuid4(),
    )
    await on.rows(
        "insert into step (flow_id, operation, rank, state, trader_key, due) values ($1, $2, 0, 'due', 'u:1', now())",
        flow,
        REVOKE,
    )

    async def read() -> Any:
        return await claims.read(
            contact.name, "contactInfo/deps", "live", uuid.uuid4(), rank=contact.limits.rank, reserve=False,
            generation=generation, asked=b"",
        )  # fmt: skip

    async def send() -> Any:
        lane = Lane(REVOKE, StepState.DUE, None, 1, now, now)
        return await claims.sends(kind_of(revoke, claims.budget), lane, 100, generation)

    ((generation, now),) = await on.rows("select generation, clock_timestamp() from session")
    async with replica.database.transaction() as connection:
        await connection.execute("select pg_advisory_xact_lock($1)", BEGIN_LOCK)
        reads = [asyncio.create_task(read()) for _ in range(8)]
        await eventually(partial(_waiting, on, 1))
        revocation = asyncio.create_task(send())
        await others_turn()  # it stands in the queue
    (batch,) = await revocation
    opened = [(await each)[0].call_ids[0] for each in reads]
    await replica.database.close()
    # One read was at the lock already; the seven others came before the revocation, and go after it.
    assert sorted([*opened, batch.call_id]).index(batch.call_id) == 1


@pytest.mark.parametrize("scope", ["hour", "minute"])
async def test_replicas_keep_the_reserve_for_revocations(stage: Stages, scope: str) -> None:
    """Two replicas that have spent what ordinary calls may of the hour's or the minute's budget still revoke."""
    budget = {"TRADOVATE_HOURLY_BUDGET": "20"} if scope == "hour" else {"TRADOVATE_MINUTE_BUDGET": "20"}
    firm = Firm(await stage(BATCH_LINGER_MAX_SECONDS="0.05", **budget))
    on = firm.stage
    for number in range(2):
        await on.replica(KAFKA_GROUP_ID=f"{on.env['KAFKA_GROUP_ID']}{number}")
    (permission,) = (row[2] for row in firm.seed())
    await on.buy(*(purchase(number, contact=True) for number in range(1, 25)))
    await eventually(lambda: on.rows("select 1 from call offset 17"), 30)
    outcome = await firm.outcome("trader.failed", traderId="t", tradingPermissionIds=[permission], timeout=SOON)
    assert outcome["status"] == "succeeded"
    assert on.state["calls"]["total"] <= 20
    assert len([call for call in on.calls() if call["path"] == "/contactinfo/updatecontactinfo"]) < 17


async def test_two_replicas_never_exceed_the_minutes_budget(stage: Stages) -> None:
    """A stream of single purchases through two replicas makes no more calls in any minute than the budget allows, and
    goes on when a minute has passed.
    """
    on = await stage(TRADOVATE_MINUTE_BUDGET="30", BATCH_LINGER_MS="1", BATCH_LINGER_MAX_SECONDS="0.05")
    for number in range(2):
        await on.replica(KAFKA_GROUP_ID=f"{on.env['KAFKA_GROUP_ID']}{number}")
    sent = 0
    while len(await on.rows("select 1 from call")) < 27 and sent < 100:
        sent += 1
        await on.buy(purchase(sent))
        await eventually(partial(_seen, on, sent))
    await on.buy(*(purchase(number) for number in range(sent + 1, sent + 6)))
    await eventually(lambda: on.steps("state = 'due' and due < clock_timestamp() - interval '1 second'"), 20)
    assert on.state["calls"]["total"] == 27
    await on.rows("update call set at = at - interval '2 minutes', finished_at = finished_at - interval '2 minutes'")
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}


async def _seen(on: Stage, count: int) -> bool:
    return len(await on.rows("select 1 from flow")) >= count


async def test_a_dead_replicas_calls_count_for_the_minute_as_long_as_they_may_last(stage: Stages) -> None:
    """A call without an end counts until the longest time that it may take and a minute have passed."""
    on = await stage(TRADOVATE_TIMEOUT_SECONDS="10")
    replica = (here := await on.replica()).replica
    await here.stop()
    claims = replica.dispatcher.claims
    wanted = Wanted("createEvaluationUsers", "live", "send", "dead")
    room = claims.budget.minute_limit(reserve=False)
    async with replica.database.transaction() as connection:
        opened = await begin_calls(connection, wanted, claims.budget, [1] * 1000)
        assert isinstance(opened, Opened)
        used = await connection.fetchval("select count(*) from call where kind = 'session'")
        assert len(opened.call_ids) == room - used
    for seconds, free in ((70, False), (76, True)):
        async with replica.database.transaction() as connection:
            await connection.execute("update call set at = clock_timestamp() - make_interval(secs => $1)", seconds)
            found = await begin_calls(connection, wanted, claims.budget)
            assert isinstance(found, Opened) is free
            assert free or (isinstance(found, Closed) and found.scope == "minute")
    await replica.database.close()
