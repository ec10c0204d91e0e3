"""An operator's actions on a flow, in the ledger. Safe while replicas work: guarded like any other write.

`worker/engine/operator.py` decides; here the flow is locked with all that it shares, and the action is noted with the
operator's name and reason. Outcomes are left in the outbox for the replica that looks there first.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.events import EVENTS, Event
from schemas.outcomes import Status
from worker.engine import operator
from worker.engine.flows import FLOWS
from worker.engine.operator import NotPossible, Obstacle
from worker.engine.planner import Planner
from worker.engine.rebuilt import PastOutcome
from worker.engine.rows import FlowRow, OpenStep
from worker.engine.states import StepState
from worker.ledger import ended_counts, flows, notes, outbox, steps
from worker.ledger.database import Again, Connection
from worker.ledger.ledger import Ledger
from worker.ledger.rows import OutcomeRow

Found = tuple[FlowRow, Planner, Sequence[OpenStep]]


@dataclass(frozen=True, slots=True)
class OperatorActions:
    """`looked_up` tells whether an operation has a look-up: then a retry looks before it sends.

    All raise `NotPossible`. The outcomes they return are for any replica to publish: their lease has ended.
    """

    ledger: Ledger
    looked_up: Callable[[str], bool]

    async def cancel(self, flow_id: uuid.UUID, reason: str, by: str) -> Sequence[OutcomeRow]:
        """See `engine.operator.cancel`."""

        async def work(connection: Connection) -> Sequence[OutcomeRow]:
            flow, planner, found = await self._begin(connection, flow_id, ("open",), without_event=True)
            operator.cancel(planner, flow, found, reason)
            return await self._write(connection, planner, flow_id, "cancel", by, reason)

        return await self.ledger.database.atomically(work)

    async def resolve(
        self, flow_id: uuid.UUID, status: Status, facts: Mapping[str, Any], reason: str, by: str
    ) -> Sequence[OutcomeRow]:
        """See `engine.operator.resolve`."""

        async def work(connection: Connection) -> Sequence[OutcomeRow]:
            flow, planner, found = await self._begin(connection, flow_id, ("in_doubt",), without_event=True)
            operator.resolve(planner, flow, found, status, facts, reason)
            return await self._write(connection, planner, flow_id, "resolve", by, reason)

        return await self.ledger.database.atomically(work)

    async def retry(
        self, flow_id: uuid.UUID, event: Event | None, reason: str, by: str, *, not_made: bool = False
    ) -> Sequence[OutcomeRow]:
        """See `engine.operator.retry`. `event`: read again from its topic, if the flow has dropped it."""

        async def work(connection: Connection) -> Sequence[OutcomeRow]:
            given = None if event is None else FLOWS[event.topic].freeze(event, self.ledger.rules)
            flow, planner, found = await self._begin(connection, flow_id, ("failed", "in_doubt"), given)
            operator.retry(planner, flow, found, self.looked_up, not_made=not_made)
            await ended_counts.reopened(connection, flow_id)
            outcomes = await self._write(connection, planner, flow_id, "retry", by, reason)
            if given is not None and flow.state in ("open", "in_doubt"):
                await flows.put_body(connection, flow, self.ledger.vault)
            return outcomes

        return await self.ledger.database.atomically(work)

    async def learn(self, connection: Connection, past: PastOutcome, by: str) -> bool:
        """See `engine.operator.conclude` and `take_up`; whether the flow has ended. In the caller's transaction."""
        flow, planner, found = await self._begin(connection, past.flow_id, ("open",), without_event=True)
        learned = (operator.conclude if past.final else operator.take_up)(planner, flow, found, past)
        if learned:
            await self._write(connection, planner, flow.id, "learn", by, "The outcome had been published.")
        return learned and past.final

    async def _begin(
        self,
        connection: Connection,
        flow_id: uuid.UUID,
        states: Sequence[str],
        event: Event | None = None,
        *,
        without_event: bool = False,
    ) -> Found:
        """The flow, locked with all that it shares, and its steps that have not ended.

        Locks in the order of all transactions: traders, orders, steps, the flow.
        """
        seen = await self._read(connection, flow_id, states, event, without_event=without_event)
        planner = await self.ledger.planner(connection, [seen], new=True)
        found = [
            OpenStep(row["id"], row["operation"], StepState(row["state"]), row["attempts"])
            for row in await steps.open_steps(connection, flow_id)
        ]
        await connection.execute("select 1 from flow where id = $1 for update", flow_id)
        # A replica may have moved it on until this moment: what it knows and how it stands is read under the locks.
        flow = await self._read(connection, flow_id, states, seen.event, without_event=without_event)
        if flow.state == "open" and not found:
            raise Again  # its step ended while we waited for the lock, and the next one cannot be seen from here
        return flow, planner, found

    async def _read(
        self,
        connection: Connection,
        flow_id: uuid.UUID,
        states: Sequence[str],
        event: Event | None,
        *,
        without_event: bool,
    ) -> FlowRow:
        row = await connection.fetchrow(
            "select state, topic, trader_id, user_id, order_id, account_id from flow where id = $1", flow_id
        )
        if row is None:
            raise NotPossible(Obstacle.NO_FLOW)
        operator.check_state(row["state"], states)
        flow = await self.ledger.read_flow(connection, flow_id, event)
        if flow is None and without_event:
            flow = await self.ledger.read_flow(connection, flow_id, _ids_alone(**row))
        if flow is None:
            raise NotPossible(Obstacle.NO_EVENT)
        return flow

    async def _write(
        self, connection: Connection, planner: Planner, flow_id: uuid.UUID, action: str, by: str, reason: str
    ) -> Sequence[OutcomeRow]:
        await notes.of_flow(connection, flow_id, action, by, reason)
        outcomes = await self.ledger.write(connection, planner)
        await outbox.leave(connection, outcomes)
        return outcomes


def _ids_alone(topic: str, **ids: Any) -> Event:
    """An event with nothing but its ids: enough to end a flow whose personal data is gone after thirty days."""
    model = EVENTS[topic]
    nothing = dict.fromkeys(model.model_fields)
    return model.model_construct(**nothing | {name: value for name, value in ids.items() if name in nothing})
