"""What must hold, read only from outside: effects at the partner, records on the topics, calls by the hour, and for
personal values everything that was said or stored. The rules stand in `oracle_*.py`; here is when each can be asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from tests.torture import oracle_privacy as privacy
from tests.torture.oracle_calls import calls
from tests.torture.oracle_effects import asked_for, once, out, proven
from tests.torture.oracle_records import missing, said
from tests.torture.promises import Breach, Promise
from tests.torture.shop import Shop
from tests.torture.system import System
from tests.torture.turns import standing


def certain(system: System, shop: Shop) -> Iterator[Breach]:
    """Breaches that nothing can mend any more: they can be seen before everything works again."""
    yield from once(system, shop)
    yield from asked_for(system, shop)
    yield from said(system, shop)
    yield from proven(system, shop)
    yield from out(system, shop)
    yield from calls(system)
    for each in system.ended_by_itself:
        yield Breach(Promise.MEMBERS, each)


async def leaks(system: System, shop: Shop, more: Mapping[str, str] | None = None) -> list[Breach]:
    """Personal values in what was said and stored up to now. `more`: texts by their names."""
    texts = {**privacy.shown(system), **await privacy.stored(system), **(more or {})}
    return await asyncio.to_thread(lambda: list(privacy.seen(shop, texts)))


async def judge(system: System, shop: Shop, pages: Mapping[str, str]) -> list[Breach]:
    """Every promise, once everything that is open has had its time. `pages`: what members show, by name."""
    kept = await system.rows('select topic, partition, "offset" from dead_letter')
    found = [*certain(system, shop), *missing(system, shop, frozenset(tuple(row) for row in kept))]
    for ids, what in standing(system, shop):
        found.append(Breach(Promise.TURNS, what, ids[0]))
    return [*found, *await privacy.left(system), *await leaks(system, shop, pages)]
