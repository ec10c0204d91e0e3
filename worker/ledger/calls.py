"""The call log, which is the rolling hour's budget, the audit trail and the source of some metrics in one table.

A call is written down before its bytes leave (`begin_calls`) and finished with what came back (`finish_call`), and
what the answer means for everybody - a lock-out, a penalty, a session that may be closed - is in the same transaction.
All times are the database's: replicas' clocks may differ by more than a token's last minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from worker.ledger import holds, hosts
from worker.ledger.database import Connection
from worker.ledger.writes import Writes
from worker.replies import Answer, NotExecuted, NotSent, Refusal, Reply, Silence, Ticket, Unauthorized, Unclear

BEGIN_LOCK = 5_471_903_311_867_204_029
"""Advisory transaction lock under which calls are begun, by all replicas: two that count the budget at the same
moment would both find room for the last call, and two that look for a trader's calls in flight would both find none.
At 5,000 an hour this queue is always empty. Taken first in a transaction, before any row lock."""

HOUR = timedelta(hours=1)
"""The partner's limits count in a rolling hour."""
STREAK = 2
"""Answers in a row that a closed session would give, after which the next call is a renewal (contract 5.5)."""
SESSION_SCOPE = "session"
"""`Closed.scope` when the caller's token must be looked at again first: `SessionKeeper.ensure`."""

Kind = Literal["send", "look_up", "session", "socket"]

# A call counts from when it was over: the partner counts it somewhere between its beginning and then. The ten minutes
# let the index find calls that were begun before the hour and answered in it. Bytes that never left count for nothing.
COUNTED = """
    at > statement_timestamp() - interval '70 minutes'
    and coalesce(finished_at, at) > statement_timestamp() - interval '1 hour'
    and result is distinct from 'not_sent'
"""


@dataclass(frozen=True, slots=True)
class Budget:
    """`hourly`: calls in any rolling hour, all replicas together. A tenth, at most 120, is kept back."""

    hourly: int = 4500

    @property
    def kept_back(self) -> int:
        """Calls that only sessions and revocations may use: an hour of renewals and a hundred revocations."""
        return min(120, self.hourly // 10)

    def limit(self, *, reserve: bool) -> int:
        """Calls in a rolling hour for operations that may, or may not, use what is kept back."""
        return self.hourly if reserve else self.hourly - self.kept_back


@dataclass(frozen=True, slots=True)
class Opened:
    """Calls that may be made now, one id each; fewer than asked for when the budget allowed no more."""

    call_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Closed:
    """No call now. `until`: when to ask again (None: when a person has acted). `scope`: what keeps it back, a hold's
    scope, `budget`, `limit:<endpoint>` or `SESSION_SCOPE`. `now`: the database's time, to which `until` belongs.
    """

    until: datetime | None
    why: str
    scope: str
    now: datetime


@dataclass(frozen=True, slots=True)
class BudgetView:
    """The rolling hour as the pacing and the metrics see it. `free_again_at`: when the oldest counted call leaves."""

    used: int
    left: int
    free_again_at: datetime | None
    calls: Mapping[str, int]  # by operation, sends of the last ten minutes
    items: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Calls that somebody wants to begin.

    `reserve`: may use the part of the budget that is kept back. `per_hour`: the endpoint's own limit. `reads`: the
    endpoint that a look-up of `operation` asks. `generation`: of the token that will be used; another one in the
    ledger means that it has been replaced.
    """

    operation: str
    domain: str
    kind: Kind
    replica: str
    reserve: bool = False
    per_hour: int | None = None
    reads: str | None = None
    generation: int | None = None

    @property
    def endpoint(self) -> str:
        """What penalties and limits go by."""
        return self.reads or self.operation.partition("@")[0]

    @property
    def columns(self) -> tuple[Any, ...]:
        """What a call's row says of it: operation, endpoint, domain, kind, replica, generation."""
        return self.operation, self.endpoint, str(self.domain), self.kind, self.replica, self.generation


async def begin_calls(conn: Connection, wanted: Wanted, budget: Budget, items: Sequence[int] = (1,)) -> Opened | Closed:
    """Begins a call for each entry of `items` (how many items it carries), or says until when none may be begun.

    Holds `BEGIN_LOCK` until the transaction ends: call it before anything that locks rows.
    """
    await begin_lock(conn)
    room = await room_for(conn, wanted, budget)
    if isinstance(room, Closed):
        return room
    rows = await conn.fetch(INSERT_CALLS, *wanted.columns, list(items[:room]))
    return Opened(tuple(row["id"] for row in rows))


async def begin_lock(conn: Connection) -> None:
    """Waits for `BEGIN_LOCK`: a statement of its own, for the next one must see what the former holder committed."""
    await conn.execute("select pg_advisory_xact_lock($1)", BEGIN_LOCK)


INSERT_CALLS = (
    "insert into call (operation, endpoint, domain, kind, items, replica, generation, at)"
    " select $1, $2, $3, $4, n, $5, $6, statement_timestamp()"
    " from unnest($7::integer[]) with ordinality as i (n, o) order by o returning id"
)
"""Writes calls down; its arguments are `Wanted.columns` and the items of each. Their ids ascend in that order, and
those that are begun together have the same time."""


async def room_for(conn: Connection, wanted: Wanted, budget: Budget) -> int | Closed:
    """How many calls may be begun now, or until when none may. To be asked under `BEGIN_LOCK`."""
    kind, endpoint = wanted.kind, wanted.endpoint
    scopes = [holds.ALL, holds.PAUSE_ALL, holds.pause_scope(wanted.operation), holds.endpoint_scope(endpoint)]
    state: Any = await conn.fetchrow(
        f"""
        select clock_timestamp() as now, suspect, rejected, generation, used, used_here, held.scope, held.reason,
            held.until, exists (select from host where domain = $4 and doubt is not null) as doubted
        from session cross join (
            select count(*) as used, count(*) filter (where endpoint = $1 and kind = $2) as used_here
            from call where {COUNTED}
        ) counted left join lateral (
            select scope, reason, until from hold where {holds.LIVE} and scope = any($3)
            order by until desc limit 1  -- null, what only a person can end, comes first
        ) held on true
        """,  # noqa: S608
        endpoint,
        kind,
        scopes,
        str(wanted.domain),
    )
    now: datetime = state["now"]
    if state["scope"] is not None:
        return Closed(state["until"], state["reason"], state["scope"], now)
    if kind != "session" and (why := _renewed_first(state, wanted.generation)):
        return Closed(now, why, SESSION_SCOPE, now)
    most = await _by_host(conn, wanted, now) if kind != "session" and state["doubted"] else None
    if isinstance(most, Closed):
        return most
    limit, used = budget.limit(reserve=wanted.reserve), int(state["used"])
    if used >= limit:
        free = await _free_at(conn, used - limit, None, kind)
        return Closed(free or now + HOUR, "the hour's budget is used up", "budget", now)
    per_hour = wanted.per_hour
    if per_hour is None:
        return min(limit - used, most or limit)
    used_here = int(state["used_here"])
    if used_here >= per_hour:
        free = await _free_at(conn, used_here - per_hour, endpoint, kind)
        return Closed(free or now + HOUR, f"Tradovate's limit of {per_hour} calls an hour", f"limit:{endpoint}", now)
    return min(limit - used, per_hour - used_here, most or limit)


async def _by_host(conn: Connection, wanted: Wanted, now: datetime) -> Closed | int | None:
    """What a doubt about the host of the call's domain allows: a number of calls, None for all."""
    gate, why = await hosts.gate(conn, wanted.domain, wanted.kind)
    if gate.session:
        return Closed(now, why, SESSION_SCOPE, now)
    if gate.until is not None:
        return Closed(gate.until, why, f"{hosts.SCOPE}{wanted.domain}", now)
    return 1 if gate.one else None


async def finish_call(
    conn: Connection, call_id: int, reply: Reply, *, lockout_seconds: float, locks_out: bool = True
) -> None:
    """Notes what came back, and moves what everybody shares in the same transaction.

    Call it first in its transaction: all that finish then lock in one order - call, hold, session, host - and cannot
    deadlock. A second finish of the same call changes nothing. Not `locks_out`: a 423 or 429 to this call is no
    lock-out (contract 5.5: the renewal after a lock-out).
    """
    call = await conn.fetchrow(f"{_OVER} returning endpoint, domain, kind, generation, at", *_over(call_id, reply))
    if call is None:
        return
    if call["kind"] != "session" and (sign := _against_host(reply, call)) is not None:
        await hosts.doubt(conn, call["domain"], call["generation"], sign)
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
        case Answer() | Refusal() if call["kind"] != "session":
            await conn.execute(_CALMED)
            await conn.execute(hosts.PROVEN, call_id)
        case _:
            pass


def _against_host(reply: Reply, call: Mapping[str, Any]) -> hosts.Sign | None:
    """What a reply says against the host that it came from. An empty 404 to a read may mean that there is none: the
    look-up finds out, and says so itself (`hosts.doubt`).
    """
    socket = call["kind"] == "socket"
    match reply:
        case NotExecuted(why, status, leads_to):
            empty = status in (404, 405)
            if empty and call["kind"] == "look_up":
                return None
            return hosts.Sign(why, strong=not empty, begun_at=call["at"], leads_to=leads_to, socket=socket)
        case NotSent(why, unreachable=True):
            return hosts.Sign(why, strong=False, begun_at=call["at"], socket=socket)
        case _:
            return None


async def lock_out(conn: Connection, status: int, lasts: timedelta) -> None:
    """Silences everybody; the session may have been closed, so that a renewal comes first when it is over."""
    await holds.put(conn, holds.ALL, f"locked out: Tradovate answered {status}", lasts=lasts)
    await conn.execute(
        "update session set suspect = true, renewal_failed = false, renew_after = null"
        " where not suspect or renewal_failed"
    )


FAIR = (Answer, Refusal)
"""Replies that say nothing of the session, of lock-outs or of penalties."""


def add_answered(writes: Writes, call_id: int, reply: Reply) -> None:
    """What `finish_call` does for an ordinary call in fair weather, as parts of a transaction's only writes.

    Its locks come after those of traders, orders and steps: nobody who holds a call or the session waits for these.
    """
    writes.add("answered", f"{_OVER} returning 1", *_over(call_id, reply))
    writes.add("calmed", f"{_CALMED} returning 1")
    writes.add("proven", f"{hosts.PROVEN} returning 1", call_id)


_OVER = (
    "update call set finished_at = clock_timestamp(), result = $2::text, http_status = $3::integer, error = $4::text"
    " where id = $1::bigint and finished_at is null"
)
_CALMED = "update session set streak = 0 where streak <> 0"
"""Reads first: in fair weather nobody locks the row that all lanes share."""


def _over(call_id: int, reply: Reply) -> tuple[int, str, int | None, str | None]:
    return call_id, result_name(reply), _status(reply), _error(reply)


async def budget_view(conn: Connection, budget: Budget) -> BudgetView:
    """The rolling hour in one statement over at most an hour's calls: some milliseconds."""
    row = await conn.fetchrow(
        f"""
        with counted as materialized (
            select operation, kind, items, at, coalesce(finished_at, at) as since from call where {COUNTED}
        ), recent as (
            select operation, count(*) as calls, sum(items) as items from counted
            where kind = 'send' and at > statement_timestamp() - interval '10 minutes' group by operation
        )
        select (select count(*) from counted) as used,
            (select min(since) from counted) as oldest,
            (select coalesce(jsonb_object_agg(operation, jsonb_build_array(calls, items)), '{{}}')
             from recent) as recent
        """  # noqa: S608
    )
    assert row is not None
    recent: dict[str, list[int]] = row["recent"]
    return BudgetView(
        used=row["used"],
        left=max(0, budget.hourly - row["used"]),
        free_again_at=None if row["oldest"] is None else row["oldest"] + HOUR,
        calls={operation: calls for operation, (calls, _) in recent.items()},
        items={operation: items for operation, (_, items) in recent.items()},
    )


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
        case NotExecuted():
            return "not_executed"
        case _:
            return type(reply).__name__.lower()


def _renewed_first(session: Mapping[str, Any], generation: int | None) -> str | None:
    if session["suspect"]:
        return "the session may have been closed from outside: it is renewed first"
    if session["rejected"]:
        return "the token was not accepted: it is renewed first"
    if generation is not None and generation != session["generation"]:
        return "the token has been replaced"
    return None


async def _free_at(conn: Connection, too_many: int, endpoint: str | None, kind: Kind) -> datetime | None:
    """When enough of the counted calls (of `endpoint` and `kind`, or all) have left the hour for one more."""
    at: datetime | None = await conn.fetchval(
        f"select coalesce(finished_at, at) + interval '1 hour' from call where {COUNTED}"  # noqa: S608
        " and ($2::text is null or (endpoint = $2 and kind = $3)) order by coalesce(finished_at, at) offset $1 limit 1",
        too_many,
        endpoint,
        kind,
    )
    return at


def _status(reply: Reply) -> int | None:
    match reply:
        case Answer() | Ticket():
            return 200
        case Unauthorized():
            return 401
        case Refusal(status=status) | Silence(status=status) | NotExecuted(status=status) | Unclear(status=status):
            return status
        case NotSent():
            return None


def _error(reply: Reply) -> str | None:
    """Codes and our own words only: the log is kept for a year, and the partner's texts may name persons."""
    match reply:
        case Refusal(code=code):
            return code
        case NotSent(why) | NotExecuted(why=why) | Unclear(why=why):
            return why
        case Answer() | Ticket() | Silence() | Unauthorized():
            return None
