"""Writes what outcomes off their topics say: flows that have ended, their outcomes, traders, orders, departures,
permissions on LIVE.

Such a flow stands at no offset (`NOWHERE`) until its event is read again, and is then known for a repeat. A ledger that
was restored from a backup may have it open: then it ends, or goes on with its subaccount request. Else what has been
sent would be sent again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.engine.facts import stored_facts
from worker.engine.flows.base import Rules
from worker.engine.rebuilt import PastOutcome, Rebuilding
from worker.ledger import changing, ended_counts, notes, signals, snapshots
from worker.ledger.columns import column
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection, Database
from worker.ledger.ledger import Ledger
from worker.ledger.operator_actions import OperatorActions

NOWHERE = -1
"""Partition and offset of a flow whose event's place is not known."""

_NO_RULES = Rules(account_prefix="", plan_id=0)
"""No flow that learns of its past asks for them."""

_DIGITS = re.compile("[0-9]{1,18}")

SIGNED, BRIDGED = "md.signed", "mda-"
"""The bridge's events: their ids name the alert signals that need not be published again."""


@dataclass(frozen=True, slots=True)
class Rebuilds:
    """Raises `DatabaseError`. `by`: who does it, for the note that is kept. `ranks`: of the operations."""

    database: Database
    vault: Vault
    by: str
    ranks: Mapping[str, int]

    async def write(self, past: Sequence[PastOutcome]) -> int:
        """Writes these outcomes, one of each event, all or none; how many of their events the ledger did not have.

        What it has already costs one look: so a run that was interrupted soon comes to where it was.
        """

        async def work(connection: Connection) -> int:
            ids = [each.outcome.outcome_id for each in past]
            there = {row["outcome_id"] for row in await connection.fetch(_THERE, ids)}
            new = [each for each in past if each.outcome.outcome_id not in there]
            if not new:
                return 0
            # What an outcome says of a departure stands beside what the flow itself knew of it.
            return await self._learn(connection, new) + await self._add(connection, new)

        return await self.database.atomically(work)

    async def _learn(self, connection: Connection, past: Sequence[PastOutcome]) -> int:
        """Flows that are open here learn what became of them; how many have ended."""
        past = [each for each in past if each.final or each.outcome.request_id is not None]
        rows = await connection.fetch(_OPEN, [each.flow_id for each in past])
        unfinished = {row["id"] for row in rows}
        actions = OperatorActions(Ledger(self.database, self.vault, _NO_RULES, self.ranks), lambda _operation: False)
        return sum([await actions.learn(connection, each, self.by) for each in past if each.flow_id in unfinished])

    async def _add(self, connection: Connection, past: Sequence[PastOutcome]) -> int:
        now = await self.database.clock.read(connection)
        named = [each.names for each in past]
        snapshot = await snapshots.load_named(connection, named, self.vault, self.database.clock, now, new=True)
        rebuilding = Rebuilding(snapshot)
        for each in sorted(past, key=lambda each: each.outcome.occurred_at):
            rebuilding.add(each)
        final = [each for each in past if each.final]
        added = await _add_flows(connection, final, rebuilding)
        if final:
            await ended_counts.count_again(connection)
        await changing.write(connection, rebuilding.changes(now), self.vault, {})
        ids = [each.outcome.event_id for each in past if each.outcome.topic == SIGNED]
        numbers = [each.removeprefix(BRIDGED) for each in ids if each.startswith(BRIDGED)]
        # At most 18 digits: more need not fit in the ledger's column.
        await signals.note(connection, SIGNED, [int(each) for each in numbers if _DIGITS.fullmatch(each)])
        if added:
            await notes.of_import(connection, f"events of the outcome topics: {added}", self.by)
        return added


async def _add_flows(connection: Connection, past: Sequence[PastOutcome], rebuilding: Rebuilding) -> int:
    outcomes = [each.outcome for each in past]
    added = await connection.fetch(
        _ADD_FLOWS,
        column(each.flow_id for each in past),
        column(each.topic for each in outcomes),
        column(each.event_id for each in outcomes),
        column(each.key for each in past),
        column(each.trader_id for each in outcomes),
        column(each.user_id for each in outcomes),
        column(each.order_id for each in outcomes),
        column(each.account_id for each in outcomes),
        column(each.status.value for each in outcomes),
        column(each.finals for each in past),
        column(each.attempts for each in outcomes),
        column(stored_facts(rebuilding.facts(each)) for each in past),
        column(each.error_code and each.error_code.value for each in outcomes),
        column(each.error_text for each in outcomes),
        column(each.accepted_at for each in past),
        column(each.occurred_at for each in outcomes),
    )
    written = {row["id"] for row in added}
    published = [each for each in past if each.flow_id in written]
    if published:
        await connection.execute(
            _ADD_OUTCOMES,
            column(each.outcome.outcome_id for each in published),
            column(each.flow_id for each in published),
            column(each.outcome.topic for each in published),
            column(each.outcome.event_id for each in published),
            column(each.outcome.status.value for each in published),
            column(each.key for each in published),
            column(each.body for each in published),
            column(each.outcome.occurred_at for each in published),
        )
    return sum(row["added"] for row in added)


_OPEN = "select id from flow where id = any($1::uuid[]) and state = 'open'"

_THERE = "select outcome_id from outcome where outcome_id = any($1::text[])"

# A flow that this ledger has made stands. One that was rebuilt is written again by a later outcome of its event, which
# follows an operator's retry: each of them is a round more.
_ADD_FLOWS = f"""
insert into flow (id, topic, event_id, record_key, partition, "offset", trader_id, user_id, order_id, account_id, state,
    round, attempts, facts, error_code, error_text, asked_at, created_at, ended_at)
select past.id, past.topic, past.event_id, past.record_key, {NOWHERE}, {NOWHERE}, past.trader_id, past.user_id,
    past.order_id, past.account_id, past.state, past.finals - 1, past.attempts, past.facts, past.error_code,
    past.error_text, past.accepted_at, past.accepted_at, past.ended_at
from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::bigint[], $7::text[], $8::bigint[],
    $9::text[], $10::int[], $11::int[], $12::jsonb[], $13::text[], $14::text[], $15::timestamptz[], $16::timestamptz[])
    as past (id, topic, event_id, record_key, trader_id, user_id, order_id, account_id, state, finals, attempts, facts,
        error_code, error_text, accepted_at, ended_at)
on conflict (topic, event_id) do update set state = excluded.state, round = flow.round + excluded.round + 1,
    attempts = excluded.attempts, facts = excluded.facts, error_code = excluded.error_code,
    error_text = excluded.error_text, trader_id = excluded.trader_id, user_id = excluded.user_id,
    account_id = excluded.account_id, ended_at = excluded.ended_at
where flow.partition = {NOWHERE} and flow.id = excluded.id and flow.ended_at < excluded.ended_at
returning id, xmax = 0 as added
"""  # noqa: S608 - a constant of ours

_ADD_OUTCOMES = """
insert into outcome (outcome_id, flow_id, topic, event_id, status, record_key, body, lease_until, created_at,
    published_at)
select outcome_id, flow_id, topic, event_id, status, record_key, body, at, at, at
from unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bytea[], $8::timestamptz[])
    as past (outcome_id, flow_id, topic, event_id, status, record_key, body, at)
on conflict do nothing
"""
