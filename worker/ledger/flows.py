"""The table `flow`: the work that one event asks for, with the event, encrypted, while it is under way."""

from __future__ import annotations

import os
import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from pydantic import ValidationError

from schemas.events import EVENTS, Event
from worker.engine.facts import FactsUnreadable, facts_of, stored_facts
from worker.engine.flows import FLOWS
from worker.engine.flows.base import Names
from worker.engine.known_events import Key, KnownEvent
from worker.engine.memory import Memory
from worker.engine.rows import Claimed, FlowRow, IncomingEvent
from worker.engine.states import StepState
from worker.ledger.columns import columns
from worker.ledger.crypto import Sealed, Vault
from worker.ledger.database import Connection
from worker.ledger.statement import Part, Rows, bytes_in_json

log = structlog.get_logger()

FLOW_COLUMNS = (
    'f.id as flow_id, f.topic, f.event_id, f.record_key, f.partition, f."offset", f.trace, f.trader_id, f.user_id,'
    " f.order_id, f.account_id, f.created_at, f.asked_at, f.facts, f.state as flow_state, f.round,"
    " f.attempts as flow_attempts, f.error_code, f.error_text, octet_length(f.body) as size"
)
"""The columns that `flow_of` reads; `body` beside them is for a reader that does not have the event."""


def flow_of(row: Any, event: Event, named: Names | None = None) -> FlowRow | None:
    """The flow in a row with `FLOW_COLUMNS`. While it is open, its ids are facts: columns are written when it ends.

    `named`: what the event names, if that has been asked before. None when its facts cannot be read: then it is left
    out, as one without its event (`opened`).
    """
    try:
        facts = facts_of(FLOWS[row["topic"]].facts, row["facts"], f"flow {row['flow_id']} ({row['topic']})")
    except FactsUnreadable as error:
        log.error("ledger.unreadable_flow", flow_id=str(row["flow_id"]), error=error.sentence)  # noqa: TRY400
        return None
    user_id, account_id = row["user_id"], row["account_id"]
    return FlowRow(
        row["flow_id"],
        row["topic"],
        event,
        row["event_id"],
        row["record_key"],
        row["partition"],
        row["offset"],
        row["trace"],
        row["trader_id"] or facts.trader_id,
        facts.user_id if user_id is None else user_id,
        row["order_id"],
        facts.account_id if account_id is None else account_id,
        row["created_at"],
        row["asked_at"],
        facts,
        row["flow_state"],
        row["round"],
        row["flow_attempts"],
        row["error_code"],
        row["error_text"],
        size=row["size"] or 0,
        named=named,
    )


def claimed_step(row: Any, flow: FlowRow) -> Claimed:
    """A step under our lease, with its flow."""
    return Claimed(
        row["id"],
        row["operation"],
        StepState(row["state"]),
        row["attempts"],
        row["spent"],
        Memory.from_json(row["memory"]),
        row["batch_id"],
        flow,
    )


def opened(row: Any, vault: Vault) -> Event | None:
    """The event in a row's `body`; None when it is gone, or cannot be read: SECRET_KEY has lost the key that wrote it.

    The flow is left out then: its lease runs out and it is tried again, which costs the others nothing.
    """
    if row["body"] is None:
        return None  # the flow has ended meanwhile
    try:
        return EVENTS[row["topic"]].restore(vault.open(row["body"]))
    except (Sealed, ValidationError) as error:
        log.error("ledger.unreadable_flow", flow_id=str(row["flow_id"]), error=type(error).__name__)  # noqa: TRY400
        return None


async def read(
    connection: Connection, ids: Collection[uuid.UUID], vault: Vault, given: Event | None = None
) -> Mapping[uuid.UUID, FlowRow]:
    """Flows by id. `given`: their event, in place of bodies that are gone. Flows without an event are left out."""
    rows = await connection.fetch(_READ, list(ids))
    events = ((row, opened(row, vault) if given is None else given) for row in rows)
    found = (flow_of(row, event) for row, event in events if event is not None)
    return {flow.id: flow for flow in found if flow is not None}


async def known(connection: Connection, keys: Sequence[Key]) -> tuple[datetime, Mapping[Key, KnownEvent]]:
    """The database's time, and what the ledger has of events, by topic and event id."""
    rows = await connection.fetch(_KNOWN, [topic for topic, _ in keys], [event_id for _, event_id in keys])
    there = [row for row in rows if row["topic"] is not None]
    return rows[0]["now"], {
        (row["topic"], row["event_id"]): KnownEvent(row["content"], row["partition"], row["offset"]) for row in there
    }


async def assigned(connection: Connection, accounts: Collection[int]) -> Mapping[int, int]:
    """The users to whom accounts on DEMO were assigned last, by account."""
    if not accounts:
        return {}
    return {row["account_id"]: row["user_id"] for row in await connection.fetch(_ASSIGNED, list(accounts))}


async def note_places(connection: Connection, events: Sequence[IncomingEvent]) -> None:
    """Where these events are on their topics now: a retry reads them there."""
    if events:
        await connection.execute(_NOTE_PLACES, *columns(events, "topic", "event_id", "partition", "offset"))


def new_rows(flows: Sequence[FlowRow], vault: Vault) -> Rows:
    """The rows of `NEW_FLOWS`. One is not added when another replica was delivered its event too, and was quicker."""
    return [
        {
            "id": flow.id,
            "topic": flow.topic,
            "event_id": flow.event_id,
            "record_key": bytes_in_json(flow.record_key),
            "partition": flow.partition,
            "offset": flow.offset,
            "trace": flow.trace,
            "trader_id": flow.trader_id,
            "user_id": flow.user_id,
            "order_id": flow.order_id,
            "account_id": flow.account_id,
            "state": flow.state,
            "attempts": flow.attempts,
            "facts": stored_facts(flow.facts),
            "body": _sealed(flow, vault),
            "content": bytes_in_json(flow.content),
            "error_code": flow.error_code,
            "error_text": flow.error_text,
            "asked_at": flow.asked_at,
            "created_at": flow.created_at,
        }
        for flow in flows
    ]


def _sealed(flow: FlowRow, vault: Vault) -> bytes | None:
    if flow.state not in ("open", "in_doubt"):
        return None
    return vault.seal(flow.kept or flow.event.keep())


def changed_rows(flows: Sequence[FlowRow], now: datetime) -> Rows:
    """The rows of `CHANGED_FLOWS`. Ids go into their columns when the flow ends; until then they are facts (`flow_of`
    knows): an update that changes no indexed column costs a fifth.
    """
    return [
        {
            "id": flow.id,
            "state": flow.state,
            "round": flow.round,
            "attempts": flow.attempts,
            "facts": stored_facts(flow.facts),
            "error_code": flow.error_code,
            "error_text": flow.error_text,
            "asked_at": flow.asked_at,
            "trader_id": flow.trader_id,
            "user_id": flow.user_id,
            "account_id": flow.account_id,
            "now": now,
        }
        for flow in flows
    ]


async def put_body(connection: Connection, flow: FlowRow, vault: Vault) -> None:
    """Stores the flow's event again: an operator retries a flow whose event had been deleted."""
    await connection.execute("update flow set body = $2 where id = $1", flow.id, vault.seal(flow.event.keep()))


def new_flow_id(now: datetime) -> uuid.UUID:
    """A time-ordered id (UUID version 7, RFC 9562): new flows go to one end of the index, pages follow time.

    It begins with the whole milliseconds of `now`, which becomes the flow's `created_at`: `flow_ids_from` counts on it.
    """
    value = _milliseconds(now) << 80 | 0x7 << 76 | int.from_bytes(os.urandom(2)) % 0x1000 << 64
    return uuid.UUID(int=value | 0b10 << 62 | int.from_bytes(os.urandom(8)) % (1 << 62))


def flow_ids_from(moment: datetime) -> uuid.UUID:
    """Below the ids of all flows that were accepted at `moment` or later, above those accepted a millisecond before."""
    return uuid.UUID(int=max(0, _milliseconds(moment)) << 80)


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)  # a float of seconds may be a millisecond too small


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_READ = f"select {FLOW_COLUMNS}, f.body from flow f where f.id = any($1)"  # noqa: S608 - a constant of ours

_KNOWN = """
select clock_timestamp() as now, found.* from (values (true)) as one left join (
    select topic, event_id, content, partition, "offset" from flow
    where (topic, event_id) in (select * from unnest($1::text[], $2::text[]))) as found on true
"""

_ASSIGNED = """
select named.account_id, found.user_id from unnest($1::bigint[]) as named (account_id) cross join lateral (
    select user_id from (select * from flow where account_id = named.account_id offset 0) as of_account
    where topic = 'account.assigned' and state = 'succeeded' and facts ->> 'domain' is distinct from 'LIVE'
    order by ended_at desc limit 1) as found
where found.user_id is not null
"""

_NOTE_PLACES = """
update flow set partition = moved.partition, "offset" = moved."offset"
from unnest($1::text[], $2::text[], $3::int[], $4::bigint[]) as moved (topic, event_id, partition, "offset")
where flow.topic = moved.topic and flow.event_id = moved.event_id
"""

NEW_FLOWS = Part(
    "new_flows",
    """
insert into flow (id, topic, event_id, record_key, partition, "offset", trace, trader_id, user_id, order_id, account_id,
    state, attempts, facts, body, content, error_code, error_text, asked_at, created_at, ended_at)
select id, topic, event_id, record_key, partition, "offset", trace, trader_id, user_id, order_id, account_id,
    state, attempts, facts, :long[body], content, error_code, error_text, asked_at, created_at,
    case when state = 'open' then null else created_at end
from json_to_recordset(:rows) as accepted (id uuid, topic text, event_id text, record_key bytea, partition int,
    "offset" bigint, trace jsonb, trader_id text, user_id bigint, order_id text, account_id bigint, state text,
    attempts int, facts jsonb, body int, content bytea, error_code text, error_text text, asked_at timestamptz,
    created_at timestamptz)
on conflict (topic, event_id) do nothing
returning 1
""",
    long="body",
)

# Here and in the other tables: the ids as an array of whose length the planner expects ten, so that it takes the index.
CHANGED_FLOWS = Part(
    "changed_flows",
    """
with changed as materialized (
    select * from json_to_recordset(:rows) as changed (id uuid, state text, round int, attempts int, facts jsonb,
        error_code text, error_text text, asked_at timestamptz, trader_id text, user_id bigint, account_id bigint,
        now timestamptz))
update flow set state = changed.state, round = changed.round, attempts = changed.attempts, facts = changed.facts,
    error_code = changed.error_code, error_text = changed.error_text, asked_at = changed.asked_at,
    trader_id = case when changed.state = 'open' then flow.trader_id else changed.trader_id end,
    user_id = case when changed.state = 'open' then flow.user_id else changed.user_id end,
    account_id = case when changed.state = 'open' then flow.account_id else changed.account_id end,
    ended_at = case when changed.state = 'open' then null else changed.now end,
    body = case when changed.state in ('open', 'in_doubt') then flow.body end
from changed
where flow.id = any(array(select id from changed)) and flow.id = changed.id
returning 1
""",
)
