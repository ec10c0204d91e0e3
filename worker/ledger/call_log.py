"""The call log, which is what the rate budget counts, the audit trail and the source of some metrics in one table.

A call is written before its bytes leave (`insert_calls`; one that is no claim's by `begin_calls`), and finished with
its response (`ENDED_CALL` for an ordinary one, else `finish_call`). What the response means for all replicas - a
lock-out, a penalty, a session that may be closed - is written in the same transaction. All times are the database's:
replicas' clocks may differ by more than a token's last minutes.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from worker.engine.steps.splitting import Signs
from worker.ledger import holds, host_table
from worker.ledger.budget import HOUR, Budget, Closed, Wanted, room_for
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection
from worker.ledger.statement import Part, Rows
from worker.replies import Answer, Misdirected, NotSent, Refusal, Reply, Silence, Ticket, Unauthorized, Unclear

BEGIN_LOCK = 5_471_903_311_867_204_029
"""Advisory transaction lock under which all replicas begin calls. Without it, two that count the budget at the same
moment would both find room for the last call, and two that look for a trader's calls in flight would both find none. At
5,000 an hour this queue is always empty. Taken first in a transaction, before any row lock."""

STREAK = 2
"""Answers in a row that a closed session would give, after which the next call is a renewal (README, "What happens
when")."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Calls that may be made now, one id each; fewer than asked for when the budget allowed no more."""

    call_ids: tuple[int, ...]


async def begin_calls(
    conn: Connection, wanted: Wanted, budget: Budget, items: Sequence[int] = (1,), lease: uuid.UUID | None = None
) -> Opened | Closed:
    """Begins a call for each entry of `items` (how many items it carries), or says until when none may be begun.

    `lease`: of the steps that they are for. Holds `BEGIN_LOCK` until the transaction ends: call it before anything
    that locks rows.
    """
    await begin_lock(conn)
    room = await room_for(conn, wanted, budget)
    if isinstance(room, Closed):
        return room
    rows = await conn.fetch(_INSERT_FOR_LEASE, *wanted.columns, list(items[:room]), lease)
    return Opened(tuple(row["id"] for row in rows))


async def begin_read(
    conn: Connection, vault: Vault, wanted: Wanted, budget: Budget, asked: bytes, lease: uuid.UUID | None = None
) -> tuple[Opened | Closed, str | None]:
    """Begins one read, for the steps of a lease; besides, the penalty ticket that goes with what is `asked`: a body, or
    a query.
    """
    opened = await begin_calls(conn, wanted, budget, lease=lease)
    if isinstance(opened, Closed):
        return opened, None
    hold = await holds.ticket_at(conn, wanted.endpoint)
    if hold is None or hold.body_digest is None or not vault.same(hold.body_digest, asked):
        return opened, None
    return opened, hold.ticket if await holds.spend_ticket(conn, hold.id) else None


async def steps_wait(conn: Connection, operations: Sequence[str], within: timedelta) -> bool:
    """Whether a step of these operations could be sent or looked up now, and has been so for `within` at most. One that
    has waited longer lingers, or is held back by something that is not the budget.
    """
    return bool(await conn.fetchval(_STEPS_WAIT, list(operations), within))


_STEPS_WAIT = """
select exists (
    select from unnest($1::text[]) as o (operation) cross join unnest(array['due', 'unknown']) as s (state)
    cross join lateral (
        select from step where step.state = s.state and step.operation = o.operation and lease is null
            and due <= statement_timestamp() and due > statement_timestamp() - $2::interval
            and state in ('due', 'unknown', 'waiting') limit 1) as ready)
"""


async def begin_lock(conn: Connection) -> None:
    """Waits for `BEGIN_LOCK`: a statement of its own, for the next one must see what the former holder committed."""
    await conn.execute("select pg_advisory_xact_lock($1)", BEGIN_LOCK)


async def try_begin_lock(conn: Connection) -> bool:
    """Takes `BEGIN_LOCK` if it is free. For a transaction that has row locks already, and so must not wait for it."""
    return bool(await conn.fetchval("select pg_try_advisory_xact_lock($1)", BEGIN_LOCK))


def insert_calls(flow_ids: str) -> str:
    """Writes calls down; its arguments are `Wanted.columns` and the items of each. Their ids ascend in that order, and
    those that are begun together have the same time. `flow_ids`: SQL for the flows of the call with the number `o`.
    """
    return f"""insert into call (operation, endpoint, domain, kind, items, flow_ids, replica, generation, at)
    select $1, $2, $3, $4, n, {flow_ids}, $5, $6, statement_timestamp()
    from unnest($7::integer[]) with ordinality as i (n, o) order by o returning id"""  # noqa: S608 - constants of ours


_INSERT_FOR_LEASE = insert_calls("(select array_agg(distinct flow_id) from step where lease = $8::uuid)")


async def finish_call(
    conn: Connection, call_id: int, reply: Reply, *, lockout_seconds: float, locks_out: bool = True
) -> None:
    """Notes what came back, and changes what all replicas share in the same transaction.

    Call it first in its transaction: all that finish then lock in one order - call, hold, session, host - and cannot
    deadlock. A second finish of the same call changes nothing. Not `locks_out`: a 423 or 429 to this call is no
    lock-out (README, "What happens when": the renewal after a lock-out).
    """
    call = await conn.fetchrow(f"{_OVER} returning endpoint, domain, kind, generation, at", *_over(call_id, reply))
    if call is None:
        return
    if call["kind"] != "session" and (sign := _against_host(reply, call)) is not None:
        await host_table.doubt(conn, call["domain"], call["generation"], sign)
    match reply:
        case Silence(status) if locks_out:
            await lock_out(conn, status, timedelta(seconds=lockout_seconds))
        case Ticket(captcha=True):
            await holds.put(
                conn,
                holds.endpoint_scope(call["endpoint"]),
                "a penalty ticket with a captcha, which no program can solve",
                lasts=holds.CAPTCHA_WAIT,
            )
        case Unclear() if reply.closed_session and call["kind"] != "session":
            # Late answers of calls that went with a former token say nothing about this one.
            await conn.execute(
                "update session set streak = streak + 1, suspect = suspect or streak + 1 >= $2,"
                " renew_after = case when not suspect and streak + 1 >= $2 then null else renew_after end"
                " where $1::bigint is null or generation = $1",
                call["generation"],
                STREAK,
            )
        case Answer(documented=True) | Refusal() if call["kind"] != "session":
            await calm(conn, call_id)
        case _:
            pass


def _against_host(reply: Reply, call: Mapping[str, Any]) -> host_table.Sign | None:
    """What a reply says against the host that it came from. An empty 404 to a read may mean that there is none: the
    look-up finds out, and says so itself (`host_table.doubt`).
    """
    socket = call["kind"] == "socket"
    match reply:
        case Misdirected(why, status, leads_to):
            empty = status in (404, 405)
            if empty and call["kind"] == "look_up":
                return None
            return host_table.Sign(why, strong=not empty, begun_at=call["at"], leads_to=leads_to, socket=socket)
        case NotSent(why, unreachable=True):
            return host_table.Sign(why, strong=False, begun_at=call["at"], socket=socket)
        case _:
            return None


async def finish_read(
    conn: Connection, vault: Vault, call_id: int, reply: Reply, endpoint: str, asked: bytes, *, lockout_seconds: float
) -> None:
    """Notes what came of a read of a look-up: the call, and a ticket that goes with what was `asked`, a body or a
    query, once its wait has passed.
    """
    await finish_call(conn, call_id, reply, lockout_seconds=lockout_seconds)
    if isinstance(reply, Ticket) and not reply.captcha:
        await holds.put_ticket(conn, endpoint, reply.wait, reply.ticket, body_digest=vault.digest(asked), batch_id=None)


async def lock_out(conn: Connection, status: int, lasts: timedelta) -> None:
    """Stops the calls of all replicas; the session may have been closed, so that a renewal comes first when it ends."""
    await holds.put(conn, holds.ALL, f"locked out: Tradovate answered {status}", lasts=lasts)
    await conn.execute(
        "update session set suspect = true, renewal_failed = false, renew_after = null"
        " where not suspect or renewal_failed"
    )


FAIR = (Answer, Refusal)
"""Replies that say nothing of the session, of lock-outs or of penalties."""


@dataclass(frozen=True, slots=True)
class EndedCall:
    """A call that has ended with `reply`, at `at` (monotonic seconds): a lock-out began then. `put_ticket`: writes its
    penalty ticket, in the same transaction.
    """

    id: int
    reply: Reply
    at: float = field(default_factory=time.monotonic)
    put_ticket: Callable[[Connection], Awaitable[None]] | None = None

    @property
    def ordinary(self) -> bool:
        """Whether `ENDED_CALL` notes all of it."""
        return isinstance(self.reply, FAIR)


def ended_rows(call: EndedCall | None) -> Rows:
    """The rows of `ENDED_CALL`: of an ordinary call."""
    if call is None or not call.ordinary:
        return ()
    return [dict(zip(("id", "result", "http_status", "error"), _over(call.id, call.reply), strict=True))]


ENDED_CALL = Part(
    "ended_call",
    """
with ended as materialized (
    select * from json_to_recordset(:rows) as ended (id bigint, result text, http_status int, error text))
update call set finished_at = clock_timestamp(), result = ended.result, http_status = ended.http_status,
    error = ended.error
from ended
where call.id = any(array(select id from ended)) and call.id = ended.id and finished_at is null
returning exists (select from session where streak <> 0)
    or exists (select from host where doubt is not null or hops > 0) as calms
""",
    "bool_or(calms)",
)
"""What `finish_call` does for an ordinary call with a reply of `FAIR`; true when `calm` has something to do.

Its locks come after those of traders, orders and steps: a transaction that holds a call or the session waits for none
of these.
"""


async def calm(conn: Connection, call_id: int) -> None:
    """After a reply of `FAIR`: the session is not suspect for the calls before, and the host is the right one."""
    await conn.execute(_CALMED)
    await conn.execute(host_table.PROVEN, call_id)


_OVER = (
    "update call set finished_at = clock_timestamp(), result = $2::text, http_status = $3::integer, error = $4::text"
    " where id = $1::bigint and finished_at is null"
)
_CALMED = "update session set streak = 0 where streak <> 0"
"""Mostly changes nothing, and then locks nothing: all lanes share this row."""


def _over(call_id: int, reply: Reply) -> tuple[int, str, int | None, str | None]:
    return call_id, result_name(reply), _status(reply), _error(reply)


async def signs_since(conn: Connection, operation: str, since: int) -> Signs:
    """How calls that sent steps of `operation` and were begun after the call `since` have fared."""
    row = await conn.fetchrow(
        "select coalesce(max(id) filter (where result = any($3::text[])), 0) as answered,"
        " count(*) filter (where result <> all($3::text[])) as failed"
        " from call where operation || ' ' || result = any($1::text[]) and id > $2 and kind = 'send'",
        [f"{operation} {result}" for result in (*_ANSWERED, *_FAILED)],
        since,
        _ANSWERED,
    )
    return Signs(row["answered"], row["failed"])


_ANSWERED = ["answer", "refusal"]
_FAILED = ["unclear", "not_executed", "unauthorized"]


async def not_permitted(conn: Connection) -> Sequence[str]:
    """Endpoints whose last call of the last hour was answered 401, though a later call with the same token or a newer
    one was answered: the API key lacks a permission.
    """
    rows = await conn.fetch(
        "with recent as materialized (select id, endpoint, result, generation from call"
        " where at > statement_timestamp() - interval '1 hour' and result is not null and kind in ('send', 'look_up'))"
        " select endpoint from (select distinct on (endpoint) * from recent order by endpoint, id desc) as last"
        " where result = 'unauthorized' and exists (select from recent where result = any($1::text[])"
        " and generation >= last.generation) order by endpoint",
        _ANSWERED,
    )
    return [row["endpoint"] for row in rows]


async def prune(conn: Connection, keep: timedelta, most: int = 10_000) -> int:
    """Deletes up to `most` calls older than `keep` (never of the last two hours, which still count); how many."""
    status: str = await conn.execute(
        "delete from call where id in (select id from call where at < statement_timestamp() - $1::interval"
        " order by at limit $2)",
        max(keep, 2 * HOUR),
        most,
    )
    return int(status.rpartition(" ")[2])


def result_name(reply: Reply) -> str:
    """A reply's name in the call log and in metrics: answer, refusal, ticket, silence, unauthorized, ..."""
    match reply:
        case NotSent():
            return "not_sent"
        case Misdirected():
            return "not_executed"
        case _:
            return type(reply).__name__.lower()


def _status(reply: Reply) -> int | None:
    match reply:
        case Answer() | Ticket():
            return 200
        case Unauthorized():
            return 401
        case Refusal(status=status) | Silence(status=status) | Misdirected(status=status) | Unclear(status=status):
            return status
        case NotSent():
            return None


def _error(reply: Reply) -> str | None:
    """Codes and our own words only: the log is kept for a year, and the partner's texts may name persons."""
    match reply:
        case Refusal(code=code):
            return code
        case NotSent(why) | Misdirected(why=why) | Unclear(why=why):
            return why
        case Answer() | Ticket() | Silence() | Unauthorized():
            return None
