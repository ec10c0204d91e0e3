"""Whose turn it is among the events of one account. Pure.

They are executed in the order in which the ledger accepted them, never two at once: one goes when those before it have
ended. Two subjects stand in a queue: an account's limits, and what an administrator does to it. They are different
entities at Tradovate, and neither changes the other (a lock stands until `Normal`: documented; else an inference).

One that is stuck (it is retried for a day, its look-up fails, the budget is used up) must not keep a lock out. So order
gives way after `PATIENCE`, where what comes of it is provably the same:

* One of the other subject is passed, and does what it asks for later. Two calls of a trader are still never in flight
  at once: the ledger ensures that when it begins calls.
* A lock or unlock without a result is ousted by the next one: its effect would only last until that one's. It is not
  ousted while its call is in flight or was lost a moment ago: it might take effect after the next one's. Nor is a
  liquidation, ever: it closes positions, which a lock does not.

A change of limits waits for the one before as long as that is tried: what they leave depends on both.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from schemas.outcomes import ErrorCode
from worker.engine.flows.base import End, TurnView, View, Wait, failed, turn_key
from worker.engine.flows.common import RECHECK

ACTION, LIMITS = "action", "limits"
"""Subjects."""

PATIENCE = timedelta(seconds=10)
"""How long an event waits for one that cannot matter to it. One that is not stuck takes a second; a lock is as urgent
as a revocation."""

OUST_AGAIN = timedelta(seconds=1)
"""Between two tries to oust one whose call is in flight."""

TOO_LATE = "A newer event of this account was executed before this one's account was known, so this one was not."
OUSTED = "A newer event of this account took its place: there was no result of this one in time."


def held_up(view: View) -> Wait | End | None:
    """Why it is not the flow's turn; None if it is, or was before."""
    queue = view.queue
    if queue is None or queue.begun:
        return None
    same = [each for each in queue.others if each.subject == queue.subject]
    if any(each.place > queue.place and each.begun is not None for each in same):
        return failed(ErrorCode.CANCELLED, TOO_LATE)
    before = _nearest(same, queue.place)
    if before is not None:
        return _behind(view, before)
    other = _nearest([each for each in queue.others if each.subject != queue.subject], queue.place)
    until = max(view.since, view.asked) + PATIENCE
    return None if other is None or view.now >= until else Wait((turn_key(other.flow_id),), until)


def _behind(view: View, before: TurnView) -> Wait:
    """Behind one of the same subject, which in turn may be behind another one."""
    keys = (turn_key(before.flow_id),)
    if before.subject != ACTION or before.must_act or before.begun is None:
        return Wait(keys, view.now + RECHECK)
    until = before.begun + PATIENCE
    return Wait(keys, until) if view.now < until else Wait(keys, view.now + OUST_AGAIN, ousts=before.flow_id)


def ousted(view: View) -> bool:
    """Whether a later event has taken the flow's place."""
    return view.queue is not None and view.queue.ousted


def _nearest(turns: Sequence[TurnView], place: int) -> TurnView | None:
    """The last one before `place` that has not ended."""
    before = [each for each in turns if each.place < place and not each.ended]
    return max(before, key=lambda each: each.place, default=None)
