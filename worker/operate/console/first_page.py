"""What the first page shows, read once for all browsers that show it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from aiokafka.errors import KafkaError

from worker.kafka.backlog import backlog
from worker.kafka.topics import INPUT_TOPICS
from worker.ledger import kept_dead_letters, leader, page_queries, risk_statuses
from worker.ledger.budget import Budget
from worker.ledger.database import Connection, Database, DatabaseError
from worker.ledger.host_table import DomainHost
from worker.ledger.page_queries import Present, Waiting
from worker.ledger.state_summary import Standing, open_flows, standing
from worker.operate.console.chart import MINUTES, Chart, chart, minute
from worker.operate.console.headline import Headline, HeadlineFacts, headline
from worker.operate.console.why import CallConditions, Step, why, world_of
from worker.settings import KafkaSettings

LEAST = 1.0
"""Seconds between two readings, however many look: the page is live to the second, the database hardly notices."""

KAFKA_EVERY = 5.0
"""Seconds between two looks at Kafka's offsets, which take two connections."""

_KAFKA_WITHIN = 4.0

_TITLE_WITHIN = 0.5
"""Seconds that a page waits for the state in its title: nobody should wait for a database that hangs."""

_NAMED_FOR = 10.0
"""Seconds after which a state is not named any more."""

_WRITTEN_LATE = timedelta(minutes=2)
"""An outcome's time is that of its transaction's start: minutes younger than this may still grow."""


@dataclass(frozen=True, slots=True)
class Offsets:
    """What Kafka says: lag by topic, offsets of dead letters by topic and partition. `why`: it could not be asked."""

    lag: Mapping[str, int] = field(default_factory=dict)
    dead: Mapping[tuple[str, int], range] = field(default_factory=dict)
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Glance:
    """Everything on the first page, at one moment."""

    now: datetime
    headline: Headline
    standing: Standing
    hourly: int
    flows: Mapping[str, int]
    by_topic: Mapping[str, Mapping[str, int]]
    oldest: Waiting | None
    oldest_why: str
    chart: Chart
    hosts: Sequence[Any]
    present: Sequence[Present]
    leads: str | None
    lag: Mapping[str, int]
    dead: Mapping[str, int]
    kafka: str | None

    @property
    def budget_share(self) -> float:
        """How much of the hour's budget is used, 0 to 1."""
        return min(1.0, self.standing.budget.used / self.hourly)


@dataclass(slots=True)
class Overview:
    """Reads at most once in `LEAST` seconds, and slower when reading takes long: a tenth of the time at most."""

    database: Database
    budget: Budget
    topics: Sequence[str]
    offsets: Callable[[], Coroutine[Any, Any, Offsets]]
    windows: Callable[[datetime], Mapping[str, datetime]]
    in_use: Callable[[Sequence[DomainHost]], Sequence[Any]]  # where the calls go, out of the ledger's rows
    _glance: Glance | None = None
    _next: float = 0.0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _minutes: dict[tuple[datetime, str], int] = field(default_factory=dict)
    _read_to: datetime | None = None

    async def __call__(self) -> Glance:
        """The newest reading. Raises `DatabaseError`."""
        offsets = await self.offsets()
        async with self._lock:
            now = time.monotonic()
            if self._glance is None or now >= self._next:
                self._glance = await self._read(offsets)
                took = time.monotonic() - now
                self._next = time.monotonic() + max(LEAST, 10 * took)
            return self._glance

    async def refreshed(self) -> None:
        """Reads, for the titles of other pages, which wait for it no longer than a moment."""
        with suppress(DatabaseError, TimeoutError):
            async with asyncio.timeout(_TITLE_WITHIN):
                await self()

    def state(self) -> str:
        """As it was read last, in a word or two; empty when that is too long ago to be named."""
        glance = self._glance if time.monotonic() < self._next + _NAMED_FOR else None
        return "" if glance is None else glance.headline.state

    async def _read(self, offsets: Offsets) -> Glance:
        stands = await standing(self.database, self.budget)
        counts, _ = await open_flows(self.database)
        async with self.database.connection() as connection:
            oldest = await page_queries.oldest_open(connection, self.topics)
            doubtful = await page_queries.in_doubt(connection, self.topics)
            await self._read_minutes(connection, stands.now)
            present = await page_queries.replicas(connection)
            leads = await leader.holder(connection)
            risk_waits = await risk_statuses.oldest_unpublished(connection)
            dead = left(
                offsets.dead, await page_queries.replayed(connection), await kept_dead_letters.waiting(connection)
            )
        shown = chart(self._minutes, stands.now.astimezone(UTC))
        world = world_of(stands, self.windows(stands.now))
        explained = _explain(oldest, world)
        by_topic = {
            topic: {
                "waiting": counts.get((topic, "waiting"), 0),
                "working": counts.get((topic, "working"), 0),
                "in_doubt": doubtful.get(topic, 0),
            }
            for topic in self.topics
        }
        flows = {state: sum(row[state] for row in by_topic.values()) for state in ("waiting", "working", "in_doubt")}
        hosts = self.in_use(stands.hosts)
        facts = _facts(world, oldest, explained, flows["in_doubt"], present, leads, offsets.why, dead)
        wrong = [f"{each.domain.value.upper()}'s calls wait: {each.trouble}" for each in hosts if each.held]
        return Glance(
            stands.now,
            headline(replace(facts, wrong_hosts=wrong, risk_waits=risk_waits)),
            stands,
            self.budget.hourly,
            flows,
            {topic: row for topic, row in by_topic.items() if any(row.values())},
            oldest,
            explained,
            shown,
            hosts,
            present,
            leads,
            offsets.lag,
            dead,
            offsets.why,
        )

    async def _read_minutes(self, connection: Connection, now: datetime) -> None:
        """Minutes that have passed are read once; the last ones, which may still grow, each time."""
        first = minute(now) - MINUTES * timedelta(minutes=1)
        since = first if self._read_to is None else max(first, self._read_to)
        fresh = await page_queries.outcomes_by_minute(connection, since)
        kept = {key: value for key, value in self._minutes.items() if first <= key[0] < since}
        self._minutes = kept | {(at.astimezone(UTC), status): value for (at, status), value in fresh.items()}
        self._read_to = minute(now) - _WRITTEN_LATE


@dataclass(slots=True)
class Kafka:
    """Kafka's offsets, read every few seconds while a browser asks.

    A request waits for a new reading only if the last one is old: nobody has asked for some time. `clock`: seconds.
    """

    read: Callable[[], Coroutine[Any, Any, Offsets]]
    clock: Callable[[], float] = time.monotonic
    _seen: Offsets | None = None
    _next: float = 0.0
    _looking: asyncio.Task[None] | None = None

    async def __call__(self) -> Offsets:
        """The newest reading; one that is older than two intervals is not returned."""
        now = self.clock()
        if self._looking is None and now >= self._next:
            self._looking = asyncio.create_task(self._look(), name="console-kafka")
        if self._looking is not None and (self._seen is None or now >= self._next + KAFKA_EVERY):
            await asyncio.shield(self._looking)
        return self._seen or Offsets(why="not asked yet")

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(_KAFKA_WITHIN):
                self._seen = await self.read()
        except (KafkaError, OSError, TimeoutError) as error:
            self._seen = Offsets(why=type(error).__name__)
        finally:
            self._next = self.clock() + KAFKA_EVERY
            self._looking = None


async def kafka_offsets(settings: KafkaSettings) -> Offsets:
    """Lag and dead letters, by offsets alone. Raises aiokafka's `KafkaError`, or `TimeoutError`."""
    seen = await backlog(settings, INPUT_TOPICS)
    return Offsets(seen.lag, seen.dead)


def left(
    dead: Mapping[tuple[str, int], range],
    replayed: Mapping[tuple[str, int], Sequence[int]],
    kept: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, int]:
    """Open dead letters by topic: still there, and neither replayed nor dismissed. `kept`: those in the ledger."""
    waiting = dict(kept)
    for key, offsets in dead.items():
        back = sum(offset in offsets for offset in replayed.get(key, ()))
        if len(offsets) > back:
            waiting[key[0]] = waiting.get(key[0], 0) + len(offsets) - back
    return waiting


def _explain(oldest: Waiting | None, world: CallConditions) -> str:
    if oldest is None:
        return ""
    if oldest.operation is None or oldest.state is None or oldest.due is None:
        return why(None, world)
    step = Step(oldest.operation, oldest.state, oldest.due, oldest.waits_for, oldest.attempts or 0)
    return why(step, world)


def _facts(
    world: CallConditions,
    oldest: Waiting | None,
    explained: str,
    in_doubt: int,
    present: Sequence[Present],
    leads: str | None,
    kafka: str | None,
    dead: Mapping[str, int],
) -> HeadlineFacts:
    bridges = [each for each in present if each.role == "bridge"]
    return HeadlineFacts(
        now=world.now,
        held=world.held,
        budget_left=world.budget_left,
        budget_free_at=world.budget_free_at,
        in_doubt=in_doubt,
        oldest=world.now - oldest.created_at if oldest is not None else None,
        oldest_why=explained,
        oldest_flow=str(oldest.id) if oldest is not None else "",
        workers=sum(each.there and each.role == "worker" for each in present),
        missing=[each.name for each in present if not each.there],
        bridges=sum(each.there for each in bridges) if bridges else None,
        bridge_leads=leads is not None,
        kafka=kafka,
        dead_letters=sum(dead.values()),
    )


__all__ = ["Glance", "Kafka", "Offsets", "Overview", "kafka_offsets", "left"]
