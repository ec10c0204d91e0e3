"""Steps that ask for the same as another one: the same account for the same user, the same entitlement.

Tradovate may carry out both. So each is looked up before it is sent, and what the look-up has found holds only as long
as no other step asks for the same:

- A call that begins puts the others that are due back into the queue of look-ups.
- While the result of one is unknown, none of the others is sent: it is looked up again when that result may be known.
- What was looked up and not sent for `LOOK_UP_HOLDS` seconds (maintenance, a pause, a penalty) is looked up again.
"""

from __future__ import annotations

from collections.abc import Sequence

from worker.ledger.connection import Connection

LOOK_UP_HOLDS = 300.0
"""Seconds for which "it is not there" may be acted upon: somebody may have made it since, in the dashboard."""

LEAST_WAIT = 5.0
"""Seconds before the next look-up while the result of another step is unknown: what holds that one up may last."""


async def look_up_again(connection: Connection, step_ids: Sequence[int]) -> set[int]:
    """Of these steps, which are due and locked, those that must not be sent now: they are looked up again, when the
    result of the others is to be known.
    """
    return {row["id"] for row in await connection.fetch(_LOOK_UP_AGAIN, list(step_ids), LOOK_UP_HOLDS, LEAST_WAIT)}


async def put_others_back(connection: Connection, step_ids: Sequence[int]) -> None:
    """These steps are sent now: the others that ask for the same, and are due, are looked up before they are sent."""
    await connection.execute(_PUT_OTHERS_BACK, list(step_ids))


# Those of a trader are found by its key, each trader by itself (`offset 0`): planned in one piece, these may read all
# open steps.
_SAME = (
    "other.trader_key = step.trader_key and other.ended_at is null and other.alike = step.alike and other.id <> step.id"
    " and split_part(other.operation, '@', 1) = split_part(step.operation, '@', 1)"
)
_UNKNOWN = "other.attempts > 0 and other.state in ('in_flight', 'unknown')"

_LOOK_UP_AGAIN = f"""
with beside as (
    select step.id, greatest(max(unknown.due), statement_timestamp() + make_interval(secs => $3)) as until
    from step cross join lateral (
        select due from step as other where {_SAME} and {_UNKNOWN} offset 0) as unknown
    where step.id = any($1) group by step.id),
old as (
    select id, statement_timestamp() as until from step
    where id = any($1) and id not in (select id from beside) and attempts = 0 and memory ? 'before'
        and arrived < statement_timestamp() - make_interval(secs => $2)),
again as (select * from beside union all select * from old)
update step set state = 'unknown', batch_id = null, due = again.until, arrived = again.until
from again where step.id = again.id
returning step.id
"""  # noqa: S608 - constants of ours

_PUT_OTHERS_BACK = f"""
with others as (
    select other.id from step cross join lateral (
        select id from step as other where {_SAME} and other.state = 'due' and other.lease is null offset 0) as other
    where step.id = any($1))
update step set state = 'unknown', batch_id = null, due = statement_timestamp(), arrived = statement_timestamp()
where id = any(array(select id from others where id <> all($1)))
"""  # noqa: S608 - constants of ours
