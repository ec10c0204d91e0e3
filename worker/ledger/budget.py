"""The rate budget: how many calls may be begun now, in any rolling hour and minute, all replicas and bridges together.

It is counted in the call log. All times are the database's: replicas' clocks may be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from worker.ledger import holds, host_table
from worker.ledger.database import Connection

HOUR = timedelta(hours=1)
"""The partner's limits count in a rolling hour."""
MINUTE = timedelta(minutes=1)
"""The firm's own limit on bursts, and the vendor's second one, count in a rolling minute."""
LIMIT = "limit:"
"""`Closed.scope` begins with it when an endpoint's own limit is reached."""
SESSION_SCOPE = "session"
"""`Closed.scope` when the caller's token must be looked at again first: `SessionKeeper.ensure`."""

BUDGET, MINUTE_BUDGET = "budget", "minute"
"""`Closed.scope` when the hour's or the minute's budget is used up."""
BEGUN_WITHIN = 5.0
"""Seconds between the moment in which a call is written down and its first byte; later it is not sent. A replica that
was frozen in between must not send what others have looked up by then: they look after the whole lease, which is
longer."""

Kind = Literal["send", "look_up", "session", "socket"]

# A call counts from its end: the partner counts it somewhere between its beginning and then. The ten minutes
# let the index find calls that were begun before the hour and answered in it. Bytes that never left count for nothing.
COUNTED = """
    at > statement_timestamp() - interval '70 minutes'
    and coalesce(finished_at, at) > statement_timestamp() - interval '1 hour'
    and result is distinct from 'not_sent'
"""

# Of these, the calls of the rolling minute. One that is in flight may be counted by the partner at any moment until it
# has ended; if its replica has died, it counts as ended after the longest time that a call takes ({longest}, an
# interval).
OF_THE_MINUTE = """
    coalesce(finished_at, statement_timestamp()) > statement_timestamp() - interval '1 minute'
    and at > statement_timestamp() - interval '1 minute' - {longest}
"""


class BudgetSettings(Protocol):
    """The settings that a budget is made of."""

    @property
    def tradovate_hourly_budget(self) -> int: ...
    @property
    def tradovate_minute_budget(self) -> int: ...
    @property
    def tradovate_timeout_seconds(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Budget:
    """`hourly`, `minute`: calls in any rolling hour and minute, all replicas and bridges together. `longest`: from the
    moment in which a call is written down until it has ended.
    """

    hourly: int = 4500
    minute: int = 600
    longest: timedelta = timedelta(seconds=65)

    @classmethod
    def of(cls, settings: BudgetSettings) -> Budget:
        """The budget that the settings give."""
        longest = timedelta(seconds=settings.tradovate_timeout_seconds + BEGUN_WITHIN)
        return cls(settings.tradovate_hourly_budget, settings.tradovate_minute_budget, longest)

    @property
    def kept_back(self) -> int:
        """Of an hour's calls, those that only sessions, revocations and locks may use: an hour of renewals and a
        hundred revocations.
        """
        return min(120, self.hourly // 10)

    @property
    def minute_kept_back(self) -> int:
        """Of a minute's calls, those that only sessions, revocations and locks may use. A renewal and a login are two,
        and ten full calls revoke a thousand trading permissions. The rest is for revocations and locks that arrive one
        by one. One call at least, however small the budget: a session that cannot be renewed stops everything.
        """
        return min(60, max(self.minute // 10, 1)) if self.minute > 1 else 0

    @property
    def for_steps(self) -> int:
        """Share of an hour's ordinary calls that commands with bulk reads leave to the worker's own steps: a tenth, so
        that a firm can sell while it imports ten thousand accounts.
        """
        return self.limit(reserve=False) // 10

    @property
    def minute_for_steps(self) -> int:
        """The same of a minute: half, for steps come in bursts, and a bulk read can wait for the next minute."""
        return self.minute_limit(reserve=False) // 2

    def limit(self, *, reserve: bool) -> int:
        """Calls in a rolling hour for operations that may, or may not, use what is kept back."""
        return self.hourly if reserve else self.hourly - self.kept_back

    def minute_limit(self, *, reserve: bool) -> int:
        """The same for a rolling minute."""
        return self.minute if reserve else self.minute - self.minute_kept_back


@dataclass(frozen=True, slots=True)
class Closed:
    """No call now. `until`: when to ask again (None: when an operator has acted). `scope`: what keeps it back, a hold's
    scope, `budget`, `minute`, `limit:<endpoint>` or `SESSION_SCOPE`. `now`: the database's time, to which `until`
    belongs.
    """

    until: datetime | None
    why: str
    scope: str
    now: datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """Calls that a replica wants to begin.

    `reserve`: may use the part of the budget that is kept back. `per_hour`, `per_minute`: the endpoint's own limits.
    `reads`: the endpoint that a look-up of `operation` asks. `generation`: of the token that will be used; another one
    in the ledger means that it has been replaced. `spare`: it takes only what the worker's own steps do not need.
    """

    operation: str
    domain: str
    kind: Kind
    replica: str
    reserve: bool = False
    per_hour: int | None = None
    per_minute: int | None = None
    reads: str | None = None
    generation: int | None = None
    spare: bool = False

    @property
    def endpoint(self) -> str:
        """What penalties and limits go by."""
        return self.reads or self.operation.partition("@")[0]

    @property
    def columns(self) -> tuple[Any, ...]:
        """What a call's row says of it: operation, endpoint, domain, kind, replica, generation."""
        return self.operation, self.endpoint, str(self.domain), self.kind, self.replica, self.generation


async def room_for(conn: Connection, wanted: Wanted, budget: Budget) -> int | Closed:
    """How many calls may be begun now, or until when none may. To be asked under `BEGIN_LOCK`."""
    kind, endpoint = wanted.kind, wanted.endpoint
    scopes = [holds.ALL, holds.PAUSE_ALL, holds.pause_scope(wanted.operation), holds.endpoint_scope(endpoint)]
    of_the_minute = OF_THE_MINUTE.format(longest="$4::interval")
    state: Any = await conn.fetchrow(
        f"""
        select clock_timestamp() as now, suspect, rejected, generation, used, used_here, used_minute,
            used_minute_here, held.scope, held.reason, held.until,
            exists (select from host where domain = $5 and doubt is not null) as doubted
        from session cross join (
            select count(*) as used, count(*) filter (where endpoint = $1 and kind = $2) as used_here,
                count(*) filter (where {of_the_minute}) as used_minute,
                count(*) filter (where {of_the_minute} and endpoint = $1 and kind = $2) as used_minute_here
            from call where {COUNTED}
        ) counted left join lateral (
            select scope, reason, until from hold where {holds.LIVE} and scope = any($3)
            order by until desc limit 1  -- null, what only an operator can end, comes first
        ) held on true
        """,  # noqa: S608
        endpoint,
        kind,
        scopes,
        budget.longest,
        str(wanted.domain),
    )
    now: datetime = state["now"]
    if state["scope"] is not None:
        return Closed(state["until"], state["reason"], state["scope"], now)
    if kind != "session" and (why := _renewed_first(state, wanted.generation)):
        return Closed(now, why, SESSION_SCOPE, now)
    rooms: list[int] = []
    if kind != "session" and state["doubted"]:
        most = await _by_host(conn, wanted, now)
        if isinstance(most, Closed):
            return most
        rooms += [] if most is None else [most]
    for limit in _limits(wanted, budget, state):
        if limit.room <= 0:
            free = await _free_at(conn, wanted, budget, limit)
            return Closed(free or now + limit.within, limit.why, limit.scope, now)
        rooms.append(limit.room)
    return min(rooms)


async def _by_host(conn: Connection, wanted: Wanted, now: datetime) -> Closed | int | None:
    """What a doubt about the host of the call's domain allows: a number of calls, None for all."""
    gate, why = await host_table.gate(conn, wanted.domain, wanted.kind)
    if gate.session:
        return Closed(now, why, SESSION_SCOPE, now)
    if gate.until is not None:
        return Closed(gate.until, why, f"{host_table.SCOPE}{wanted.domain}", now)
    return 1 if gate.one else None


@dataclass(frozen=True, slots=True)
class _Limit:
    """A limit that a call must keep, and how many more calls it allows; `here`: of this endpoint."""

    scope: str
    room: int
    within: timedelta
    why: str
    here: bool = False


def _limits(wanted: Wanted, budget: Budget, state: Mapping[str, int]) -> Iterator[_Limit]:
    hour, minute = budget.limit(reserve=wanted.reserve), budget.minute_limit(reserve=wanted.reserve)
    of_hour, of_minute = "the hour's budget is used up", "the minute's budget is used up"
    if wanted.spare:
        hour, minute = hour - budget.for_steps, minute - budget.minute_for_steps
        of_hour, of_minute = (
            f"{of_hour}, but for the worker's own calls",
            f"{of_minute}, but for the worker's own calls",
        )
    yield _Limit(BUDGET, hour - state["used"], HOUR, of_hour)
    yield _Limit(MINUTE_BUDGET, minute - state["used_minute"], MINUTE, of_minute)
    scope = f"{LIMIT}{wanted.endpoint}"
    if wanted.per_hour is not None:
        why = f"its limit of {wanted.per_hour} calls an hour"
        yield _Limit(scope, wanted.per_hour - state["used_here"], HOUR, why, here=True)
    if wanted.per_minute is not None:
        why = f"its limit of {wanted.per_minute} calls a minute"
        yield _Limit(scope, wanted.per_minute - state["used_minute_here"], MINUTE, why, here=True)


def _renewed_first(session: Mapping[str, Any], generation: int | None) -> str | None:
    if session["suspect"]:
        return "the session may have been closed from outside: it is renewed first"
    if session["rejected"]:
        return "the token was not accepted: it is renewed first"
    if generation is not None and generation != session["generation"]:
        return "the token has been replaced"
    return None


async def _free_at(conn: Connection, wanted: Wanted, budget: Budget, limit: _Limit) -> datetime | None:
    """When enough of the calls that the limit counts have left its hour or minute for one more."""
    of_the_minute = limit.within == MINUTE
    at: datetime | None = await conn.fetchval(
        f"select coalesce(finished_at, case when $4 then statement_timestamp() else at end) + $5::interval"  # noqa: S608
        f" from call where {COUNTED} and ($2::text is null or (endpoint = $2 and kind = $3))"
        f" and (not $4 or ({OF_THE_MINUTE.format(longest='$6::interval')})) order by 1 offset $1 limit 1",
        -limit.room,
        wanted.endpoint if limit.here else None,
        wanted.kind,
        of_the_minute,
        limit.within,
        budget.longest,
    )
    return at
