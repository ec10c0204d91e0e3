"""What a process remembers of a lock-out, and what it supposes of the others'."""

from __future__ import annotations

from datetime import timedelta

from worker.partner.lockout import OTHERS_WRITE, LockOut


def test_when_the_ledger_is_back_others_may_write_first() -> None:
    """A process makes no call for a second after an outage of the ledger: another may have been locked out in it."""
    now = 100.0
    lockout = LockOut(timedelta(hours=1), lambda: now)
    lockout.ledger_is_back()
    silent = [lockout.why_silent]
    now += OTHERS_WRITE
    silent.append(lockout.why_silent)
    assert [why is None for why in silent] == [False, True]
    assert lockout.unwritten is None
