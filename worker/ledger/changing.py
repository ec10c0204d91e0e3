"""Writes what the engine has decided, within the caller's transaction."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from worker.engine.changes import Changes
from worker.ledger import (
    call_log,
    departures,
    flows,
    live_permissions,
    orders,
    outbox,
    statement,
    steps,
    traders,
    turns,
)
from worker.ledger.call_log import EndedCall
from worker.ledger.crypto import Vault
from worker.ledger.database import Again, Connection
from worker.ledger.rows import OutcomeRow


class Written(NamedTuple):
    """`outcomes`: leased to this replica. `others`: besides the flows' own steps, some may be due now."""

    outcomes: Sequence[OutcomeRow]
    others: bool


async def write(
    connection: Connection,
    changes: Changes,
    vault: Vault,
    ranks: Mapping[str, int],
    *,
    lease: uuid.UUID | None = None,
    call: EndedCall | None = None,
) -> Written:
    """Writes all of it, in the order of locks, nearly all in one statement. Raises `Again` when a race was lost.

    `lease`: under which the moved steps are held. `ranks`: of the operations. `call`: it is noted here if it is
    an ordinary one.
    """
    await departures.write(connection, changes.departures, changes.withdrawn)
    await turns.write(connection, changes.turns)
    await live_permissions.add(connection, changes.live_permissions)
    await steps.close(connection, changes.closed)
    replaced = [step for step in changes.new_steps if step.replaces is not None]
    await statement.run(connection, [(steps.REPLACED_WAITS, steps.planned_rows(replaced, ranks, changes.now))])
    new = [step for step in changes.new_steps if step.replaces is None]
    outcomes, begun = outbox.new_rows(changes.outcomes), time.monotonic()
    done = await statement.run(
        connection,
        [
            (flows.NEW_FLOWS, flows.new_rows(changes.new_flows, vault)),
            (traders.CHANGED_TRADERS, traders.changed_rows(changes.traders)),
            (orders.ORDERS, orders.written_rows(changes.orders)),
            (steps.MOVED_STEPS, steps.moved_rows(changes.moved, lease)),
            (flows.CHANGED_FLOWS, flows.changed_rows(changes.flows, changes.now)),
            (steps.NEW_STEPS, steps.planned_rows(new, ranks, changes.now)),
            (outbox.NEW_OUTCOMES, outcomes),
            (steps.WOKEN_STEPS, steps.woken_rows(changes.wakes, changes.now)),
            (steps.OTHER_STEPS, steps.other_rows(changes.new_trader_keys, lease)),
            (call_log.ENDED_CALL, call_log.ended_rows(call)),
        ],
    )
    for part, rows in (
        (flows.NEW_FLOWS, changes.new_flows),
        (orders.ORDERS, changes.orders),
        (steps.MOVED_STEPS, changes.moved),
    ):
        if done.get(part.name, 0) != len(rows):
            raise Again  # another transaction was quicker
    await turns.oust(connection, changes.ousted)
    if done.get(steps.OTHER_STEPS.name):
        await steps.change_trader_keys(connection, changes.new_trader_keys)
    if call is not None and done.get(call_log.ENDED_CALL.name):
        await call_log.calm(connection, call.id)
    added = outbox.added(changes.outcomes, outcomes, done.get(outbox.NEW_OUTCOMES.name) or (), begun)
    queues = (changes.departures, changes.withdrawn, changes.turns, changes.ousted, changes.closed)
    others = any(done.get(part.name) for part in (steps.WOKEN_STEPS, steps.OTHER_STEPS)) or any(queues)
    return Written(added, others)
