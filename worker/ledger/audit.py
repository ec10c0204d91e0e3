"""What happened, in the order of time: flows, calls, and what operators did. Read a page at a time, for an export.

Each page is a statement of its own. No transaction stays open, so that vacuum is not held back and a standby cancels
nothing. All pages show one moment, `Selection.at`: what began later is left out, and what ended or was changed later is
shown as it was then. A row keeps the time at which it began, so that a page says the same whenever it is read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from worker.ledger import notes
from worker.ledger.database import Connection
from worker.ledger.flows import flow_ids_from
from worker.ledger.state_summary import WORKING

PAGE = 2_000
"""Rows of a page: a megabyte here, and some tens of milliseconds at the server."""

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Line(NamedTuple):
    """A flow, a call or an action; what its kind does not have is None. Ids, times and masked texts only.

    flow      `time`: its event was accepted; `calls`: those that it needed
    call      `by`: the replica; `action`: send, look_up, session or socket; `state`: what came back, as in the metrics
    operator  an operator's `action`; `subject`: the scope of a hold, or the position of a dead letter
    hold      the program put (`hold`) or ended (`release`) a hold by itself
    """

    time: datetime
    kind: str
    id: str
    by: str | None = None
    action: str | None = None
    subject: str | None = None
    reason: str | None = None
    flow_id: str | None = None
    topic: str | None = None
    event_id: str | None = None
    order_id: str | None = None
    trader_id: str | None = None
    user_id: int | None = None
    account_id: int | None = None
    state: str | None = None
    error_code: str | None = None
    error_text: str | None = None
    attempts: int | None = None
    ended_at: datetime | None = None
    calls: Sequence[str] | None = None
    operation: str | None = None
    endpoint: str | None = None
    domain: str | None = None
    items: int | None = None
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """What began at `since` or later and before `until`; of one trader, or all. `at`: the moment that is shown.
    `last_call`: the last call that had begun then.
    """

    at: datetime
    last_call: int
    since: datetime
    until: datetime
    trader_id: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """Lines in their order, and the key of the last one; `after` None: there are no more."""

    lines: Sequence[Line]
    after: tuple[Any, ...] | None


Read = Callable[[Connection, Selection, tuple[Any, ...] | None], Awaitable[Page]]
"""Reads the page after a key; None: the first one."""


async def moment(connection: Connection) -> datetime:
    """Now. On a standby the moment up to which it has followed its primary."""
    now: datetime = await connection.fetchval(
        "select case when pg_is_in_recovery() then coalesce(pg_last_xact_replay_timestamp(), statement_timestamp())"
        " else statement_timestamp() end"
    )
    return now


async def still_written(connection: Connection, at: datetime) -> bool:
    """Whether a transaction of this program is under way that may add what began before `at`. A standby cannot know."""
    # Transactions of others, a dump for example, may last for hours, and add nothing.
    return bool(
        await connection.fetchval(
            "select exists (select from pg_stat_activity where datname = current_database()"
            " and application_name = 'tradovate-worker' and xact_start <= $1 and pid <> pg_backend_pid())",
            at,
        )
    )


async def selection(
    connection: Connection, at: datetime, since: datetime | None, until: datetime | None, trader_id: str | None
) -> Selection:
    """What is to be shown of the moment `at`."""
    last_call = await connection.fetchval("select coalesce(max(id), 0) from call where at <= $1", at)
    end = at + timedelta(microseconds=1)
    return Selection(at, last_call, max(since or _BEGINNING, _BEGINNING), min(until or end, end), trader_id)


async def flows(connection: Connection, wanted: Selection, after: tuple[Any, ...] | None) -> Page:
    """Flows in the order of their ids, which begin with the millisecond of their acceptance."""
    rows = await connection.fetch(
        _FLOWS.format(some=_ALL_FLOWS if wanted.trader_id is None else _TRADERS_FLOWS),
        after[0] if after else flow_ids_from(wanted.since),
        flow_ids_from(wanted.until + timedelta(milliseconds=1)),
        wanted.since,
        wanted.until,
        wanted.at,
        PAGE,
        *_trader(wanted),
    )
    return _page([_flow(row, wanted) for row in rows], rows, "id")


async def calls(connection: Connection, wanted: Selection, after: tuple[Any, ...] | None) -> Page:
    """Calls, by the time at which they were begun."""
    time, last = after or (wanted.since, 0)
    query = _CALLS if wanted.trader_id is None else _TRADERS_CALLS
    rows = await connection.fetch(query, time, last, wanted.until, PAGE, *_trader(wanted))
    return _page([_call(row, wanted) for row in rows], rows, "at", "id")


async def actions(connection: Connection, wanted: Selection, after: tuple[Any, ...] | None) -> Page:
    """What operators did, and which holds the program put and ended; of a trader what was done to their flows."""
    time, last = after or (wanted.since, 0)
    query = _NOTES if wanted.trader_id is None else _TRADERS_NOTES
    rows = await connection.fetch(query, time, last, wanted.until, PAGE, *_trader(wanted))
    return _page([_action(row) for row in rows], rows, "at", "id")


SOURCES: Sequence[Read] = (flows, calls, actions)
"""All that an export shows. Of the same millisecond, the first goes first."""


def _trader(wanted: Selection) -> list[str]:
    return [] if wanted.trader_id is None else [wanted.trader_id]


def _page(lines: Sequence[Line], rows: Sequence[Any], *key: str) -> Page:
    return Page(lines, tuple(rows[-1][name] for name in key) if len(rows) == PAGE else None)


def _flow(row: Any, wanted: Selection) -> Line:
    state, code, text, ended = row["state"], row["error_code"], row["error_text"], row["ended_at"]
    if ended is None or ended > wanted.at:
        state, code, text, ended = row["open_state"] or "working", None, None, None
        if row["was"] is not None:  # it had ended, and was reopened or resolved after the moment that is shown
            body = orjson.loads(row["body"])
            state, code, text, ended = row["was"], body.get("errorCode"), body.get("errorText"), row["was_at"]
    numbers = dict.fromkeys((row["calls"] or "").split())
    return Line(
        row["created_at"],
        "flow",
        str(row["id"]),
        flow_id=str(row["id"]),
        topic=row["topic"],
        event_id=row["event_id"],
        order_id=row["order_id"],
        trader_id=row["trader_id"],
        user_id=row["user_id"],
        account_id=row["account_id"],
        state=state,
        error_code=code,
        error_text=text,
        attempts=max(row["attempts"], row["most"] or 0),
        ended_at=ended,
        calls=[number for number in numbers if int(number) <= wanted.last_call],
    )


def _call(row: Any, wanted: Selection) -> Line:
    finished = row["finished_at"] is not None and row["finished_at"] <= wanted.at
    return Line(
        row["at"],
        "call",
        str(row["id"]),
        by=row["replica"],
        action=row["kind"],
        state=row["result"] if finished else None,
        error_text=row["error"] if finished else None,
        ended_at=row["finished_at"] if finished else None,
        operation=row["operation"],
        endpoint=row["endpoint"],
        domain=row["domain"],
        items=row["items"],
        http_status=row["http_status"] if finished else None,
    )


def _action(row: Any) -> Line:
    return Line(
        row["at"],
        "hold" if row["action"] in (notes.HELD, notes.RELEASED) else "operator",
        str(row["id"]),
        by=row["by"] or None,
        action=row["action"],
        subject=row["subject"],
        reason=row["reason"] or None,
        flow_id=str(row["flow_id"]) if row["flow_id"] is not None else None,
        topic=row["topic"],
        event_id=row["event_id"],
        order_id=row["order_id"],
        trader_id=row["trader_id"],
    )


_TRADER = """(select id from flow where trader_id = ${0}
    union select id from flow where user_id = (select user_id from trader where trader_id = ${0}))"""
"""The flows of the trader, those that name the trader's Tradovate user among them."""

_FLOW = """id, topic, event_id, order_id, trader_id, coalesce(user_id, (facts ->> 'userId')::bigint) as user_id,
    coalesce(account_id, (facts ->> 'accountId')::bigint) as account_id, state, round, attempts, error_code, error_text,
    created_at, ended_at"""

_ALL_FLOWS = f"""
select {_FLOW} from flow
where id > $1 and id < $2 and created_at >= $3 and created_at < $4 order by id limit $6
"""  # noqa: S608 - constants of ours

# Each flow is read by its own id (`offset 0` keeps it so), whatever the server knows of the table.
_TRADERS_FLOWS = f"""
select f.* from {_TRADER.format(7)} as found
cross join lateral (select {_FLOW} from flow where id = found.id offset 0) f
where f.id > $1 and f.id < $2 and f.created_at >= $3 and f.created_at < $4 order by f.id limit $6
"""  # noqa: S608

_FLOWS = f"""
select f.*, s.most, s.calls, s.open_state, w.status as was, w.body, w.created_at as was_at
from ({{some}}) f cross join lateral (
    select max(s.attempts) as most, string_agg(array_to_string(s.call_ids, ' '), ' ' order by s.id) as calls,
        max(case when s.ended_at is null then {WORKING} end) as open_state
    from step s where s.flow_id = f.id) s
left join lateral (
    select o.status, o.body, o.created_at from outcome o
    where f.round > 0 and (f.ended_at is null or f.ended_at > $5)
    and o.flow_id = f.id and o.created_at <= $5 and o.status <> 'pending' and not exists (
        select from note n where n.flow_id = f.id and n.action = 'retry' and n.at <= $5 and n.at > o.created_at)
    order by o.id desc limit 1) w on true
order by f.id
"""  # noqa: S608

_CALL = "id, operation, endpoint, domain, kind, items, replica, at, finished_at, result, http_status, error"

_CALLS = f"""
select {_CALL} from call where at >= $1 and (at, id) > ($1, $2) and at < $3 order by at, id limit $4
"""  # noqa: S608

_TRADERS_CALLS = f"""
select c.* from (
    select distinct unnest(s.call_ids) as id from {_TRADER.format(5)} as found
    cross join lateral (select call_ids from step where flow_id = found.id offset 0) s) as made
cross join lateral (select {_CALL} from call where id = made.id offset 0) c
where (c.at, c.id) > ($1, $2) and c.at < $3 order by c.at, c.id limit $4
"""  # noqa: S608

_NOTE = """n.id, n.at, n.action, n.by, n.reason, n.subject, n.flow_id, coalesce(n.topic, f.topic) as topic, f.event_id,
    f.order_id, f.trader_id"""

_NOTES = f"""
select {_NOTE} from (
    select * from note where at >= $1 and (at, id) > ($1, $2) and at < $3 order by at, id limit $4) n
left join lateral (select * from flow where id = n.flow_id offset 0) f on true order by n.at, n.id
"""  # noqa: S608

_TRADERS_NOTES = f"""
select {_NOTE} from {_TRADER.format(5)} as found
cross join lateral (select * from note where flow_id = found.id offset 0) n
cross join lateral (select * from flow where id = found.id offset 0) f
where (n.at, n.id) > ($1, $2) and n.at < $3 order by n.at, n.id limit $4
"""  # noqa: S608
