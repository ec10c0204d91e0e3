"""Out of an inbox onto its topic, and a note of it in the ledger.

A bridge that dies between the two publishes the signal again, under the same event id, which intake drops.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from aiokafka.errors import MessageSizeTooLargeError

from worker.bridge.signal_record import SIGNED, Outgoing, without_content
from worker.bridge.topic_inbox import Inbox
from worker.bridge.topic_publisher import TopicPublisher, TopicRefuses
from worker.kafka.topics import ADMIN_ALERT
from worker.ledger import signals

TOPICS = (SIGNED, ADMIN_ALERT)
"""Where signals are published."""

AT_ONCE = 500
"""Signals in one round: what is published twice when this bridge dies before noting it."""


@dataclass(slots=True, kw_only=True)
class SignalPublisher(TopicPublisher):
    """Of one topic. What is on Kafka is kept in mind until it is noted, also when the database is away just then.
    `published` is called for each signal.
    """

    kind = "signals"

    inbox: Inbox
    published: Callable[[Outgoing], None] = lambda _signal: None
    _unnoted: set[int] = field(default_factory=set)

    @property
    def waiting(self) -> int:
        """Signals in the inbox."""
        return len(self.inbox)

    async def run_once(self) -> bool:
        """Publishes and notes what has waited longest; false when nothing does. Raises when either is away."""
        some = self.inbox.first(AT_ONCE)
        if not some or not self.leading():
            return False
        async with self.database.connection() as connection:
            known = await signals.known(connection, self.topic, [signal.signal_id for signal in some])
        fresh = [signal for signal in some if signal.signal_id not in known | self._unnoted]
        # A bridge that was frozen here, and is not the leader any more, has slept over what another has published.
        if fresh and not self.leading():
            return False
        if fresh:
            self.crash("before_publish")
        failures = await self._all(map(self._publish, fresh))
        self.crash("after_publish")
        async with self.database.connection() as connection:
            await signals.note(connection, self.topic, list(self._unnoted))
        self.inbox.done(known | self._unnoted)
        self._unnoted.clear()
        if why := next(filter(None, failures), None):
            raise TopicRefuses(self.topic, why)
        return True

    async def _publish(self, signal: Outgoing) -> str | None:
        """Why the topic has not accepted it, or None."""
        error = await self._send(signal.value, signal.key)
        if error is not None:
            if isinstance(error, MessageSizeTooLargeError) and self.topic != SIGNED:
                signal = without_content(signal)
            self.inbox.later(signal)
            return type(error).__name__
        self._unnoted.add(signal.signal_id)
        self.published(signal)
        return None

    async def _until_something_waits(self) -> None:
        await self.inbox.wait_for_signals()
