"""Can the ledger and Kafka be reached, and does the partner let us in? What `run` and `bridge` ask alike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka.errors import KafkaError

from worker.kafka.producer import RecordProducer
from worker.ledger import holds
from worker.ledger.calls import Budget
from worker.ledger.database import AWAY, Database
from worker.ledger.overview import Standing, standing
from worker.ops.metrics import Metrics

KAFKA_EVERY = 10.0
"""Seconds between looks at the broker; well below the 30 s within which health must tell the truth of it."""

_LOOK = 1.5
"""Seconds that the look at the ledger may take before the database counts as away (health: true within 3 s)."""

_GIVEN_UP = 6.0
"""Seconds after which a look is given up for another one: its connection may be dead while the database lives."""


@dataclass(slots=True)
class Reach:
    """Looks at what a process depends on."""

    database: Database
    producer: RecordProducer
    budget: Budget
    held: Sequence[Mapping[str, str | None]] = ()  # what keeps calls back, as last seen: pauses, lock-outs, penalties
    _look: asyncio.Task[Standing] | None = None
    _looked: float = 0.0
    _kafka_looked: float = -1e9
    _kafka_why: str | None = "not connected yet"

    async def checks(self) -> dict[str, str | None]:
        """Each check with why it fails, or None."""
        seen = await self.standing()
        if isinstance(seen, str):
            return {"database": seen, "lockout": None, "login": None, "kafka": await self.kafka()}
        return {"database": None, **_partner(seen), "kafka": await self.kafka()}

    async def standing(self) -> Standing | str:
        """What the ledger says, or why it cannot be reached."""
        try:
            seen = await self._seen()
        except AWAY as error:
            return f"the database cannot be reached ({type(error).__name__})"
        self.held = [
            {"scope": hold.scope, "reason": hold.reason, "until": hold.until.isoformat() if hold.until else None}
            for hold in seen.holds
        ]
        return seen

    async def _seen(self) -> Standing:
        """One look for all who ask at the same time, and no longer than `_LOOK` for each: to give up a look at a
        database that hangs takes ten seconds itself. Raises any of `AWAY`.
        """
        look = self._look
        if look is None or look.done():
            look = self._look = asyncio.create_task(standing(self.database, self.budget))
            look.add_done_callback(_heard)
            self._looked = time.monotonic()
        if not (await asyncio.wait({look}, timeout=_LOOK))[0]:
            if time.monotonic() - self._looked > _GIVEN_UP:
                look.cancel()
            raise TimeoutError
        if look.cancelled():
            raise TimeoutError
        return look.result()

    async def kafka(self) -> str | None:
        """Why Kafka cannot be reached, or None."""
        now = time.monotonic()
        if now - self._kafka_looked >= KAFKA_EVERY:
            self._kafka_looked = now
            try:
                async with asyncio.timeout(2.0):
                    await self.producer.ping()
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
        return True


def _heard(look: asyncio.Task[Standing]) -> None:
    """What came of a look that nobody waited for any longer is of no interest."""
    if not look.cancelled():
        look.exception()


def _partner(seen: Standing) -> Mapping[str, str | None]:
    locked = seen.lockout_seconds
    login = next((hold for hold in seen.holds if hold.scope == holds.LOGIN), None)
    return {
        "lockout": f"locked out for {int(locked) + 1} s more" if locked else None,
        "login": f"{login.reason}; `tradovate-worker holds clear {login.id}`" if login else None,
    }
