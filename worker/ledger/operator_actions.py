"""What a person may do to a flow: cancel, resolve, retry. Safe while replicas work: guarded like any other write.

Each keeps who did it and why, starts a new round, and so ends in a new outcome with a new id. The outcome is left in
the outbox for whichever replica looks there first.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.events import EVENTS, Event, TraderPassed
from schemas.outcomes import ErrorCode, Status
from worker.engine.flows import FLOWS
from worker.engine.flows.base import End
from worker.ledger.database import Again, Connection
from worker.ledger.ledger import Ledger
from worker.ledger.rows import FlowRow, OutcomeRow, StepState
from worker.ledger.saving import save
from worker.ledger.working_set import WorkingSet

SETTABLE: Mapping[str, type] = {
    "userId": int,
    "accountId": int,
    "accountName": str,
    "tradingPermissionId": int,
    "requestId": int,
    "requestStatus": str,
    "entitlementId": int,
}
"""What a person who resolves a flow may tell: ids of its outcome. Numbers are Tradovate's ids, 1 to 2^63 - 1."""


class NotMended(Exception):  # noqa: N818 - a decision
    """The flow is not in a state in which this can be done: one sentence that says why."""


@dataclass(frozen=True, slots=True)
class Mender:
    """`looked_up` tells whether an operation has a look-up: then a retry looks before it sends.

    All three raise `NotMended`. The outcomes they return are for anybody to publish: their lease is over.
    """

    ledger: Ledger
    looked_up: Callable[[str], bool]

    async def cancel(self, flow_id: uuid.UUID, reason: str, by: str) -> Sequence[OutcomeRow]:
        """Ends an open flow whose step has not been sent: outcome `failed`, `cancelled`, with `reason` as the text."""

        async def work(connection: Connection) -> Sequence[OutcomeRow]:
            flow, working, steps = await self._begin(connection, flow_id, ("open",), bare=True)
            for step in steps:
                if step["state"] == StepState.IN_FLIGHT:
                    raise NotMended("Its call is under way and may take effect; wait until that is known.")
                if step["state"] == StepState.UNKNOWN and step["attempts"]:
                    raise NotMended("Its call was sent and may have taken effect; wait until that has been looked up.")
                # A wait that is being planned again is leased; whoever plans finds the lease gone and writes nothing.
                await _close(connection, step["id"], StepState.REFUSED)
            end = End(Status.FAILED, ErrorCode.CANCELLED, reason)
            return await self._end(connection, working, flow, end, "cancel", by, reason)

        return await self.ledger.database.atomically(work)

    async def resolve(
        self, flow_id: uuid.UUID, status: Status, facts: Mapping[str, Any], reason: str, by: str
    ) -> Sequence[OutcomeRow]:
        """Ends a flow in doubt as a person says: `succeeded` or `failed`, with the ids of `facts` in its outcome."""

        async def work(connection: Connection) -> Sequence[OutcomeRow]:
            flow, working, steps = await self._begin(connection, flow_id, ("in_doubt",), bare=True)
            for step in steps:
                succeeded = status is Status.SUCCEEDED
                await _close(connection, step["id"], StepState.DONE if succeeded else StepState.REFUSED)
            working.learn(flow, {**flow.facts, **facts})
            end = End(status) if status is Status.SUCCEEDED else End(status, ErrorCode.CANCELLED, reason)
            return await self._end(connection, working, flow, end, "resolve", by, reason)

        return await self.ledger.database.atomically(work)

    async def retry(
        self, flow_id: uuid.UUID, event: Event | None, reason: str, by: str, *, not_made: bool = False
    ) -> Sequence[OutcomeRow]:
        """Plans a failed flow, or one in doubt, anew. `event`: read again from its topic, if the flow has dropped it.

        What may have been made before is looked up first. What cannot be looked up goes again only with `not_made`: a
        person saw that there is nothing at Tradovate.
        """

        async def work(connection: Connection) -> Sequence[OutcomeRow]:
            given = None if event is None else FLOWS[event.topic].freeze(event, self.ledger.rules)
            flow, working, steps = await self._begin(connection, flow_id, ("failed", "in_doubt"), given)
            blind = [step["operation"] for step in steps if not self.looked_up(step["operation"])]
            if flow.state == "in_doubt" and not not_made and (blind or flow.topic == TraderPassed.topic):
                raise NotMended(
                    "It may have taken effect at Tradovate, and no program can look: say --not-made if a person saw"
                    " there that it did not, or resolve the flow."
                )
            for step in steps:
                await _close(connection, step["id"], StepState.REFUSED)
            flow.asked_at = working.now
            await connection.execute("update flow set asked_at = $2 where id = $1", flow_id, flow.asked_at)
            working.take_order(flow, reopen=True)
            if given is not None:
                await connection.execute(
                    "update flow set body = $2 where id = $1", flow_id, self.ledger.vault.seal(flow.event.keep())
                )
            if not_made:
                flow.facts = {**flow.facts, "notMade": True}
            flow.state, flow.error_code, flow.error_text = "open", None, None
            flow.round += 1
            await _note(connection, flow_id, "retry", by, reason)
            working.plan(flow, look_first=self.looked_up)
            return await _left(connection, await save(connection, working))

        return await self.ledger.database.atomically(work)

    async def _begin(
        self,
        connection: Connection,
        flow_id: uuid.UUID,
        states: Sequence[str],
        event: Event | None = None,
        *,
        bare: bool = False,
    ) -> tuple[FlowRow, WorkingSet, Sequence[Any]]:
        """The flow, locked with all that it shares, and its steps that are not over.

        Locks in the order of everybody else: traders, orders, steps, the flow.
        """
        seen = await self._read(connection, flow_id, states, event, bare=bare)
        working = await self.ledger.working_set(connection)
        await working.load(connection, [seen], new=True)
        steps = await connection.fetch(
            "select id, operation, state, attempts from step where flow_id = $1 and state not in ('done', 'refused')"
            " order by id for update",
            flow_id,
        )
        await connection.execute("select 1 from flow where id = $1 for update", flow_id)
        # A replica may have moved it on until this moment: what it knows and how it stands is read under the locks.
        flow = await self._read(connection, flow_id, states, seen.event, bare=bare)
        if flow.state == "open" and not steps:
            raise Again  # its step ended while we waited for the lock, and the next one cannot be seen from here
        return flow, working, steps

    async def _read(
        self, connection: Connection, flow_id: uuid.UUID, states: Sequence[str], event: Event | None, *, bare: bool
    ) -> FlowRow:
        row = await connection.fetchrow(
            "select state, topic, trader_id, user_id, order_id, account_id from flow where id = $1", flow_id
        )
        if row is None:
            raise NotMended("There is no such flow.")
        _check(row["state"], states)
        flow = await self.ledger.read_flow(connection, flow_id, event)
        if flow is None and bare:
            flow = await self.ledger.read_flow(connection, flow_id, _bare(**row))
        if flow is None:
            raise NotMended("Its event is no longer kept here, or SECRET_KEY does not open it.")
        return flow

    async def _end(
        self, connection: Connection, working: WorkingSet, flow: FlowRow, end: End, action: str, by: str, reason: str
    ) -> Sequence[OutcomeRow]:
        flow.round += 1
        await _note(connection, flow.id, action, by, reason)
        working.acquaint(flow)
        working.end(flow, end)
        working.changed[flow.id] = flow
        return await _left(connection, await save(connection, working))


def _check(state: str, states: Sequence[str]) -> None:
    if state not in states:
        names = {"open": "still under way", "in_doubt": "in doubt"}
        wanted = " or ".join(names.get(each, each) for each in states)
        raise NotMended(f"The flow is {names.get(state, state)}; this is for flows that are {wanted}.")


def _bare(topic: str, **ids: Any) -> Event:
    """An event with nothing but its ids: enough to end a flow whose personal data is gone after thirty days."""
    model = EVENTS[topic]
    nothing = dict.fromkeys(model.model_fields)
    return model.model_construct(**nothing | {name: value for name, value in ids.items() if name in nothing})


async def _close(connection: Connection, step_id: int, state: StepState) -> None:
    """Ends a step that is locked. What the partner said of it may name persons, and goes."""
    await connection.execute(
        "update step set state = $2, ended_at = clock_timestamp(), lease = null, lease_until = null,"
        " context = '{}', waits_for = null"
        " where id = $1",
        step_id,
        state.value,
    )


async def _left(connection: Connection, outcomes: Sequence[OutcomeRow]) -> Sequence[OutcomeRow]:
    """Leaves outcomes to whoever looks first: whoever mends publishes nothing."""
    await connection.execute(
        "update outcome set lease_until = clock_timestamp() where id = any($1)", [row.id for row in outcomes]
    )
    return outcomes


async def _note(connection: Connection, flow_id: uuid.UUID, action: str, by: str, reason: str) -> None:
    await connection.execute(
        "insert into note (flow_id, action, by, reason) values ($1, $2, $3, $4)", flow_id, action, by, reason
    )
