"""The results of a call of which one can never be stored: it must not keep the others from being written.

What the partner says is cleaned where it comes in, so this should never be needed. Without it one result that the
database refuses for its value would be written again and again, with all that shared its call.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from schemas.outcomes import ErrorCode
from worker.flows.base import Failed
from worker.ledger.database import Connection, DataRefused
from worker.ledger.ledger import Ledger
from worker.ledger.rows import Claimed, Finish, Move, OutcomeRow
from worker.replies import Reply

log = structlog.get_logger()


async def record(
    ledger: Ledger,
    lease: uuid.UUID,
    moves: Sequence[tuple[Claimed, Move]],
    call: tuple[int, Reply] | None = None,
    held: Callable[[Connection], Any] | None = None,
    since: float = 0.0,
) -> Sequence[OutcomeRow]:
    """`Ledger.record`, and one by one when the database refuses a value: the step whose it is ends in doubt."""
    try:
        return await ledger.record(lease, moves, call, held, since)
    except DataRefused:
        outcomes = [*await ledger.record(lease, (), call, held, since)]
    for step, move in moves:
        try:
            outcomes += await ledger.record(lease, [(step, move)])
        except DataRefused as error:
            log.error("ledger.result_refused", flow_id=str(step.flow.id), operation=step.operation, error=error.reason)  # noqa: TRY400
            text = f"What Tradovate answered cannot be stored ({error.code}); an operator must look."
            outcomes += await ledger.record(lease, [(step, Finish(Failed(ErrorCode.IN_DOUBT, text), parked=True))])
    return outcomes
