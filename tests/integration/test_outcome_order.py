"""The outcomes of one flow are published in their order, however many replicas publish, and however slow one is."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from tests.integration.test_flows_passed import poll
from tests.support.events import purchase
from tests.support.firm import Firm, application
from tests.support.spine import Stages
from tests.support.stage import Stage
from tests.support.waiting import eventually
from worker.ledger.database import Database
from worker.ledger.outbox import Outbox

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

LATER = """
insert into outcome (outcome_id, flow_id, topic, event_id, status, body, lease_until)
select 'later', flow_id, topic, event_id, status, body, clock_timestamp() - interval '1 s' from outcome
"""


@pytest.mark.crash
@pytest.mark.timeout(120)
async def test_pending_comes_before_the_final_outcome_with_several_publishers(real_stage: Stages) -> None:
    """A replica freezes with `pending` in its hand and another one brings the flow to its end: the final outcome waits,
    and comes after `pending`.
    """
    firm = Firm(await real_stage())
    on = firm.stage
    slow = on.process("before_publish:1:SIGSTOP")
    await slow.ready()
    ((user, _, _),) = firm.seed()
    event = await firm.send("trader.passed", traderId="t", userId=user, orderId="F-1", application=application())
    await slow.frozen()
    # On a machine that is busy with other tests the next lines may take longer than the lease, which the other replica
    # would then take over, rightly.
    (pending,) = await on.rows("select id, lease_until from outcome")
    await on.rows("update outcome set lease_until = now() + interval '1 hour'")
    (flow,) = await on.rows("select facts->>'requestId' as request from flow")
    on.process()
    firm.review(int(flow["request"]), "Approved", accountId=4242)
    await eventually(lambda: _polled(firm), 30)
    # By the time that this one's outcome is there, the other replica has published all that it may.
    await on.wire.send(purchase(1))
    await on.outcome("e-1")
    assert firm.statuses(event) == []
    await on.rows("update outcome set lease_until = $2 where id = $1", pending["id"], pending["lease_until"])
    slow.thaw()
    await firm.ended(event)
    assert firm.statuses(event) == [("pending", "Preapproved"), ("succeeded", "Approved")]
    await eventually(lambda: _none_left(on))


async def _polled(firm: Firm) -> bool:
    await poll(firm)
    return bool(await firm.stage.rows("select 1 from flow where state = 'succeeded'"))


async def test_an_outcome_waits_for_the_earlier_ones_of_its_flow(stage: Stages) -> None:
    """What a dead replica left is taken over one outcome of a flow after the other, under the headers that it would
    have had: while `pending` may still be published by another replica, or has been claimed and is not noted, the final
    one is left where it is.
    """
    on, outbox = await _two_outcomes(stage)
    async with outbox.database.connection() as connection:
        assert await outbox.unpublished() == []
        await connection.execute("update outcome set lease_until = clock_timestamp() - interval '1 s'")
    (first,) = await outbox.unpublished()
    (published,) = (each for each in on.wire.heard if each.topic.endswith(".outcome"))
    assert {name: text.encode() for name, text in first.headers.items()} == published.header
    assert published.header["traceparent"] == TRACE
    assert await outbox.unpublished() == []
    await outbox.published([first.id])
    (second,) = await outbox.unpublished()
    assert first.id < second.id
    await outbox.database.close()
    assert await on.rows("select 1 from outcome where published_at is not null")


async def test_an_outcome_that_is_being_claimed_holds_back_the_next(stage: Stages) -> None:
    """Two replicas look for what a dead one left in the same moment: one gets `pending`, and the other does not get the
    final outcome beside it.
    """
    on, outbox = await _two_outcomes(stage)
    await on.rows("update outcome set lease_until = clock_timestamp() - interval '1 s'")
    other = await asyncpg.connect(on.database_url)
    claiming = other.transaction()
    await claiming.start()
    await other.fetch("select id from outcome order by id limit 1 for update")
    assert await outbox.unpublished() == []
    await claiming.rollback()
    await other.close()
    assert len(await outbox.unpublished()) == 1
    await outbox.database.close()


async def _two_outcomes(stage: Stages) -> tuple[Stage, Outbox]:
    """A flow with two outcomes that are not published, the first of them leased to another replica for an hour."""
    on = await stage()
    here = await on.replica()
    await on.wire.send(purchase(1), headers=(("traceparent", TRACE),))
    await on.outcome(purchase(1))
    await here.stop()
    await on.rows("update outcome set published_at = null, lease_until = clock_timestamp() + interval '1 hour'")
    await on.rows(LATER)
    return on, Outbox(Database(on.database_url))


async def test_a_burst_of_outcomes_of_one_flow_keeps_its_order(stage: Stages) -> None:
    """Outcomes of one flow that lie ready together go out one after the other, at once and in their order."""
    on = await stage()
    here = await on.replica()
    await on.buy(purchase(1))
    await on.all_ended()
    await here.stop()
    await on.rows(
        "insert into outcome (outcome_id, flow_id, topic, event_id, status, record_key, body, lease_until)"
        " select n::text, flow_id, topic, event_id, status, ('k' || n)::bytea,"
        " replace(convert_from(body, 'utf8'), outcome_id, n::text)::bytea, clock_timestamp()"
        " from outcome, generate_series(1, 6) as n"
    )
    await on.replica()
    await asyncio.wait_for(_all_noted(on), 20)
    rows = await on.rows("select outcome_id from outcome where outcome_id < 'a' and length(outcome_id) = 1"
                         " order by published_at")  # fmt: skip
    assert [row["outcome_id"] for row in rows] == ["1", "2", "3", "4", "5", "6"]


async def _all_noted(on: Stage) -> None:
    await eventually(lambda: _none_left(on), 20)


async def _none_left(on: Stage) -> bool:
    return not await on.rows("select 1 from outcome where published_at is null")
