"""Can the ledger and Kafka be reached, and does the partner let us in? What `run` and `bridge` ask alike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from aiokafka.errors import KafkaError

from schemas.times import utc_text
from worker.kafka.producer import RecordProducer
from worker.ledger import holds
from worker.ledger.budget import Budget
from worker.ledger.database import Database, DatabaseError
from worker.ledger.host_table import DomainHost
from worker.ledger.state_summary import Standing, standing
from worker.telemetry.metrics import Metrics

T = TypeVar("T")

KAFKA_EVERY = 10.0
"""Seconds between looks at the broker; well below the 30 s within which health must tell the truth of it."""

_LEDGER_SECONDS = 1.5
"""Seconds that the look at the ledger may take before the database counts as away (health: true within 3 s)."""

_KAFKA_SECONDS = 2.0
"""The same for the look at the broker, which goes on beside it."""

_GIVEN_UP = 6.0
"""Seconds after which a look is given up for another one: its connection may be dead while the database lives."""


@dataclass(slots=True)
class _Look(Generic[T]):
    """One look at a time for all who ask. A caller waits `most` seconds at most, then `TimeoutError` is raised: a check
    of something that hangs takes ten seconds to be cancelled, and no caller waits for that.
    """

    make: Callable[[], Coroutine[Any, Any, T]]
    most: float
    _task: asyncio.Task[T] | None = None
    _began: float = 0.0

    async def __call__(self) -> T:
        task = self._task
        if task is None or task.done():
            task = self._task = asyncio.create_task(self.make())
            task.add_done_callback(_heard)
            self._began = time.monotonic()
        if not (await asyncio.wait({task}, timeout=self.most))[0]:
            if time.monotonic() - self._began > _GIVEN_UP:
                task.cancel()
            raise TimeoutError
        if task.cancelled():
            raise TimeoutError
        return task.result()


def _heard(task: asyncio.Task[Any]) -> None:
    """What came of a look that nobody waited for any longer is of no interest."""
    if not task.cancelled():
        task.exception()


@dataclass(slots=True)
class Reach:
    """Looks at what a process depends on."""

    database: Database
    producer: RecordProducer
    budget: Budget
    in_use: Callable[[Sequence[DomainHost]], Sequence[Any]]  # where the calls go, out of the ledger's rows
    silent: Callable[[], str | None]  # a lock-out that this process remembers and the ledger may not know yet
    held: Sequence[Mapping[str, str | None]] = ()  # what keeps calls back, as last seen: pauses, lock-outs, penalties
    partner: Mapping[str, Any] = field(default_factory=dict)  # the session and the hosts, as last seen
    _ledger: _Look[Standing] = field(init=False)
    _broker: _Look[None] = field(init=False)
    _kafka_looked: float = -1e9
    _kafka_why: str | None = "not connected yet"

    def __post_init__(self) -> None:
        """Looks at nothing yet."""
        self._ledger = _Look(lambda: standing(self.database, self.budget), _LEDGER_SECONDS)
        self._broker = _Look(self.producer.ping, _KAFKA_SECONDS)

    async def checks(self) -> dict[str, str | None]:
        """Each check with why it fails, or None."""
        seen, kafka = await asyncio.gather(self.standing(), self.kafka())
        if isinstance(seen, str):
            return {"database": seen, "lockout": self.silent(), "login": None, "kafka": kafka}
        return {"database": None, **_partner(seen, self.silent()), "kafka": kafka}

    async def standing(self) -> Standing | str:
        """What the ledger says, or why it cannot be reached."""
        try:
            seen = await self._ledger()
        except TimeoutError:
            return f"PostgreSQL did not answer within {_LEDGER_SECONDS} s"
        except DatabaseError as error:
            return error.reason
        self.held = [
            {"scope": hold.scope, "reason": hold.reason, "until": utc_text(hold.until) if hold.until else None}
            for hold in seen.holds
        ]
        self.partner = {
            "session": None if seen.failure is None else f"the last login or renewal failed: {seen.failure}",
            "hosts": {
                each.domain.value: {
                    "host": each.rest,
                    "webSocket": each.socket,
                    "source": each.source.value,
                    "trouble": each.trouble,
                    "ignored": each.ignored,
                }
                for each in self.in_use(seen.hosts)
            },
        }
        return seen

    async def kafka(self) -> str | None:
        """Why Kafka cannot be reached, or None."""
        now = time.monotonic()
        if now - self._kafka_looked >= KAFKA_EVERY:
            self._kafka_looked = now
            try:
                await self._broker()
                self._kafka_why = None
            except (KafkaError, TimeoutError, OSError) as error:
                self._kafka_why = f"Kafka cannot be reached ({type(error).__name__})"
        return self._kafka_why

    async def gauge(self, metrics: Metrics) -> bool:
        """Brings the gauges of budget, lock-out and token up to date; false when the ledger cannot be reached."""
        seen = await self.standing()
        if isinstance(seen, str):
            return False
        metrics.budget_used.set(seen.budget.used)
        metrics.budget_left.set(seen.budget.left)
        metrics.lockout.set(seen.lockout_seconds)
        metrics.token.set(seen.token_seconds)
        metrics.password.set(seen.password_seconds)
        return True


def _partner(seen: Standing, silent: str | None) -> Mapping[str, str | None]:
    locked = seen.lockout_seconds
    login = next((hold for hold in seen.holds if hold.scope == holds.LOGIN), None)
    return {
        "lockout": f"locked out for {int(locked) + 1} s more" if locked else silent,
        "login": f"{login.reason}; `tradovate-worker holds clear {login.id}`" if login else None,
    }
