"""What must always hold in a ledger: small classes, asked after every crash test, by `doctor`, and by the console.

Each looks at what is open and at the last day of what has ended, so that it stays fast with millions of flows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.ledger.database import Connection, Database


@dataclass(frozen=True, slots=True)
class Invariant:
    """A sentence that must be true, and a query whose rows are its violations (one text column)."""

    name: str
    promise: str
    violations: str


INVARIANTS: Sequence[Invariant] = (
    Invariant(
        "one_step",
        "an open flow has exactly one step that is not over",
        "select f.id::text from flow f left join step s on s.flow_id = f.id"
        " and s.state in ('waiting', 'due', 'in_flight', 'unknown')"
        " where f.state = 'open' group by f.id having count(s.id) <> 1",
    ),
    Invariant(
        "nothing_after_the_end",
        "an ended flow has no step under way",
        "select f.id::text from step s join flow f on f.id = s.flow_id"
        " where s.state in ('waiting', 'due', 'in_flight', 'unknown') and f.state <> 'open'",
    ),
    Invariant(
        "one_final_outcome",
        "a flow that has ended has its final outcome",
        "select f.id::text from flow f where f.state <> 'open' and f.ended_at > now() - interval '1 day'"
        " and not exists (select 1 from outcome o where o.flow_id = f.id and o.status = f.state)",
    ),
    Invariant(
        "no_personal_data",
        "a flow that has ended keeps no personal data",
        "select id::text from flow where state in ('succeeded', 'failed') and body is not null"
        " and ended_at > now() - interval '1 day'",
    ),
    Invariant(
        "leases_end",
        "no lease is kept long after its end: a replica takes it back",
        "select flow_id::text from step where lease is not null and lease_until < now() - interval '2 minutes'",
    ),
    Invariant(
        "in_flight_is_leased",
        "what is in flight has a lease",
        "select flow_id::text from step where state = 'in_flight' and lease is null",
    ),
    Invariant(
        "orders_follow",
        "an order is open exactly while its flow is",
        "select o.order_id from business_order o join flow f on f.id = o.flow_id"
        " where (o.state = 'open') <> (f.state = 'open')"
        " and (f.state = 'open' or f.ended_at > now() - interval '1 day')",
    ),
    Invariant(
        "turns_end",
        "an event whose flow has ended keeps no other event of its account waiting",
        "select f.id::text from account_turn t join flow f on f.id = t.flow_id where not t.ended and f.state <> 'open'",
    ),
    Invariant(
        "makers_live",
        "who makes a trader's user is under way",
        "select t.trader_id from trader t left join flow f on f.id = t.maker"
        " where t.maker is not null and f.state is distinct from 'open'",
    ),
    Invariant(
        "outcomes_leave",
        "an outcome is published within five minutes",
        "select outcome_id from outcome where published_at is null and created_at < now() - interval '5 minutes'",
    ),
)


async def violations(database: Database, most: int = 5) -> Sequence[tuple[Invariant, Sequence[str]]]:
    """The invariants that do not hold, each with up to `most` of what breaks it. Raises `DatabaseError`."""
    broken = []
    async with database.transaction() as connection:
        for invariant in INVARIANTS:
            found = await _ask(connection, invariant, most)
            if found:
                broken.append((invariant, found))
    return broken


async def _ask(connection: Connection, invariant: Invariant, most: int) -> list[str]:
    rows = await connection.fetch(f"select * from ({invariant.violations}) as broken limit {int(most)}")  # noqa: S608
    return [row[0] for row in rows]
