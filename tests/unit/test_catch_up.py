"""Which domains are asked for their signals when a socket comes back, and what one of them alone proves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from worker.bridge.catch_up import EXTRA, CatchUp
from worker.bridge.signal_read import Fetch, Fetched
from worker.replies import Answer, Domain, Refusal

LIVE, DEMO = Domain.LIVE, Domain.DEMO


@dataclass
class Line:
    """A socket that listens."""

    domain: Domain
    epoch: int = 1
    on_its_way: bool = False
    is_listening: bool = True
    caught_up: bool = False

    def back(self) -> None:
        """It was away, and listens again."""
        self.epoch, self.caught_up = self.epoch + 1, False


class Connection:
    """A ledger in which no fetch is known."""

    async def fetchval(self, *_: Any) -> None:
        """No time of a former fetch."""


class Ledger:
    """Hands out its connection."""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        yield Connection()


@dataclass
class Signals:
    """What each domain's read knows; None: it serves no signals. `asked`: the domains, in their order."""

    known: dict[Domain, set[int] | None]
    asked: list[Domain] = field(default_factory=list)
    fetched: set[int] = field(default_factory=set)
    database: Ledger = field(default_factory=Ledger)

    async def read(self, domain: Domain, _operation: str = EXTRA) -> Fetched:
        self.asked.append(domain)
        known = self.known[domain]
        if known is None:
            return Fetched(Refusal("not here"), None)
        self.fetched |= known
        return Fetched(Answer([]), frozenset(known))


def stage(live: set[int] | None, demo: set[int] | None) -> tuple[CatchUp, Signals, dict[Domain, Line]]:
    """Two sockets that have just begun to listen, and what the partner's reads know."""
    lines = {domain: Line(domain) for domain in Domain}
    signals = Signals({LIVE: live, DEMO: demo})
    return CatchUp(list(lines.values()), cast("Fetch", signals)), signals, lines


@pytest.mark.parametrize(
    ("live", "demo", "back", "asked"),
    [
        ({1}, {2}, DEMO, {LIVE, DEMO}),  # each knows some: what LIVE knows says nothing of DEMO's
        ({1}, {2}, LIVE, {LIVE, DEMO}),
        (set(), set(), DEMO, {LIVE, DEMO}),
        ({1}, set(), DEMO, {LIVE}),
        ({1, 2}, {1}, DEMO, {LIVE}),
        ({1}, {1, 2}, LIVE, {DEMO}),
        ({1}, None, DEMO, {LIVE}),  # it serves none
        (None, {1}, LIVE, {DEMO}),
    ],
)
async def test_a_socket_that_comes_back_alone_asks_where_the_signals_may_be(
    live: set[int] | None, demo: set[int] | None, back: Domain, asked: set[Domain]
) -> None:
    """One domain if it knew all that the other one knew, else both, each once; what was raised meanwhile is fetched."""
    catch_up, signals, lines = stage(live, demo)
    await catch_up.run_once()
    signals.asked.clear()
    for domain in asked:
        known = signals.known[domain]
        assert known is not None
        known.add(10 + list(Domain).index(domain))
    lines[back].back()
    await catch_up.run_once()
    assert (set(signals.asked), len(signals.asked)) == (asked, len(asked))
    assert all(signals.known[domain] <= signals.fetched for domain in asked)  # type: ignore[operator]
    assert lines[back].caught_up


async def test_the_first_socket_alone_learns_where_the_signals_are() -> None:
    """What LIVE knows does not keep DEMO from being asked; the next socket asks the one that knew all."""
    catch_up, signals, lines = stage({1}, {1, 2})
    lines[DEMO].is_listening = False
    await catch_up.run_once()
    assert signals.asked == [LIVE, DEMO]
    lines[DEMO].is_listening = True
    await catch_up.run_once()
    assert signals.asked == [LIVE, DEMO, DEMO]


async def test_an_unreadable_alert_is_fetched_from_both_domains_if_each_knows_some() -> None:
    """What LIVE knows does not cover an alert that may be DEMO's; of a domain that knew all, one fetch is enough."""
    for demo, asked in (({2}, [LIVE, DEMO]), (set(), [LIVE])):
        catch_up, signals, _ = stage({1}, demo)
        await catch_up.run_once()
        signals.asked.clear()
        catch_up.unreadable()
        while catch_up.missed.waiting:
            await catch_up._extra()
        assert signals.asked == asked
