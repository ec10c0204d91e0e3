"""Writes what the engine has decided, within the caller's transaction."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

from worker.engine.changes import Changes
from worker.ledger import departures, flows, orders, outbox, steps, traders, turns
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection
from worker.ledger.rows import OutcomeRow


async def write(
    connection: Connection,
    changes: Changes,
    vault: Vault,
    ranks: Mapping[str, int],
    source: str,
    *,
    lease: uuid.UUID | None = None,
) -> Sequence[OutcomeRow]:
    """Writes all of it, in the order of locks. Raises `Again` when a race was lost.

    `lease`: under which the moved steps are held. `ranks`: of the operations. `source`: the `ce_source` of outcomes.
    Returns the outcomes, leased to this replica.
    """
    await flows.add(connection, changes.new_flows, vault)
    await traders.write(connection, changes.traders)
    await orders.write(connection, changes.orders)
    await departures.write(connection, changes.departures, changes.withdrawn)
    await turns.write(connection, changes.turns)
    await steps.move(connection, lease, changes.moved)
    await steps.close(connection, changes.closed)
    await steps.replace_waits(
        connection, [step for step in changes.new_steps if step.replaces is not None], ranks, changes.now
    )
    await flows.write(connection, changes.flows, changes.now)
    await steps.add(connection, [step for step in changes.new_steps if step.replaces is None], ranks)
    written = await outbox.add(connection, changes.outcomes, source)
    await steps.wake(connection, changes.wakes, changes.now)
    await turns.oust(connection, changes.ousted)
    await steps.change_trader_keys(connection, changes.new_trader_keys)
    return written
