"""Where each domain of the organization is, whether that host may be the wrong one, and what is done about it.

A wrong host answers 3xx or 421, or 404 or 405 without a body, or cannot be reached at all; nothing was executed then
(README, "What happens when"). Such a reply doubts the host. No call of the domain begins until the session has been
renewed, for a renewal returns the hosts. If that does not help, the calls go on: after a strong sign one at a time,
with a back-off.

The changes of a row are pure (`DomainHost`); they are written under the row's lock.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta

from worker.backoff import Schedule
from worker.ledger.database import Connection

ASK_AGAIN = timedelta(minutes=5)
"""After a renewal that did not help, until the next one for the same doubt. Renewals are limited to 12 an hour."""
ASK_AGAIN_WEAK = timedelta(minutes=15)
"""The same after a weak sign: an empty 404 may be the right host's answer, an unreachable host may be restarting."""
LONGEST_WAIT = 15.0
"""Seconds between two calls that find out whether a host is right again: it must not be noticed late for long."""
_BETWEEN_TRIES = Schedule(base=1.0, cap=LONGEST_WAIT, jitter=0.0)
SOON = timedelta(seconds=0.5)
"""Until the next look while a renewal or a call that finds out is under way."""
OVER_BY = timedelta(minutes=2)
"""A call that finds out and is not over by then belongs to a replica that died (the usual call takes a minute)."""

SCOPE = "host:"
"""`Closed.scope` begins with it when a call waits because its domain's host is wrong."""


@dataclass(frozen=True, slots=True)
class Sign:
    """What a reply says against a host. `strong`: no right host answers like this. `leads_to`: where a redirect leads.
    `socket`: it came of a WebSocket, which has a back-off of its own. `begun_at`: when the call was begun.
    """

    why: str
    strong: bool
    begun_at: datetime
    leads_to: str | None = None
    socket: bool = False


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a call of a domain may begin. `session`: look at the session first (`SessionKeeper.ensure`); `until`:
    not before then; `one`: one, to find out whether the host is right. None of them: yes.
    """

    session: bool = False
    until: datetime | None = None
    one: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainHost:
    """The row of a domain. `host` None: the settings' own host; else `name` or `name:port`, with its `source`."""

    domain: str
    host: str | None = None
    source: str | None = None
    belongs: bytes | None = field(default=None, repr=False)  # keyed hash of the settings that the host belongs to
    generation: int = 0  # of the token with which the host came into use
    since: datetime | None = None
    moved_from: str | None = None  # the host that a redirect led away from
    hops: int = 0  # redirects followed since a call succeeded, or since a response named the host
    ignored: str | None = None  # the value of the last response that was not used, for the operator
    ignored_why: str | None = None
    doubt: str | None = None  # why the host may be the wrong one
    strong: bool = False
    doubted_at: datetime | None = None
    leads_to: str | None = None  # the host of a redirect, trusted or not
    asked_at: datetime | None = None  # since when it is known that a renewal does not help
    ask_at: datetime | None = None  # no renewal for a doubt before; kept when the doubt ends, since it may come back
    ask_strong: bool = False  # `ask_at` was set for a strong sign
    try_at: datetime | None = None  # no call before, after a strong sign and a renewal that did not help
    tries: int = 0

    def asks(self, now: datetime) -> bool:
        """Whether a renewal is due that fetches the hosts."""
        return self.doubt is not None and (self.ask_at is None or self.ask_at <= now)

    def gate(self, kind: str, now: datetime, busy_until: datetime | None) -> Gate:
        """Whether a call of this kind may begin. `busy_until`: a renewal or login is under way until then."""
        if self.doubt is None:
            return Gate()
        if self.asks(now):
            busy = busy_until is not None and busy_until > now
            return Gate(until=now + SOON) if busy else Gate(session=True)
        if not self.strong:
            return Gate()
        if self.asked_at is None:
            return Gate(until=self.ask_at)  # the renewal failed, and is tried again soon
        if kind == "socket" or self.try_at is None:
            return Gate()
        return Gate(until=self.try_at) if self.try_at > now else Gate(one=True)

    def doubted(self, sign: Sign, now: datetime) -> DomainHost:
        """After a reply that speaks against the host."""
        # What was asked for a weak sign says nothing about a strong one. A redirect that comes to be known after the
        # renewal (the refusal of a WebSocket names none) needs the next one at once: with it, it is followed.
        if sign.strong and (not self.ask_strong or (sign.leads_to is not None and self.leads_to is None)):
            row = replace(self, ask_at=None, asked_at=None, tries=0, try_at=None)
        elif self.doubt is None and self.ask_at is not None and self.ask_at > now:
            row = replace(self, asked_at=now)  # the doubt is back, and a renewal did not help a moment ago
        else:
            row = self
        row = replace(
            row,
            doubt=sign.why,
            strong=row.strong or sign.strong,
            doubted_at=row.doubted_at or now,
            leads_to=sign.leads_to or row.leads_to,
        )
        # Late replies to calls that were begun before the renewal say nothing new.
        if row.asked_at is None or not sign.strong or sign.socket or sign.begun_at < (self.asked_at or sign.begun_at):
            return row
        wait = timedelta(seconds=_BETWEEN_TRIES.delay(row.tries + 1))
        return replace(row, tries=min(row.tries + 1, 10), try_at=now + wait)

    def asked(self, now: datetime) -> DomainHost:
        """After a renewal that did not help, or where none can: the calls go on, with a back-off."""
        return replace(
            self,
            asked_at=now,
            ask_at=now + (ASK_AGAIN if self.strong else ASK_AGAIN_WEAK),
            ask_strong=self.strong,
            tries=0,
            try_at=now if self.strong else None,
        )

    def postponed(self, until: datetime, now: datetime) -> DomainHost:
        """No renewal can be made for this doubt before `until`. If that is long, the calls do not wait for it."""
        if until - now > timedelta(seconds=LONGEST_WAIT):
            return replace(self.asked(now), ask_at=until)
        return replace(self, ask_at=until, ask_strong=self.strong)

    def moved(
        self, host: str | None, source: str | None, generation: int, now: datetime, redirected_from: str | None = None
    ) -> DomainHost:
        """At another host from now on: nothing that was said of the former one counts."""
        return DomainHost(
            domain=self.domain,
            host=host,
            source=source,
            belongs=self.belongs,
            generation=generation,
            since=now,
            moved_from=redirected_from,
            hops=0 if redirected_from is None else self.hops + 1,
            ignored=self.ignored,
            ignored_why=self.ignored_why,
        )


_NAMES = tuple(each.name for each in fields(DomainHost))
_COLUMNS = ", ".join(_NAMES)


async def load(conn: Connection) -> list[DomainHost]:
    """Both domains."""
    rows = await conn.fetch(f"select {_COLUMNS} from host order by domain desc")  # noqa: S608 - constants of ours
    return [DomainHost(**dict(row)) for row in rows]


async def now(conn: Connection) -> datetime:
    """The database's time."""
    at: datetime = await conn.fetchval("select clock_timestamp()")
    return at


async def save(conn: Connection, row: DomainHost) -> None:
    """Writes a row that was read in this transaction, under the session row's lock or its own."""
    values = [getattr(row, name) for name in _NAMES]
    places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
    await conn.execute(f"update host set ({_COLUMNS}) = row ({places}) where domain = $1", *values)  # noqa: S608


async def gate(conn: Connection, domain: str, kind: str) -> tuple[Gate, str]:
    """Whether a call of a doubted domain may begin, and what keeps it back. Only a doubted domain needs to ask."""
    row = await _row(conn, domain)
    state = await conn.fetchrow(
        "select clock_timestamp() as now, lease_until, exists (select from call where result is null and domain = $1"
        " and kind in ('send', 'look_up') and at >= $2 and at > clock_timestamp() - $3::interval) as finding_out"
        " from session",
        domain,
        row.try_at,
        OVER_BY,
    )
    assert state is not None, "the migration writes the session's row"
    found = row.gate(kind, state["now"], state["lease_until"])
    if found.one and state["finding_out"]:
        found = Gate(until=state["now"] + SOON)
    return found, f"the host of {domain.upper()} may be wrong: {row.doubt}"


async def doubt(conn: Connection, domain: str, generation: int | None, sign: Sign) -> None:
    """Notes a reply that speaks against the host of `domain`, unless the call went to a former one."""
    row = await _row(conn, domain, lock=True)
    if generation is not None and generation < row.generation:
        return
    await save(conn, row.doubted(sign, await now(conn)))


async def doubt_of_call(conn: Connection, call_id: int, why: str) -> None:
    """Notes that the response to a read speaks against the host that the call went to; nothing if the call is gone."""
    call = await conn.fetchrow("select domain, generation, at from call where id = $1", call_id)
    if call is not None:
        await doubt(conn, call["domain"], call["generation"], Sign(why, strong=False, begun_at=call["at"]))


PROVEN = """
update host set doubt = null, strong = false, doubted_at = null, leads_to = null, asked_at = null, try_at = null,
    tries = 0, hops = 0
from call where call.id = $1::bigint and host.domain = call.domain and (host.doubt is not null or host.hops > 0)
    and coalesce(call.generation, host.generation) >= host.generation
    and (host.doubted_at is null or call.at >= host.doubted_at)
    and (call.kind <> 'socket' or host.try_at is null)
"""
"""After a reply of Tradovate's own to the call `$1`: its host is the right one. A call that was begun before the doubt
says nothing; nor does a WebSocket of a host that redirects calls."""


async def _row(conn: Connection, domain: str, *, lock: bool = False) -> DomainHost:
    row = await conn.fetchrow(
        f"select {_COLUMNS} from host where domain = $1" + (" for update" if lock else ""),  # noqa: S608
        domain,
    )
    assert row is not None, "the migration writes a row for each domain"
    return DomainHost(**dict(row))
