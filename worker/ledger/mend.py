"""What a person may do to a flow: cancel, resolve, retry. Safe while replicas work: guarded like any other write.

Each keeps who did it and why, starts a new round, and so ends in a new outcome with a new id.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.events import Event
from schemas.outcomes import ErrorCode, Status
from worker.flows import FLOWS
from worker.flows.base import End
from worker.ledger.database import Connection
from worker.ledger.ledger import Ledger
from worker.ledger.rows import FlowRow, OutcomeRow, StepState
from worker.ledger.working_set import WorkingSet

SETTABLE: Mapping[str, Callable[[str], Any]] = {
    "userId": int,
    "accountId": int,
    "accountName": str,
    "tradingPermissionId": int,
    "requestId": int,
    "requestStatus": str,
    "entitlementId": int,
}
"""What `resolve --set` may tell: the outcome's ids, with how each is read."""


class NotMended(Exception):  # noqa: N818 - a decision
    """The flow is not in a state in which this can be done: one sentence that says why."""


@dataclass(frozen=True, slots=True)
class Mender:
    """`looked_up` tells whether an operation has a look-up: then a retry looks before it sends."""

    ledger: Ledger
    looked_up: Callable[[str], bool]

    async def cancel(self, flow_id: uuid.UUID, reason: str, by: str) -> Sequence[OutcomeRow]:
        """Ends an open flow whose step is not sent: outcome `failed`, `cancelled`. Raises `NotMended`."""

        async def work(connection: Connection) -> Sequence[OutcomeRow]:
            flow, working = await self._begin(connection, flow_id, ("open",))
            step = await connection.fetchrow(
                "select id, state, lease from step where flow_id = $1 and state not in ('done', 'refused', 'parked')"
                " order by id desc limit 1 for update",
                flow_id,
            )
            if step is not None:
                if step["lease"] is not None or step["state"] in (StepState.IN_FLIGHT, StepState.UNKNOWN):
                    raise NotMended("Its call has been sent and may have taken effect; wait until that is known.")
                await _close(connection, step["id"])
            return await self._end(connection, working, flow, Status.FAILED, ErrorCode.CANCELLED, reason, "cancel", by)

        return await self.ledger.database.atomically(work)

    async def resolve(
        self, flow_id: uuid.UUID, status: Status, facts: Mapping[str, Any], reason: str, by: str
    ) -> Sequence[OutcomeRow]:
        """Ends a flow in doubt as a person says: `succeeded` with ids, or `failed`. Raises `NotMended`."""

        async def work(connection: Connection) -> Sequence[OutcomeRow]:
            flow, working = await self._begin(connection, flow_id, ("in_doubt",))
            await connection.execute(
                "update step set state = $2, ended_at = clock_timestamp() where flow_id = $1 and state = 'parked'",
                flow_id,
                StepState.DONE.value if status is Status.SUCCEEDED else StepState.REFUSED.value,
            )
            code = None if status is Status.SUCCEEDED else ErrorCode.CANCELLED
            working.learn(flow, {**flow.facts, **facts})
            return await self._end(connection, working, flow, status, code, reason, "resolve", by)

        return await self.ledger.database.atomically(work)

    async def retry(
        self, flow_id: uuid.UUID, event: Event | None, reason: str, by: str, *, not_made: bool = False
    ) -> Sequence[OutcomeRow]:
        """Plans a failed flow, or one in doubt, anew. `event`: read again from its topic, if the flow has dropped it.

        What may have been made before is looked up first. What cannot be looked up goes again only with `not_made`: a
        person saw that there is nothing at Tradovate. Raises `NotMended`.
        """

        async def work(connection: Connection) -> Sequence[OutcomeRow]:
            flow, working = await self._begin(connection, flow_id, ("failed", "in_doubt"), event)
            kind = FLOWS[flow.topic]
            names = working.names(flow)
            parked = await connection.fetch(
                "select id, operation from step where flow_id = $1 and state = 'parked' for update", flow_id
            )
            for step in parked:
                if not self.looked_up(step["operation"]) and not not_made:
                    raise NotMended(
                        f"Nobody can look up whether {step['operation']} took effect: say --not-made if you saw that"
                        " it did not, or resolve the flow."
                    )
                await _close(connection, step["id"])
            if names.owns_order and names.order_id is not None:
                working.shared.take_order(names, flow.id, kind.details(flow.event), reopen=True)
            if flow.state == "failed":
                await connection.execute(
                    "update flow set body = $2 where id = $1", flow_id, self.ledger.vault.seal(flow.event.keep())
                )
            flow.state, flow.error_code, flow.error_text = "open", None, None
            flow.round += 1
            if not_made:
                working.learn(flow, {**flow.facts, "notMade": True})
            await _note(connection, flow_id, "retry", by, reason)
            working.plan(flow, look_first=self.looked_up)
            return await working.save(connection)

        return await self.ledger.database.atomically(work)

    async def _begin(
        self, connection: Connection, flow_id: uuid.UUID, states: Sequence[str], event: Event | None = None
    ) -> tuple[FlowRow, WorkingSet]:
        row = await connection.fetchrow("select state, body is null as empty from flow where id = $1", flow_id)
        if row is None:
            raise NotMended("There is no such flow.")
        if row["state"] not in states:
            raise NotMended(f"The flow is {row['state']}; this is for flows that are {' or '.join(states)}.")
        kept = await self.ledger.read_flow(connection, flow_id, event)
        if kept is None:
            raise NotMended("The flow's event is no longer kept; its record must be read from its topic again.")
        working = self.ledger.working_set()
        await working.load(connection, [kept], new=True)
        # The shared rows are locked; now the flow itself, and it must still be what it was.
        state = await connection.fetchval("select state from flow where id = $1 for update", flow_id)
        if state != row["state"]:
            raise NotMended("The flow has just moved on; look again.")
        return kept, working

    async def _end(
        self,
        connection: Connection,
        working: WorkingSet,
        flow: FlowRow,
        status: Status,
        code: ErrorCode | None,
        reason: str,
        action: str,
        by: str,
    ) -> Sequence[OutcomeRow]:
        flow.round += 1
        await _note(connection, flow.id, action, by, reason)
        working.end(flow, End(status, code, None if status is Status.SUCCEEDED else reason))
        return await working.save(connection)


async def _close(connection: Connection, step_id: int) -> None:
    await connection.execute("update step set state = 'refused', ended_at = clock_timestamp() where id = $1", step_id)


async def _note(connection: Connection, flow_id: uuid.UUID, action: str, by: str, reason: str) -> None:
    await connection.execute(
        "insert into note (flow_id, action, by, reason) values ($1, $2, $3, $4)", flow_id, action, by, reason
    )
