"""What happens after the trouble: everything works again, and whatever is open ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.waiting import eventually
from tests.torture.promises import Breach, Promise
from tests.torture.sent import Sent
from tests.torture.shop import Shop
from tests.torture.system import System
from tests.torture.watch import Watch

REVOKED_WITHIN = 30.0
"""Seconds from the moment from which a revocation could be sent."""

READY_SECONDS = 90.0
"""For every member to be ready when everything works again: a back-off of the bridge lasts a minute at most."""

READY_WHEN_BROKEN = 25.0
"""The same for a program that is broken on purpose: it is looked at in any case."""

STILL = 150.0
"""Seconds in which no event ends, after which the open ones are said to have no end. The longest waits are a subaccount
request's polls, a minute apart, and a poll that met a fault is made again. While events end the others have time: a
machine that is busy with other things may take minutes for what the trouble has left.
"""

MOST = 900.0
"""Seconds, even so."""

QUIET = 12.0
"""Seconds without a call and without a record, after which nothing more comes of a program that is broken on purpose: a
lease lasts seven, an outcome's ten, and its shop sends nothing that waits longer.
"""


@dataclass
class _Stillness:
    """Since when nothing has happened."""

    what: Callable[[], object]
    _last: object = None
    _since: float = field(default_factory=time.monotonic)

    def lasts(self, seconds: float) -> bool:
        """Whether nothing has happened for so long."""
        now = self.what()
        if now != self._last:
            self._last, self._since = now, time.monotonic()
        return time.monotonic() - self._since > seconds


async def calm(system: System, shop: Shop, watch: Watch) -> list[Breach]:
    """Returns when all that is open has ended, or never will: what of it is a breach by itself. What is left open is
    for the oracle.
    """
    await system.restore()
    breaches = []
    try:
        await system.ready(READY_SECONDS if watch.broken is None else READY_WHEN_BROKEN)
    except AssertionError as error:
        if watch.broken is None:
            breaches.append(Breach(Promise.READY, str(error)))
    began = time.monotonic()
    revoking, late = await revocations(shop), list[Sent]()
    ending = _Stillness(lambda: len(_open(system, shop)))
    moving = _Stillness(lambda: (system.partner.sandbox.core.calls.total, system.listener.records))

    async def over() -> bool:
        now = time.monotonic() - began
        waiting = [each for each in revoking if shop.final(each) is None]
        if waiting and not late and now > REVOKED_WITHIN:
            late.extend(waiting)
        if late and watch.broken is not None:
            return True
        if not _open(system, shop) or now > MOST or await watch.over(system, shop):
            return True
        if watch.broken is None:
            return ending.lasts(STILL)
        return moving.lasts(QUIET) and not waiting

    await eventually(over, MOST + 60)
    breaches += [Breach(Promise.REVOKED, f"{each.event_id} of {each.body}", each.event_id) for each in late]
    return breaches


def _open(system: System, shop: Shop) -> list[str]:
    """Events without a final outcome."""
    every = [*shop.sent.values(), *shop.signed_events()]
    return [each.event_id for each in every if system.listener.final(each.event_id) is None]


async def revocations(shop: Shop) -> list[Sent]:
    """What can be revoked now: a trader who fails now, and all who failed before and whose purchases have ended."""
    waiting = [each for each in shop.of("trader.failed") if shop.final(each) is None]
    buying = {each.body.get("orderId") for each in shop.of("trader.purchased") if shop.final(each) is None}
    waiting = [each for each in waiting if each.body["orderId"] not in buying]
    if (order := shop.with_permission()) is not None:
        waiting.append(shop.failing(order))
        await shop.send(waiting[-1])
    return waiting
