"""When the dispatcher's loop looks at the ledger: at once, or once the call or outcome of a lone flow has left."""

from __future__ import annotations

import asyncio

import pytest

from worker.dispatch import wake_up
from worker.dispatch.wake_up import WakeUp

LONG = 3600.0


async def test_the_loop_is_woken_at_once_while_nothing_is_on_its_way_out() -> None:
    """With no call of a lone flow on its way out, `soon` is as good as `set`."""
    wake = WakeUp()
    wake.soon()
    async with asyncio.timeout(10):
        await wake.wait(LONG)


async def test_a_look_waits_until_the_call_of_a_lone_flow_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a call is on its way out `soon` wakes nothing; when it has left, the loop is woken."""
    monkeypatch.setattr(wake_up, "QUIET", LONG)  # a busy machine may take longer than the real one
    wake = WakeUp()
    wake.quiet()
    wake.soon()
    waiting = asyncio.create_task(wake.wait(LONG))
    done, _ = await asyncio.wait({waiting}, timeout=0)
    assert not done
    wake.sent()
    async with asyncio.timeout(10):
        await waiting


async def test_nothing_is_looked_for_that_is_not_due() -> None:
    """A call that leaves wakes the loop only if something has been due since."""
    wake = WakeUp()
    wake.quiet()
    wake.sent()
    waiting = asyncio.create_task(wake.wait(LONG))
    done, _ = await asyncio.wait({waiting}, timeout=0)
    assert not done
    waiting.cancel()


async def test_a_call_that_does_not_leave_holds_the_loop_up_for_some_milliseconds_only() -> None:
    """Nobody says that the call has left: the loop is woken all the same."""
    wake = WakeUp()
    wake.quiet()
    wake.soon()
    async with asyncio.timeout(10):
        await wake.wait(LONG)


async def test_what_is_urgent_does_not_wait_for_a_call_on_its_way_out() -> None:
    """`set` wakes the loop at once, whatever is on its way out."""
    wake = WakeUp()
    wake.quiet()
    wake.set()
    async with asyncio.timeout(10):
        await wake.wait(LONG)
