"""The one session that all replicas share, and the sessions that we opened or may have opened.

Whoever logs in or renews holds the row's lease; each write of what came of it names that lease, so that a replica
that was frozen over the end of its lease changes nothing once another has taken it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from worker.ledger import holds
from worker.ledger.calls import COUNTED, HOUR
from worker.ledger.database import Connection

LOGIN_LIFE = timedelta(minutes=90)
"""How long a session that we may have opened, but never saw, may live: the longest life that the vendor names."""
VOUCHED = timedelta(minutes=6)
"""How long a renewal of a token that a call had found rejected proves that the token is good and the permission
missing. At most ten of the twelve renewals an hour go to such proofs, so that they never force a login."""


@dataclass(frozen=True, slots=True)
class Login:
    """A session of `owner`'s that may live until then."""

    id: int
    owner: bytes = field(repr=False)
    may_live_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """The row, and what else bears on whether to renew or to log in. `now` is the database's time."""

    now: datetime
    token: bytes | None = field(repr=False)  # sealed
    generation: int
    owner: bytes | None = field(repr=False)
    user_id: int | None
    issued_at: datetime | None
    expires_at: datetime | None
    suspect: bool
    rejected: bool
    renewal_failed: bool
    login_failures: int
    login_after: datetime | None
    renew_failures: int
    renew_after: datetime | None
    lease_until: datetime | None
    renewals: int
    renewals_free_at: datetime | None
    holds: Sequence[holds.Hold]
    logins: Sequence[Login]


_COLUMNS = (
    "token, generation, owner, user_id, issued_at, expires_at, suspect, rejected, renewal_failed, login_failures,"
    " login_after, renew_failures, renew_after, lease_until"
)
_FORGIVEN = "suspect = false, streak = 0, rejected = false, renewal_failed = false"


async def load(conn: Connection, scopes: Sequence[str], renewal: str, *, lock: bool = False) -> SessionState:
    """Reads all of it. `scopes`: the holds that matter to a session; `renewal`: the renewing endpoint's name.

    `lock`: keeps others from changing the row until the transaction ends. `BEGIN_LOCK` must have been taken before.
    """
    row = await conn.fetchrow(
        f"select {_COLUMNS}, clock_timestamp() as now from session" + (" for update" if lock else "")  # noqa: S608
    )
    assert row is not None, "the migration writes the session's row"
    counted = await conn.fetchrow(
        "select count(*) as renewals, min(coalesce(finished_at, at)) as first from call"  # noqa: S608
        f" where endpoint = $1 and kind = 'session' and {COUNTED}",
        renewal,
    )
    assert counted is not None
    logins = await conn.fetch(
        "select id, owner, may_live_until from login where ended_at is null and may_live_until > clock_timestamp()"
        " order by may_live_until"
    )
    return SessionState(
        **dict(row),
        renewals=counted["renewals"],
        renewals_free_at=None if counted["first"] is None else counted["first"] + HOUR,
        holds=await holds.live(conn, scopes),
        logins=[Login(**dict(login)) for login in logins],
    )


async def take_lease(conn: Connection, lease: uuid.UUID, lasts: timedelta) -> None:
    """Takes the row, which the caller has locked and found free."""
    await conn.execute("update session set lease = $1, lease_until = clock_timestamp() + $2::interval", lease, lasts)


async def give_back(conn: Connection, lease: uuid.UUID) -> None:
    """Ends the lease; nothing if another has taken the row."""
    await conn.execute("update session set lease = null, lease_until = null where lease = $1", lease)


async def store_login(
    conn: Connection,
    lease: uuid.UUID,
    login_id: int,
    *,
    token: bytes,
    owner: bytes,
    issued_at: datetime,
    expires_at: datetime,
    user_id: int | None,
) -> bool:
    """Shares a new session; false when the lease was lost, the session then only counts as one that lives."""
    await conn.execute("update login set may_live_until = $2, ended_at = null where id = $1", login_id, expires_at)
    stored = await conn.fetchval(
        f"""
        update session set token = $3, owner = $4, issued_at = $5, expires_at = $6, user_id = $7, login_id = $2,
            generation = generation + 1, {_FORGIVEN}, vouched_at = null,
            login_failures = 0, login_after = null, renew_failures = 0, renew_after = null
        where lease = $1 returning generation
        """,  # noqa: S608
        lease,
        login_id,
        token,
        owner,
        issued_at,
        expires_at,
        user_id,
    )
    return stored is not None


async def store_renewal(
    conn: Connection, lease: uuid.UUID, *, token: bytes, issued_at: datetime, expires_at: datetime
) -> bool:
    """Shares a renewed token; false when the lease was lost.

    A lock-out that began while the renewal was under way leaves the session suspect.
    """
    login_id = await conn.fetchrow(
        """
        update session set token = $2, issued_at = $3, expires_at = $4, generation = generation + 1,
            vouched_at = case when rejected then clock_timestamp() else vouched_at end,
            suspect = exists (select from hold where scope = 'all' and cleared_at is null
                              and (until is null or until > clock_timestamp())),
            streak = 0, rejected = false, renewal_failed = false, renew_failures = 0, renew_after = null
        where lease = $1 returning login_id
        """,
        lease,
        token,
        issued_at,
        expires_at,
    )
    if login_id is None:
        return False
    await conn.execute("update login set may_live_until = $2 where id = $1", login_id["login_id"], expires_at)
    return True


async def end_session(conn: Connection, lease: uuid.UUID) -> None:
    """Forgets a token that the partner knows no more: the session is known dead, and counts no more."""
    row = await conn.fetchrow(
        f"update session set token = null, generation = generation + 1, {_FORGIVEN}, renew_failures = 0,"  # noqa: S608
        " renew_after = null where lease = $1 returning login_id",
        lease,
    )
    if row is not None:
        await end_login(conn, row["login_id"])


async def note_renewal_failure(conn: Connection, lease: uuid.UUID, *, again_in: timedelta, final: bool) -> None:
    """A renewal that brought nothing. `final`: of a doubtful token, a login follows; else it is tried `again_in`."""
    await conn.execute(
        "update session set renewal_failed = (suspect or rejected) and $3, renew_failures = renew_failures + 1,"
        " renew_after = clock_timestamp() + $2::interval where lease = $1",
        lease,
        again_in,
        final,
    )


async def note_login_failure(conn: Connection, lease: uuid.UUID, *, again_in: timedelta) -> None:
    """A login that brought nothing and may be tried `again_in`."""
    await conn.execute(
        "update session set login_failures = login_failures + 1, login_after = clock_timestamp() + $2::interval"
        " where lease = $1",
        lease,
        again_in,
    )


async def begin_login(conn: Connection, owner: bytes, margin: timedelta) -> int:
    """Counts a session that may be about to live: written before the bytes leave. `margin`: the call's own time."""
    login: int = await conn.fetchval(
        "insert into login (owner, may_live_until) values ($1, clock_timestamp() + $2::interval) returning id",
        owner,
        LOGIN_LIFE + margin,
    )
    return login


async def end_login(conn: Connection, login_id: int | None) -> None:
    """The session is known dead, or was never opened."""
    await conn.execute("update login set ended_at = clock_timestamp() where id = $1 and ended_at is null", login_id)


async def drop_suspicion(conn: Connection, generation: int) -> None:
    """Goes on with a doubtful token that can neither be renewed nor replaced now."""
    await conn.execute(
        "update session set suspect = false, streak = 0, renewal_failed = false where generation = $1", generation
    )


async def reject(conn: Connection, generation: int) -> bool:
    """An ordinary call with this token was answered 401. True: the token is, or has been, replaced, so try again with
    the next one; false: the partner renewed it in the last minutes, so what is missing is a permission.
    """
    # Many lanes find out at once: the generation lets one of them set the mark, and none of them mark the next token.
    row = await conn.fetchrow(
        "update session set rejected = true, renew_after = null where generation = $1 and token is not null"
        " and not rejected and (vouched_at is null or vouched_at < clock_timestamp() - $2::interval)"
        " returning generation",
        generation,
        VOUCHED,
    )
    if row is not None:
        return True
    return bool(await conn.fetchval("select rejected or generation <> $1 or token is null from session", generation))


async def prune_logins(conn: Connection, keep: timedelta) -> int:
    """Deletes logins whose sessions ended longer than `keep` ago; how many."""
    status: str = await conn.execute(
        "delete from login where least(ended_at, may_live_until) < clock_timestamp() - $1::interval", keep
    )
    return int(status.rpartition(" ")[2])
