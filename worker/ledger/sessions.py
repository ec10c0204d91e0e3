"""The one session that all replicas share.

A replica that logs in or renews holds the row's lease, and each write of the result names that lease. So a replica that
was frozen until its lease had ended changes nothing once another one has the lease.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from worker.ledger import holds, host_table
from worker.ledger.budget import COUNTED, HOUR
from worker.ledger.database import Connection

VOUCHED = timedelta(minutes=6)
"""How long a renewal of a token that a call had found rejected proves that the token is good and the permission
missing. At most ten of the twelve renewals an hour go to such proofs, so that they never force a login."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """The row, and what else bears on whether to renew or to log in. `now` is the database's time.

    `renewals`, `logins`: in the last hour; of the logins those that opened a session.
    """

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
    failure: str | None
    lease_until: datetime | None
    renewals: int
    renewals_free_at: datetime | None
    logins: int
    last_login_at: datetime | None
    holds: Sequence[holds.Hold]
    hosts: Sequence[host_table.DomainHost]


_COLUMNS = (
    "token, generation, owner, user_id, issued_at, expires_at, suspect, rejected, renewal_failed, login_failures,"
    " login_after, renew_failures, renew_after, failure, lease_until"
)
_FORGIVEN = "suspect = false, streak = 0, rejected = false, renewal_failed = false"


async def load(
    conn: Connection, scopes: Sequence[str], *, renewal: str, login: str, lock: bool = False
) -> SessionState:
    """Reads all of it. `scopes`: the holds that matter to a session; `renewal`, `login`: the endpoints' names.

    `lock`: keeps others from changing the row until the transaction ends. `BEGIN_LOCK` must have been taken before.
    """
    row = await conn.fetchrow(
        f"select {_COLUMNS}, clock_timestamp() as now from session" + (" for update" if lock else "")  # noqa: S608
    )
    assert row is not None, "the migration writes the session's row"
    counted = await conn.fetchrow(
        f"""
        select count(*) filter (where endpoint = $1) as renewals,
            min(coalesce(finished_at, at)) filter (where endpoint = $1) as first,
            count(*) filter (where endpoint = $2 and result = 'answer') as logins,
            max(coalesce(finished_at, at)) filter (where endpoint = $2 and result = 'answer') as last
        from call where kind = 'session' and {COUNTED}
        """,  # noqa: S608
        renewal,
        login,
    )
    assert counted is not None
    return SessionState(
        **dict(row),
        renewals=counted["renewals"],
        renewals_free_at=None if counted["first"] is None else counted["first"] + HOUR,
        logins=counted["logins"],
        last_login_at=counted["last"],
        holds=await holds.live(conn, scopes),
        hosts=await host_table.load(conn),
    )


async def take_lease(conn: Connection, lease: uuid.UUID, lasts: timedelta) -> None:
    """Takes the row, which the caller has locked and found free."""
    await conn.execute("update session set lease = $1, lease_until = clock_timestamp() + $2::interval", lease, lasts)


async def give_back(conn: Connection, lease: uuid.UUID) -> None:
    """Ends the lease; nothing if another has taken the row."""
    await conn.execute("update session set lease = null, lease_until = null where lease = $1", lease)


async def keep_lease(conn: Connection, lease: uuid.UUID, lasts: timedelta) -> bool:
    """Lets the lease last longer; false when another has taken the row."""
    kept = await conn.fetchval(
        "update session set lease_until = clock_timestamp() + $2::interval where lease = $1 returning true",
        lease,
        lasts,
    )
    return kept is not None


async def store_login(
    conn: Connection,
    lease: uuid.UUID,
    *,
    token: bytes,
    owner: bytes,
    issued_at: datetime,
    expires_at: datetime,
    user_id: int | None,
    password_expires_at: datetime | None,
) -> int | None:
    """Shares a new session: its generation, or None when the lease was lost and nothing was changed."""
    generation: int | None = await conn.fetchval(
        f"""
        update session set token = $2, owner = $3, issued_at = $4, expires_at = $5, user_id = $6,
            password_expires_at = $7, generation = generation + 1, {_FORGIVEN}, vouched_at = null,
            login_failures = 0, login_after = null, renew_failures = 0, renew_after = null, failure = null
        where lease = $1 returning generation
        """,  # noqa: S608
        lease,
        token,
        owner,
        issued_at,
        expires_at,
        user_id,
        password_expires_at,
    )
    return generation


async def store_renewal(
    conn: Connection,
    lease: uuid.UUID,
    *,
    token: bytes,
    issued_at: datetime,
    expires_at: datetime,
    password_expires_at: datetime | None,
) -> int | None:
    """Shares a renewed token: its generation, or None when the lease was lost and nothing was changed.

    A lock-out that began while the renewal was under way leaves the session suspect.
    """
    generation: int | None = await conn.fetchval(
        """
        update session set token = $2, issued_at = $3, expires_at = $4, generation = generation + 1,
            password_expires_at = coalesce($5, password_expires_at),
            vouched_at = case when rejected then clock_timestamp() else vouched_at end,
            suspect = exists (select from hold where scope = 'all' and cleared_at is null
                              and (until is null or until > clock_timestamp())),
            streak = 0, rejected = false, renewal_failed = false, renew_failures = 0, renew_after = null, failure = null
        where lease = $1 returning generation
        """,
        lease,
        token,
        issued_at,
        expires_at,
        password_expires_at,
    )
    return generation


async def next_generation(conn: Connection) -> int:
    """The same token at other hosts: every replica must read it again before its next call."""
    generation: int = await conn.fetchval("update session set generation = generation + 1 returning generation")
    return generation


async def end_session(conn: Connection, lease: uuid.UUID) -> None:
    """Forgets a token that the partner knows no more: the session is known dead."""
    await conn.execute(
        f"update session set token = null, generation = generation + 1, {_FORGIVEN}, renew_failures = 0,"  # noqa: S608
        " renew_after = null where lease = $1",
        lease,
    )


async def note_renewal_failure(
    conn: Connection, lease: uuid.UUID, *, why: str, again_in: timedelta, final: bool
) -> None:
    """A renewal that brought no token. `final`: of a doubtful token, a login follows; else it is tried `again_in`."""
    await conn.execute(
        "update session set renewal_failed = (suspect or rejected) and $3, renew_failures = renew_failures + 1,"
        " renew_after = clock_timestamp() + $2::interval, failure = $4 where lease = $1",
        lease,
        again_in,
        final,
        why,
    )


async def note_login_failure(conn: Connection, lease: uuid.UUID, *, why: str, again_in: timedelta) -> None:
    """A login that brought no token and may be tried `again_in`."""
    await conn.execute(
        "update session set login_failures = login_failures + 1, login_after = clock_timestamp() + $2::interval,"
        " failure = $3 where lease = $1",
        lease,
        again_in,
        why,
    )


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
