"""The results of a call of which one can never be stored: it must not keep the others from being written.

What the partner says is cleaned where it comes in, so this should never be needed. Without it one result that cannot be
stored would be looked up and brought again for ever, with all that shared its call. So the results are isolated by
halves. A step is proven to be the cause if the others can be stored without it, and it can be stored without its
result. It then ends in doubt.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

import structlog

from worker.engine.rows import Claimed, Finish, Move
from worker.ledger.call_log import EndedCall
from worker.ledger.database import DatabaseUnavailable
from worker.ledger.ledger import Ledger
from worker.ledger.next_call import NextCall
from worker.ledger.rows import OutcomeRow
from worker.replies import Unclear
from worker.results import Unknown

log = structlog.get_logger()

Moves = Sequence[tuple[Claimed, Move]]


async def record(
    ledger: Ledger,
    lease: uuid.UUID,
    moves: Moves,
    call: EndedCall | None = None,
    next_call: NextCall | None = None,
) -> Sequence[OutcomeRow]:
    """`Ledger.record`, in parts when all of it cannot be stored. Raises `DatabaseUnavailable`.

    Another error than that may come of a value: refused by the database, or by what writes it as JSON.
    """
    try:
        return await ledger.record(lease, moves, call, next_call)
    except DatabaseUnavailable:
        raise
    except Exception as error:
        if next_call is not None:
            next_call.batches.clear()  # they were rolled back with the rest
        log.exception("ledger.results_refused", steps=len(moves), error=type(error).__name__)
    outcomes = [] if call is None else [*await _call(ledger, lease, call)]
    return [*outcomes, *await _apart(ledger, lease, moves)]


async def _call(ledger: Ledger, lease: uuid.UUID, call: EndedCall) -> Sequence[OutcomeRow]:
    """What came back to the call itself; unclear if that cannot be stored."""
    try:
        return await ledger.record(lease, (), call)
    except DatabaseUnavailable:
        raise
    except Exception:
        log.exception("ledger.reply_refused", call_id=call.id)
        unstored = Unclear("what came back could not be stored")
        return await ledger.record(lease, (), replace(call, reply=unstored, put_ticket=None))


async def _apart(ledger: Ledger, lease: uuid.UUID, moves: Moves) -> Sequence[OutcomeRow]:
    """What can be stored of results that cannot be stored together."""
    if len(moves) == 1:
        ((step, _),) = moves
        log.error("ledger.result_refused", flow_id=str(step.flow.id), operation=step.operation)
        text = f"What Tradovate answered to {step.operation} cannot be stored; an operator must look what it did."
        return await ledger.record(lease, [(step, Finish(Unknown(text)))])
    half = len(moves) // 2
    outcomes: list[OutcomeRow] = []
    for part in filter(None, (moves[:half], moves[half:])):
        try:
            outcomes += await ledger.record(lease, part)
        except DatabaseUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - what is to blame for it is found in a part of it
            log.warning("ledger.results_isolated", steps=len(part), error=type(error).__name__)
            outcomes += await _apart(ledger, lease, part)
    return outcomes
