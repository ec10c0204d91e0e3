"""What waits for one topic: bounded, in order, each signal once. Sockets and the catch-up put, the publisher takes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection
from enum import StrEnum
from itertools import islice

from worker.bridge.signal_record import Outgoing

__all__ = ["Inbox", "Offer"]

ROOM = 2_000
"""Signals that may wait: far more than a firm's traders sign while Kafka is away."""

ROOM_BYTES = 16 * 2**20
"""Bytes that may wait; an alert has some hundred, and may have a million."""

REMEMBERED = 2_000
"""Published signals that are remembered here, so that a repeat, which comes soon if at all, costs no look at the
ledger, which knows all of them."""


class Offer(StrEnum):
    """What became of a signal that was offered."""

    TAKEN = "taken"
    REPEAT = "repeat"
    FULL = "full"


class Inbox:
    """Of one event loop; no method but `wait_for_*` waits."""

    def __init__(self, room: int = ROOM, remembered: int = REMEMBERED) -> None:
        self._room = room
        self._remembered = remembered
        self._bytes = 0
        self._waiting: OrderedDict[int, Outgoing] = OrderedDict()
        self._done: OrderedDict[int, None] = OrderedDict()
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()
        self._roomy = asyncio.Event()
        self._roomy.set()

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, signal: Outgoing) -> Offer:
        """Takes a signal, unless it waits already, is on Kafka already, or there is no room."""
        if signal.signal_id in self._waiting or signal.signal_id in self._done:
            return Offer.REPEAT
        if len(self._waiting) >= self._room or self._bytes >= ROOM_BYTES:
            self._roomy.clear()
            return Offer.FULL
        self._waiting[signal.signal_id] = signal
        self._bytes += len(signal.value)
        self._some.set()
        self._none.clear()
        return Offer.TAKEN

    def first(self, most: int) -> list[Outgoing]:
        """The signals that have waited longest. They stay until they are `done`."""
        return list(islice(self._waiting.values(), most))

    def later(self, signal: Outgoing) -> None:
        """This one was not accepted, perhaps for its own sake: the others go before its next try."""
        self._bytes += len(signal.value) - len(self._waiting[signal.signal_id].value)
        self._waiting[signal.signal_id] = signal
        self._waiting.move_to_end(signal.signal_id)

    def done(self, ids: Collection[int]) -> None:
        """These are on Kafka, and the ledger knows it."""
        for signal_id in ids:
            if (signal := self._waiting.pop(signal_id, None)) is not None:
                self._bytes -= len(signal.value)
            self._done[signal_id] = None
        while len(self._done) > self._remembered:
            self._done.popitem(last=False)
        if not self._waiting:
            self._some.clear()
            self._none.set()
        if len(self._waiting) <= self._room // 2 and self._bytes <= ROOM_BYTES // 2:
            self._roomy.set()

    async def wait_for_signals(self) -> None:
        """Until something waits."""
        await self._some.wait()

    async def wait_for_none(self) -> None:
        """Until nothing waits."""
        await self._none.wait()

    async def wait_for_room(self) -> None:
        """At once unless it has been full, else until half of it is free."""
        await self._roomy.wait()
