"""What one transaction writes besides the steps: the call's own end, ids, and who is tied to whom."""

from __future__ import annotations

import asyncio
import uuid

from schemas.events import TraderPurchased
from tests.support.events import purchase
from tests.support.firm import Firm
from tests.support.spine import Stages
from worker.engine.rows import Finish, IncomingEvent
from worker.ledger.budget import Closed
from worker.ledger.call_log import EndedCall
from worker.ledger.claims import CallKind
from worker.partner.operations.users import CREATE_USERS
from worker.replies import Answer
from worker.results import Succeeded

RESET = "/account/resetdemoaccountstate"


async def test_the_end_of_a_call_is_written_with_what_came_of_it(stage: Stages) -> None:
    """When an outcome is there, its calls have ended in the call log, with the partner's kind of answer."""
    on = await stage()
    await on.replica()
    await on.buy(purchase(1))
    await on.all_ended()
    calls = await on.rows("select result, http_status, finished_at from call where kind = 'send'")
    assert {(call["result"], call["http_status"], call["finished_at"] is None) for call in calls} == {
        ("answer", 200, False)
    }


async def test_the_ids_of_an_ended_flow_are_in_their_columns(stage: Stages) -> None:
    """Searches go by columns: when a flow has ended its user and its account are there, not in its facts alone."""
    on = await stage()
    await on.replica()
    await on.buy(purchase(1))
    (outcome,) = await on.all_ended()
    (flow,) = await on.rows("select trader_id, user_id, account_id from flow")
    assert dict(flow) == {
        "trader_id": outcome["traderId"],
        "user_id": outcome["userId"],
        "account_id": outcome["accountId"],
    }


async def test_an_answer_between_two_errors_ends_the_streak(stage: Stages) -> None:
    """Two 5xx with an answer in between are no sign of a closed session: nothing is renewed."""
    firm = Firm(await stage(RETRY_BASE_SECONDS="0.1"))
    await firm.stage.replica()
    ((_, account, _),) = firm.seed()
    for nth in (1, 3):
        firm.stage.fault("status_before", RESET, nth=nth, status=500)
    for day in (19, 20):
        outcome = await firm.outcome("account.reset", accountId=account, tradeDate=f"2026-11-{day}")
        assert outcome["status"] == "succeeded"
    assert firm.stage.count(RESET) == 4
    assert firm.stage.count("/auth/renewaccesstoken") == 0


async def test_events_of_one_batch_are_tied_by_what_the_last_tells(stage: Stages) -> None:
    """A user that only the second of two events names ties the first one's step too, which waits for it no more."""
    on = await stage()
    replica = (here := await on.replica()).replica
    await here.stop()
    unknown = {name: value for name, value in purchase(1).items() if name != "user"}
    named = {**purchase(2), "traderId": unknown["traderId"], "user": {"userId": 5}}
    await replica.ledger.accept(
        [
            IncomingEvent("trader.purchased", body["eventId"], TraderPurchased.model_validate(body), None, 0, offset)
            for offset, body in enumerate((unknown, named))
        ]
    )
    await replica.database.close()
    steps = await on.rows("select trader_key, due <= clock_timestamp() as ready from step order by id")
    assert [(step["trader_key"], step["ready"]) for step in steps] == [("u:5", True)] * 2


async def test_an_order_that_two_name_at_once_has_one_owner(stage: Stages) -> None:
    """Of two traders whose events name the same new order in the same moment one gets it, the other is a conflict."""
    on = await stage()
    replica = (here := await on.replica()).replica
    await here.stop()
    pairs = [(purchase(number), purchase(100 + number)) for number in range(12)]
    for first, second in pairs:
        second["orderId"] = first["orderId"]
    events = [
        IncomingEvent("trader.purchased", body["eventId"], TraderPurchased.model_validate(body), None, 0, 0)
        for pair in pairs
        for body in pair
    ]
    await asyncio.gather(*(replica.ledger.accept([event]) for event in events))
    await replica.database.close()
    flows = await on.rows(
        "select order_id, count(*) filter (where state = 'open') as owners,"
        " count(*) filter (where error_code = 'conflict') as refused from flow group by 1"
    )
    assert [(flow["owners"], flow["refused"]) for flow in flows] == [(1, 1)] * 12


async def test_what_is_no_longer_ours_keeps_nothing_else_from_being_written(stage: Stages) -> None:
    """Of a call's steps one has been taken by another replica: that one is left alone, the others are recorded."""
    on = await stage()
    replica = (here := await on.replica()).replica
    await here.stop()
    events = [purchase(number) for number in (1, 2)]
    await replica.ledger.accept(
        [
            IncomingEvent("trader.purchased", body["eventId"], TraderPurchased.model_validate(body), None, 0, 0)
            for body in events
        ]
    )
    async with replica.database.connection() as connection:
        generation = await connection.fetchval("select generation from session")
    lanes, _ = await replica.ledger.survey([CREATE_USERS.name])
    kind = CallKind(CREATE_USERS.name, CREATE_USERS.domain, CREATE_USERS.limits.rank, 100, reserve=False, per_hour=None)
    batches = await replica.dispatcher.claims.sends(kind, lanes[0], 100, generation)
    assert not isinstance(batches, Closed)
    (batch,) = batches
    lost, kept = batch.steps
    async with replica.database.connection() as connection:
        await connection.execute("update step set lease = $2 where id = $1", lost.id, uuid.uuid4())
    moves = [(step, Finish(Succeeded({"userId": 500 + step.id}))) for step in (lost, kept)]
    await replica.ledger.record(batch.lease, moves, EndedCall(batch.call_id, Answer({})))
    await replica.database.close()
    states = {row["id"]: row["state"] for row in await on.rows("select id, state from step")}
    assert (states[lost.id], states[kept.id]) == ("in_flight", "done")
    assert len(states) == 3  # the next one of the flow that went on


async def test_events_that_come_to_two_replicas_at_once_are_taken_once(stage: Stages) -> None:
    """A batch that is delivered twice in the same moment is written once, and both take it for taken."""
    on = await stage()
    replica = (here := await on.replica()).replica
    await here.stop()
    for number in range(12):
        body = purchase(number)
        event = IncomingEvent("trader.purchased", body["eventId"], TraderPurchased.model_validate(body), None, 0, 0)
        taken = await asyncio.gather(*(replica.ledger.accept([event]) for _ in range(3)))
        assert sorted(intake.accepted.get("trader.purchased", 0) for intake in taken) == [0, 0, 1]
    await replica.database.close()
    assert len(await on.steps()) == 12
