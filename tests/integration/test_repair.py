"""Repairs beside replicas that work: whatever comes in between, a flow ends once a round, and nothing is left over."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable
from dataclasses import replace

import asyncpg
import pytest

from schemas.events import Account, TraderPurchased
from schemas.outcomes import Status
from tests.support import oracle
from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.stage import Here, Stage
from tests.support.waiting import eventually
from worker.engine.operator import NotPossible, Obstacle
from worker.ledger import ended_counts, holds
from worker.ledger.operator_actions import OperatorActions
from worker.partner.operations import OPERATIONS


def repairer(
    here: Here, looked_up: Callable[[str], bool] = lambda name: OPERATIONS[name].recovery.look_up is not None
) -> OperatorActions:
    return OperatorActions(here.replica.ledger, looked_up)


async def flow_id(on: Stage, event_id: str) -> uuid.UUID:
    rows = await eventually(lambda: on.rows("select id from flow where event_id = $1", event_id))
    found: uuid.UUID = rows[0]["id"]
    return found


async def failed(on: Stage, number: int = 1) -> TraderPurchased:
    """A purchase that Tradovate has refused once; the event, for its retry."""
    event = purchase(number)
    name = event["user"]["name"]
    on.fault("poison", "/user/createEvaluationUsers", contains=name, form="item", body="No", times=1)
    await on.buy(event)
    assert (await on.outcome(event))["status"] == "failed"
    return TraderPurchased.model_validate(event)


async def doubtful(on: Stage, number: int = 1) -> None:
    """A purchase in doubt: neither the account's creation nor the look-up had an answer. The partner is well again."""
    on.fault("cut_after", "/user/createEvaluationAccounts", times=1)
    for path in ("/account/find", "/account/finds"):
        on.fault("status_before", path, status=500)
    await on.buy(purchase(number))
    assert (await on.outcome(f"e-{number}"))["status"] == "in_doubt"
    on.partner.sandbox.core.faults.clear()


async def waiting(on: Stage) -> uuid.UUID:
    """A purchase that waits for a trader whom nobody has seen."""
    event = purchase(1)
    del event["user"]
    await on.buy(event)
    await eventually(lambda: on.steps("state = 'waiting' and lease is null"))
    return await flow_id(on, "e-1")


async def test_cancelling_what_is_being_worked_on_loses_and_doubles_nothing(stage: Stages) -> None:
    """Flows that are cancelled while replicas send their steps end once each, cancelled or not, with nothing open."""
    on = await stage(BATCH_LINGER_MS="20")
    here = await on.replica()
    on.fault("delay", "*", seconds=0.02)
    events = [purchase(number, trader=number // 2, contact=True) for number in range(30)]
    await on.buy(*events)
    repair, refused = repairer(here), 0

    async def cancel(event_id: str) -> None:
        nonlocal refused
        found = await flow_id(on, event_id)
        for _ in range(3):
            try:
                await repair.cancel(found, "no more", "test")
            except NotPossible:
                refused += 1

    await asyncio.gather(*(cancel(event["eventId"]) for event in events))
    outcomes = await on.all_ended()
    await oracle.nothing_stuck(on)
    oracle.one_outcome_an_event(on)
    oracle.once_in_effect(on)
    cancelled = [outcome for outcome in outcomes if outcome["errorCode"] == "cancelled"]
    assert cancelled
    assert len(cancelled) + refused == 3 * len(events)
    made = on.effects["accounts_by_name"]
    for outcome in cancelled:  # nothing was on its way that the outcome did not tell
        assert outcome["accountName"] is not None or f"EVAL{outcome['orderId']}" not in made


async def test_what_is_sent_is_not_cancelled(stage: Stages) -> None:
    """A call that is under way, or may have taken effect, runs to its end; a cancellation changes nothing."""
    on = await stage(TRADOVATE_SETTLE_SECONDS="1")
    here = await on.replica()
    on.fault("delay", "/user/createEvaluationUsers", seconds=0.5, times=1)
    on.fault("cut_after", "/user/createEvaluationUsers", times=1)
    await on.buy(purchase(1))
    await eventually(lambda: on.steps("state = 'in_flight'"))
    with pytest.raises(NotPossible, match=re.escape(Obstacle.CALL_UNDER_WAY.value[:30])):
        await repairer(here).cancel(await flow_id(on, "e-1"), "why", "test")
    await eventually(lambda: on.steps("state = 'unknown'"))
    with pytest.raises(NotPossible, match=re.escape(Obstacle.CALL_UNKNOWN.value[:30])):
        await repairer(here).cancel(await flow_id(on, "e-1"), "why", "test")
    assert (await on.outcome("e-1"))["status"] == "succeeded"
    oracle.once_in_effect(on)


async def test_a_step_that_ends_while_it_is_cancelled_takes_its_successor_along(stage: Stages) -> None:
    """A flow that moves on between the look and the lock is cancelled at its new step, which stays behind nowhere."""
    on = await stage()
    here = await on.replica()
    found = await waiting(on)
    await here.stop()
    other = await asyncpg.connect(on.database_url)
    move = other.transaction()
    await move.start()
    await other.execute("update step set state = 'done', ended_at = now() where flow_id = $1", found)
    await other.execute(
        "insert into step (flow_id, operation, rank, state, trader_key, due)"
        " values ($1, 'createEvaluationUsers', 5, 'due', 't:cust-1', now())",
        found,
    )
    cancelling = asyncio.create_task(repairer(here).cancel(found, "no more", "test"))
    waits = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    await eventually(lambda: on.rows(waits))
    await move.commit()
    await other.close()
    await cancelling
    assert {row["state"] for row in await on.steps()} == {"done", "refused"}
    assert [row["state"] for row in await on.rows("select state from flow")] == ["failed"]
    await here.replica.database.close()


async def test_a_cancelled_flow_tells_what_has_become_known_since(stage: Stages) -> None:
    """The outcome of an operator's cancellation names the user who has become known meanwhile."""
    on = await stage()
    here = await on.replica()
    async with here.replica.database.transaction() as connection:
        await holds.pause(connection, "createEvaluationUsers", "a look")
    await on.buy(purchase(1))
    flow = await flow_id(on, "e-1")
    await on.rows("update trader set user_id = 777 where trader_id = 'cust-1' returning 1")
    await repairer(here).cancel(flow, "a mistake", "ada")
    assert (await on.outcome("e-1"))["userId"] == 777


async def test_of_two_retries_at_once_one_is_made(stage: Stages) -> None:
    """Two people who retry a flow in the same moment start one round; of ended flows it is counted as the last one."""
    on = await stage()
    here = await on.replica()
    event = await failed(on)
    await on.rows("update flow set ended_at = ended_at - interval '1 hour'")
    assert await ended_counts.count_on(here.replica.database)
    found, repair = await flow_id(on, "e-1"), repairer(here)
    done = await asyncio.gather(*(repair.retry(found, event, "why", "test") for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(each, NotPossible) for each in done) == 3
    await eventually(lambda: len(on.wire.outcomes_of("e-1")) == 2, 20)
    assert [row["round"] for row in await on.rows("select round from flow")] == [1]
    counted = await ended_counts.ended_flows(here.replica.database)
    assert {state: flows for (_, state), flows in counted.items()} == {"failed": 0, "succeeded": 1}
    assert len(await on.rows("select 1 from note")) == 1
    await oracle.nothing_stuck(on)
    oracle.once_in_effect(on)


async def test_what_nobody_can_look_up_is_sent_again_only_when_an_operator_says_so(stage: Stages) -> None:
    """A step in doubt without a look-up is refused a retry, and is retried when an operator saw that it was not
    made.
    """
    on = await stage(RETRY_FOR_SECONDS="1")
    here = await on.replica()
    await doubtful(on)
    found, blind = await flow_id(on, "e-1"), repairer(here, lambda _operation: False)
    with pytest.raises(NotPossible, match=re.escape(Obstacle.NOT_SEEN.value[:30])):
        await blind.retry(found, None, "why", "test")
    assert [row["state"] for row in await on.rows("select state from flow")] == ["in_doubt"]
    await blind.retry(found, None, "why", "test", not_made=True)
    await eventually(lambda: len(on.wire.outcomes_of("e-1")) == 2, 20)
    await oracle.nothing_stuck(on)


async def test_a_flow_in_doubt_can_be_resolved_after_its_event_is_gone(stage: Stages) -> None:
    """After thirty days the event is deleted, and an operator can still say how the flow ended."""
    on = await stage(RETRY_FOR_SECONDS="1")
    here = await on.replica()
    await doubtful(on)
    await on.rows("update flow set body = null")
    outcomes = await repairer(here).resolve(
        await flow_id(on, "e-1"), Status.FAILED, {"accountId": 77}, "nothing there", "test"
    )
    assert [row.status for row in outcomes] == ["failed"]
    await eventually(lambda: len(on.wire.outcomes_of("e-1")) == 2, 20)
    last = on.wire.outcomes_of("e-1")[-1]
    assert (last["errorCode"], last["errorText"], last["accountId"]) == ("cancelled", "nothing there", 77)
    (order,) = await on.rows("select state, error_text from business_order")
    assert tuple(order) == ("failed", "nothing there")


async def test_a_retried_product_is_what_the_catalogue_has_now(stage: Stages) -> None:
    """A purchase of a product that is retried is kept with the account that the product stands for."""
    on = await stage()
    here = await on.replica()
    event = await failed(on)
    ledger, found = here.replica.ledger, await flow_id(on, "e-1")
    await here.stop()
    account = Account(templateAccountId=12, initialBalance=25_000)
    by_product = event.model_copy(update={"account": None, "product": "EVAL-25K"})
    known = replace(ledger, rules=replace(ledger.rules, products={"EVAL-25K": account}))
    await OperatorActions(known, lambda _operation: True).retry(found, by_product, "why", "test")
    async with here.replica.database.connection() as connection:
        kept = await ledger.read_flow(connection, found)
    await here.replica.database.close()
    assert kept is not None
    assert isinstance(kept.event, TraderPurchased)
    assert kept.event.account == account
    assert [step["state"] for step in await on.steps("state not in ('done', 'refused')")] == ["unknown"]


async def test_what_is_in_the_wrong_state_is_left_as_it_is(stage: Stages) -> None:
    """A flow that has succeeded is neither cancelled nor resolved nor retried, and the sentence says how it stands."""
    on = await stage()
    here = await on.replica()
    await on.buy(purchase(1))
    await on.outcome("e-1")
    found, repair = await flow_id(on, "e-1"), repairer(here)
    for act in (
        repair.cancel(found, "why", "test"),
        repair.resolve(found, Status.SUCCEEDED, {}, "why", "test"),
        repair.retry(found, None, "why", "test"),
    ):
        with pytest.raises(NotPossible, match="The flow is"):
            await act
    with pytest.raises(NotPossible, match=re.escape(Obstacle.NO_FLOW.value[:30])):
        await repair.cancel(uuid.uuid4(), "why", "test")
    assert await on.rows("select 1 from note") == []
