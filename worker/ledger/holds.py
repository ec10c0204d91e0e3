"""What keeps calls back: lock-outs, penalties, a rejected login, an operator's pause.

    all                   a lock-out (423, 429): no replica calls
    pause:all             an operator's pause of everything
    pause:<operation>     an operator's pause of one operation, its look-ups too
    endpoint:<endpoint>   a penalty; with `ticket`, the same body is sent again with it
    login                 a rejected login: no login with the same credentials

But for tickets a scope has one live hold at a time; to put it again makes it longer, never shorter. Who put and who
ended a hold is noted (`notes.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from worker.ledger import notes
from worker.ledger.database import Connection

ALL = "all"
LOGIN = "login"
PAUSE_ALL = "pause:all"

CAPTCHA_WAIT = timedelta(hours=1)
"""A ticket with a captcha cannot be solved by a program; the partner's count clears in about an hour."""
TICKET_LIFE = timedelta(hours=1)
"""A ticket not used this long after its wait is as good as none: the count that made it has left the rolling hour."""

COLUMNS = "id, scope, reason, until, ticket, body_digest, batch_id, fingerprint, created_at, by"
LIVE = "cleared_at is null and (until is null or until > clock_timestamp())"
"""What keeps calls back now."""


def pause_scope(operation: str | None) -> str:
    """The scope of a pause of `operation`, or of everything."""
    return PAUSE_ALL if operation is None else f"pause:{_vendor(operation)}"


def endpoint_scope(endpoint: str) -> str:
    """The scope of a penalty at `endpoint`."""
    return f"endpoint:{_vendor(endpoint)}"


def _vendor(operation: str) -> str:
    """The vendor knows one endpoint where we have several declarations, distinguished by a word after an `@`."""
    return operation.partition("@")[0]


@dataclass(frozen=True, slots=True)
class Hold:
    """A reason not to call. `until` None: until an operator clears it. `by`: the operator who put it.

    `body_digest`: a keyed hash of the body that may be sent again with the ticket. The body is built again; the hash
    identifies it.
    """

    id: int
    scope: str
    reason: str
    until: datetime | None
    created_at: datetime
    ticket: str | None = field(default=None, repr=False)
    body_digest: bytes | None = field(default=None, repr=False)
    batch_id: int | None = None
    fingerprint: str | None = None
    by: str | None = None

    @property
    def why(self) -> str:
        """The reason, and who gave it if an operator did."""
        return f"{self.reason} (by {self.by})" if self.by else self.reason


async def put(
    conn: Connection, scope: str, reason: str, *, lasts: timedelta | None, fingerprint: str | None = None
) -> int:
    """Puts or extends the hold of `scope` and returns its id. `lasts` (from the database's now) None: until cleared."""
    hold_id, begun = await _put(conn, scope, reason, lasts, fingerprint)
    if begun:
        await notes.of_hold(conn, scope, notes.HELD, notes.PROGRAM, reason)
    return hold_id


async def _put(
    conn: Connection,
    scope: str,
    reason: str,
    lasts: timedelta | None,
    fingerprint: str | None = None,
    by: str | None = None,
) -> tuple[int, bool]:
    """The hold's id, and whether nothing held the scope before."""
    # Several calls in flight may be answered 429 in the same moment: one inserts, the others extend.
    row = await conn.fetchrow(
        """
        insert into hold (scope, reason, until, fingerprint, by)
        values ($1, $2, clock_timestamp() + $3::interval, $4, $5)
        on conflict (scope) where cleared_at is null and ticket is null do update set
            reason = excluded.reason,
            by = excluded.by,
            fingerprint = excluded.fingerprint,
            until = case when hold.until is null or excluded.until is null then null
                         else greatest(hold.until, excluded.until) end,
            created_at = case when hold.until <= clock_timestamp() then excluded.created_at else hold.created_at end
        returning id, created_at >= statement_timestamp() as begun
        """,
        scope,
        reason,
        lasts,
        fingerprint,
        by,
    )
    return row["id"], row["begun"]


async def put_ticket(
    conn: Connection,
    endpoint: str,
    wait: timedelta,
    ticket: str,
    *,
    body_digest: bytes | None,
    batch_id: int | None,
    fingerprint: str | None = None,
) -> int:
    """Holds `endpoint` back for `wait`, and keeps the ticket, and what identifies the body that is sent again with it.

    With a batch_id it stands for those steps (`ticket_of`), without one for the next caller (`ticket_at`).
    """
    scope, reason = endpoint_scope(endpoint), "a penalty ticket"
    await notes.of_hold(conn, scope, notes.HELD, notes.PROGRAM, reason)
    hold: int = await conn.fetchval(
        """
        insert into hold (scope, reason, until, ticket, body_digest, batch_id, fingerprint)
        values ($1, $7, clock_timestamp() + $2::interval, $3, $4, $5, $6) returning id
        """,
        scope,
        wait,
        ticket,
        body_digest,
        batch_id,
        fingerprint,
        reason,
    )
    return hold


async def ticket_of(conn: Connection, batch_id: int) -> Hold | None:
    """The newest unspent ticket that waits for these steps, its wait over or not."""
    row = await conn.fetchrow(
        f"select {COLUMNS} from hold where batch_id = $1 and ticket is not null and cleared_at is null"  # noqa: S608
        " order by id desc limit 1",
        batch_id,
    )
    return None if row is None else _hold(row)


async def ticket_at(conn: Connection, endpoint: str, body_digest: bytes | None = None) -> Hold | None:
    """The newest unspent ticket of `endpoint` that stands for no steps, not older than `TICKET_LIFE` past its wait;
    with `body_digest` the newest for that body.

    Not before its wait has passed: a call that was begun just before the ticket came must not take it along.
    """
    row = await conn.fetchrow(
        f"select {COLUMNS} from hold where scope = $1 and ticket is not null and batch_id is null"  # noqa: S608
        " and cleared_at is null and until <= clock_timestamp() and until > clock_timestamp() - $2::interval"
        " and ($3::bytea is null or body_digest = $3) order by id desc limit 1",
        endpoint_scope(endpoint),
        TICKET_LIFE,
        body_digest,
    )
    return None if row is None else _hold(row)


async def spend_ticket(conn: Connection, hold_id: int) -> bool:
    """Notes that the ticket goes out now; false when another call has spent it."""
    spent = await conn.fetchval(
        "update hold set cleared_at = clock_timestamp(), cleared_reason = 'spent'"
        " where id = $1 and ticket is not null and cleared_at is null returning id",
        hold_id,
    )
    return spent is not None


async def live(conn: Connection, scopes: Sequence[str] | None = None) -> list[Hold]:
    """The holds that keep calls back now, all or those of `scopes`, oldest first."""
    rows = await conn.fetch(
        f"select {COLUMNS} from hold where {LIVE} and ($1::text[] is null or scope = any($1)) order by id",  # noqa: S608
        None if scopes is None else list(scopes),
    )
    return [_hold(row) for row in rows]


def longest(held: Sequence[Hold]) -> Hold | None:
    """Of these the one that lasts longest; what only an operator can end lasts longest of all."""
    return max(held, key=lambda hold: (hold.until is None, hold.until or hold.created_at), default=None)


async def list_holds(conn: Connection) -> list[Hold]:
    """What `holds list` shows: all that keep calls back, and tickets whose wait has passed but that may still be
    spent.
    """
    rows = await conn.fetch(
        f"select {COLUMNS} from hold where ({LIVE}) or (cleared_at is null and ticket is not null"  # noqa: S608
        " and (batch_id is not null or until > clock_timestamp() - $1::interval)) order by id",
        TICKET_LIFE,
    )
    return [_hold(row) for row in rows]


async def clear(conn: Connection, hold_id: int, reason: str, by: str = "") -> Hold | None:
    """Clears a hold for an operator who says why; None when there is no such live hold.

    Clearing `login` allows one login again (a second rejection puts it back).
    """
    row = await conn.fetchrow(
        f"update hold set cleared_at = clock_timestamp(), cleared_reason = $2, cleared_by = $3"  # noqa: S608
        f" where id = $1 and cleared_at is null and (ticket is not null or {LIVE}) returning {COLUMNS}",
        hold_id,
        reason,
        by,
    )
    if row is None:
        return None
    await notes.of_hold(conn, row["scope"], "clear", by, reason)
    return _hold(row)


async def pause(conn: Connection, operation: str | None, reason: str, by: str = "") -> int:
    """No calls of `operation` (None: of any) until `resume`; pausing twice is one hold with the newer reason."""
    scope = pause_scope(operation)
    hold_id, _ = await _put(conn, scope, reason, lasts=None, by=by or None)
    await notes.of_hold(conn, scope, "pause", by, reason)
    return hold_id


async def resume(conn: Connection, operation: str | None, reason: str = "resumed", by: str = "") -> bool:
    """Ends the pause of `operation` (None: of everything; pauses of single operations stay); false without one."""
    scope = pause_scope(operation)
    if not await _end(conn, scope, reason, by or None):
        return False
    await notes.of_hold(conn, scope, "resume", by, reason)
    return True


async def end(conn: Connection, scope: str, reason: str) -> bool:
    """Ends the hold of `scope`, whose reason has gone; false when there was none. Tickets stay."""
    if not await _end(conn, scope, reason, None):
        return False
    await notes.of_hold(conn, scope, notes.RELEASED, notes.PROGRAM, reason)
    return True


async def _end(conn: Connection, scope: str, reason: str, by: str | None) -> bool:
    ended = await conn.fetchval(
        "update hold set cleared_at = clock_timestamp(), cleared_reason = $2, cleared_by = $3"
        " where scope = $1 and cleared_at is null and ticket is null returning id",
        scope,
        reason,
        by,
    )
    return ended is not None


async def prune(conn: Connection, keep: timedelta) -> int:
    """Deletes holds that ended longer than `keep` ago (live ones stay, and tickets that steps wait for); how many."""
    status: str = await conn.execute(
        "delete from hold where coalesce(cleared_at, case when ticket is null or batch_id is null then until end)"
        " < clock_timestamp() - $1::interval",
        keep,
    )
    return int(status.rpartition(" ")[2])


def _hold(row: Any) -> Hold:
    return Hold(**dict(row))
