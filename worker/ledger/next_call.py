"""The next call of a flow, begun in the transaction that records its last result, or accepts its event.

Between two calls of a lone flow lie otherwise two transactions and a survey. It is only for steps that nothing more
urgent waits beside, which the dispatcher decides; all rules of a claim hold as they do in a transaction of its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from worker.engine.changes import Changes
from worker.engine.states import StepState
from worker.ledger.call_log import try_begin_lock
from worker.ledger.claims import CallKind, Claims
from worker.ledger.database import Connection
from worker.ledger.rows import Batch, Lane


@dataclass(slots=True)
class NextCall:
    """`kinds`: operations of which a call may be begun. `generation`: of the token that it will be sent with.

    `batches` are the calls that have been begun, by operation, once the transaction is committed; `all_begun`: it has
    left nothing in a queue, and nobody need look there for more.
    """

    claims: Claims
    kinds: Mapping[str, CallKind]
    generation: int
    batches: list[tuple[str, Batch]] = field(default_factory=list)
    all_begun: bool = False
    leases: list[uuid.UUID] = field(default_factory=list)  # of all attempts: given up if the database goes away

    async def begin(self, connection: Connection, changes: Changes, *, others: bool) -> None:
        """To be called when the changes are written: claims the steps that are new and due, in one call for each
        operation. Does nothing while calls are begun elsewhere: the transaction has row locks, and must not wait.
        `others`: see `changing.Written`.
        """
        self.batches.clear()  # the transaction may be run again
        await self._begin(connection, changes)
        begun = {step.flow.id for _, batch in self.batches for step in batch.steps}
        waiting = any(step.flow_id not in begun for step in changes.new_steps)
        self.all_begun = not (others or waiting or any(step.ended_at is None for step in changes.moved))

    async def _begin(self, connection: Connection, changes: Changes) -> None:
        due = self._due(changes)
        if not due or not await try_begin_lock(connection):
            return
        for operation in due:
            kind, lease = self.kinds[operation], uuid.uuid4()
            self.leases.append(lease)
            lane = Lane(operation, StepState.DUE, None, kind.most, changes.now, changes.now)
            claimed = await self.claims.claim(connection, kind, lane, kind.most, self.generation, [lease])
            if isinstance(claimed, Sequence):
                self.batches += [(operation, batch) for batch in claimed if batch.steps]

    def _due(self, changes: Changes) -> Sequence[str]:
        """Operations of new steps that are due, the most urgent first."""
        due = {step.operation for step in changes.new_steps if step.state is StepState.DUE and step.due <= changes.now}
        return sorted(due & self.kinds.keys(), key=lambda name: self.kinds[name].rank)
