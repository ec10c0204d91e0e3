"""The next call of a flow, begun in the transaction that accepts its event or records its last result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from schemas.events import TraderPurchased
from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.stage import Stage
from tests.support.work import ACCOUNTS, USERS
from worker.dispatch.operation_rules import kind_of
from worker.engine.memory import EMPTY
from worker.engine.rows import Finish, IncomingEvent, Later
from worker.engine.states import StepState
from worker.ledger import holds
from worker.ledger.call_log import EndedCall, begin_lock
from worker.ledger.next_call import NextCall
from worker.partner.operations import OPERATIONS
from worker.replies import Answer
from worker.results import Succeeded
from worker.wiring.replica import Replica


@dataclass
class Hands:
    """A replica whose loops have ended: what it does to the ledger is the test's choice."""

    on: Stage
    replica: Replica
    generation: int

    def next_call(self) -> NextCall:
        kinds = {name: kind_of(OPERATIONS[name], self.replica.dispatcher.claims.budget) for name in (USERS, ACCOUNTS)}
        return NextCall(self.replica.dispatcher.claims, kinds, self.generation)

    async def accept(self, next_call: NextCall, body: Mapping[str, Any] | None = None) -> None:
        body = body or purchase(1)
        event = TraderPurchased.model_validate(body)
        await self.replica.ledger.accept(
            [IncomingEvent("trader.purchased", body["eventId"], event, None, 0, 0)], (), next_call
        )

    async def states(self) -> list[tuple[str, str, int]]:
        """Operation, state and calls of each step."""
        rows = await self.on.rows("select operation, state, cardinality(call_ids) as calls from step order by id")
        return [(row["operation"], row["state"], row["calls"]) for row in rows]


@pytest.fixture
async def hands(stage: Stages) -> Any:
    on = await stage()
    replica = (here := await on.replica()).replica
    await here.stop()
    async with replica.database.connection() as connection:
        generation = await connection.fetchval("select generation from session")
    yield Hands(on, replica, generation)
    await replica.database.close()


async def test_the_first_call_is_begun_with_the_event(hands: Hands) -> None:
    """When an event is accepted its first step is in flight, and its call is in the call log."""
    await hands.accept(following := hands.next_call())
    [(operation, batch)] = following.batches
    assert (operation, len(batch.steps)) == (USERS, 1)
    assert following.all_begun
    assert await hands.states() == [(USERS, "in_flight", 1)]
    assert [row["id"] for row in await hands.on.rows("select id from call where kind = 'send'")] == [batch.call_id]


async def test_the_next_call_is_begun_with_the_result(hands: Hands) -> None:
    """When the result of a call is recorded, the flow's next step is in flight."""
    await hands.accept(first := hands.next_call())
    [(_, batch)] = first.batches
    [step] = batch.steps
    moves = [(step, Finish(Succeeded({"userId": 29721})))]
    await hands.replica.ledger.record(
        batch.lease, moves, EndedCall(batch.call_id, Answer({})), next_call=(second := hands.next_call())
    )
    assert [operation for operation, _ in second.batches] == [ACCOUNTS]
    assert second.all_begun
    assert await hands.states() == [(USERS, "done", 1), (ACCOUNTS, "in_flight", 1)]


async def test_what_goes_back_into_a_queue_is_looked_for(hands: Hands) -> None:
    """A step that is to be sent again, or that another flow's wait has become, is not said to have been begun."""
    await hands.accept(first := hands.next_call())
    [(_, batch)] = first.batches
    moves = [(step, Later(StepState.DUE, timedelta(0), 0.0, EMPTY)) for step in batch.steps]
    await hands.replica.ledger.record(
        batch.lease, moves, EndedCall(batch.call_id, Answer({})), next_call=(again := hands.next_call())
    )
    assert (again.batches, again.all_begun) == ([], False)


async def test_what_another_flow_waits_for_is_looked_for(hands: Hands) -> None:
    """A purchase whose trader another one makes waits for it: when that has ended, the second one is due."""
    await hands.accept(first := hands.next_call())
    [(_, batch)] = first.batches
    await hands.accept(second := hands.next_call(), {**purchase(1), "eventId": "e-2", "orderId": "2"})
    assert (second.batches, second.all_begun) == ([], False)
    moves = [(step, Finish(Succeeded({"userId": 29721}))) for step in batch.steps]
    await hands.replica.ledger.record(
        batch.lease, moves, EndedCall(batch.call_id, Answer({})), next_call=(third := hands.next_call())
    )
    assert [operation for operation, _ in third.batches] == [ACCOUNTS]
    assert not third.all_begun


async def test_what_is_held_is_not_begun(hands: Hands) -> None:
    """A pause holds for a call that is begun beside a result like for any other: the step is due."""
    async with hands.replica.database.transaction() as connection:
        await holds.pause(connection, USERS, "a test")
    await hands.accept(following := hands.next_call())
    assert following.batches == []
    assert not following.all_begun
    assert await hands.states() == [(USERS, StepState.DUE.value, 0)]


async def test_it_does_not_wait_for_others_that_begin_calls(hands: Hands) -> None:
    """While calls are begun elsewhere the event is accepted, and its step is due."""
    async with hands.replica.database.transaction() as other:
        await begin_lock(other)
        await hands.accept(following := hands.next_call())
    assert following.batches == []
    assert await hands.states() == [(USERS, StepState.DUE.value, 0)]


async def test_a_token_that_has_been_replaced_sends_nothing(hands: Hands) -> None:
    """A call is begun only for the token that it will be sent with."""
    following = hands.next_call()
    following.generation += 1
    await hands.accept(following)
    assert following.batches == []


async def test_a_lease_whose_transaction_was_lost_is_given_up(hands: Hands) -> None:
    """Its commit may not have been answered: the step is due again at the next look for leases, and no call counts."""
    await hands.accept(following := hands.next_call())
    hands.replica.ledger._given_up.update(following.leases)
    assert await hands.replica.ledger.reap(hands.replica.dispatcher.settle) == 1
    assert await hands.states() == [(USERS, StepState.DUE.value, 1)]
    assert [row["result"] for row in await hands.on.rows("select result from call where kind = 'send'")] == ["not_sent"]


_NOTED = """
create table noted (kind text, id bigint, transaction text);
create function note() returns trigger language plpgsql as $$
begin
    insert into noted values (tg_table_name, new.id, pg_current_xact_id()::text);
    return new;
end $$;
create trigger note_step after insert on step for each row execute function note();
create trigger note_call after insert on call for each row execute function note();
"""


async def test_a_lone_purchase_begins_its_calls_beside_what_comes_before(stage: Stages) -> None:
    """A replica that has nothing else to do writes each step of a purchase and the step's call in one transaction."""
    on = await stage()
    here = await on.replica()
    await on.buy(purchase(1))  # logs in, and finds that nothing else is due
    await on.outcome("e-1")
    async with here.replica.database.connection() as connection:
        await connection.execute(_NOTED)
    await on.buy(purchase(2))
    await on.outcome("e-2")
    rows = await on.rows(
        "select step.operation, made.transaction = begun.transaction as together from step"
        " join flow on flow.id = step.flow_id"
        " join noted as made on made.kind = 'step' and made.id = step.id"
        " join noted as begun on begun.kind = 'call' and begun.id = step.call_ids[1]"
        " where flow.event_id = 'e-2' order by step.id"
    )
    assert [(row["operation"], row["together"]) for row in rows] == [(USERS, True), (ACCOUNTS, True)]
