"""What happens at Tradovate during the demo: a trader signs, Tradovate's staff decide, and waits are cut short."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from worker.ledger import browse, steps
from worker.ledger.database import Database
from worker.sandbox import Sandbox

_LOOKS_EVERY = 0.05
"""Seconds between two looks at the ledger; each takes a millisecond."""


@dataclass(frozen=True, slots=True)
class Desk:
    """The simulated Tradovate's people, and a look into the demo's own ledger."""

    sandbox: Sandbox
    database: Database

    def sign(self, user_id: int) -> str:
        """The user signs the Market Data Agreement; returns the id of the event that the bridge makes of it."""
        (signal_id,) = self.sandbox.control.sign({"userId": user_id})["signalIds"]
        return f"mda-{signal_id}"

    def review(self, request_id: int, status: str) -> None:
        """Decides a subaccount request."""
        self.sandbox.control.review({"requestId": request_id, "status": status})

    async def waits(self, event_id: str) -> None:
        """Returns when the event's flow waits for something to happen."""
        while True:
            async with self.database.connection() as connection:
                if any(flow.waits_for for flow in await browse.matches(connection, event_id)):
                    return
            await asyncio.sleep(_LOOKS_EVERY)

    async def skip(self, event_id: str) -> None:
        """Lets the time pass until the next look at the event's review, half a minute or more: it is due now.

        The worker keeps its rhythm. Only this ledger, which ends with the demo, has its due times changed.
        """
        while True:
            async with self.database.connection() as connection:
                skipped = await steps.make_due(connection, event_id, "getPartnerSubaccountRequestStatus")
            if skipped:
                return
            await asyncio.sleep(_LOOKS_EVERY)
