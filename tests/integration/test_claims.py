"""Claiming on a real ledger: with which event a call is made."""

from __future__ import annotations

import pytest

from schemas.events import NewUser, TraderPurchased
from tests.support.events import purchase
from tests.support.spine import Stages
from worker.engine.rows import IncomingEvent
from worker.ledger.budget import Closed
from worker.ledger.claims import CallKind
from worker.partner.operations.users import CREATE_USERS


@pytest.mark.parametrize("round_", [0, 1], ids=["the same round", "another round"])
async def test_a_call_is_made_with_the_event_of_its_round(stage: Stages, round_: int) -> None:
    """What a replica has in hand since intake serves its round alone: an operator who retries gives the flow
    another.
    """
    on = await stage()
    replica = (here := await on.replica()).replica
    await here.stop()
    first = TraderPurchased.model_validate(purchase(1))
    assert isinstance(first.user, NewUser)
    second = first.model_copy(update={"user": first.user.model_copy(update={"name": "second"})})
    await replica.ledger.accept([IncomingEvent("trader.purchased", "e-1", first, None, 0, 0)])
    async with replica.database.connection() as connection:
        kept = replica.ledger.vault.seal(second.keep())
        await connection.execute("update flow set round = $1, body = $2", round_, kept)
        generation = await connection.fetchval("select generation from session")
    lanes, _ = await replica.ledger.survey([CREATE_USERS.name])
    kind = CallKind(CREATE_USERS.name, CREATE_USERS.domain, CREATE_USERS.limits.rank, 100, reserve=False, per_hour=None)
    batches = await replica.dispatcher.claims.sends(kind, lanes[0], 100, generation)
    await replica.database.close()
    assert not isinstance(batches, Closed)
    [step] = batches[0].steps
    assert isinstance(step.flow.event, TraderPurchased)
    assert isinstance(step.flow.event.user, NewUser)
    assert step.flow.event.user.name == ("second" if round_ else first.user.name)
