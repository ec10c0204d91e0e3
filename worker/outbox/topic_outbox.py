"""The outcomes of one topic that this replica has in hand, and whether the topic accepts them now."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from worker.kafka.topics import outcome_topic
from worker.ledger.rows import OutcomeRow

AT_ONCE = 500
"""Outcomes of a topic in one round: bounds memory, and what is published twice when this replica dies before noting
it."""

_SLOW = 10.0
"""Seconds without an answer after which a round is reported: a broker that works answers within milliseconds, and
readiness must name a topic that accepts nothing within 30 s. The producer itself tries for 40 s."""


@dataclass(slots=True)
class TopicOutbox:
    """`topic`: the input topic. Times are monotonic seconds."""

    topic: str
    in_hand: dict[int, OutcomeRow] = field(default_factory=dict)
    sending: asyncio.Task[None] | None = None
    sending_since: float = 0.0
    refused: str | None = None  # why the last round failed
    failures: int = 0
    retry_at: float = 0.0

    @property
    def has_enough(self) -> bool:
        """Whether no more are looked for: what is in hand waits for the topic, or fills a round."""
        return len(self.in_hand) >= AT_ONCE or (self.refused is not None and bool(self.in_hand))

    def hold(self, row: OutcomeRow) -> None:
        """Takes a row in hand. While the topic accepts nothing only a round's worth is taken, and the leases of the
        others run out: the ledger has them.
        """
        if self.refused is None or len(self.in_hand) < AT_ONCE:
            self.in_hand[row.id] = row

    def trouble(self, now: float) -> str | None:
        """Why outcomes of this topic are not published now."""
        why = self.refused
        if why is None and self.sending is not None and now - self.sending_since > _SLOW:
            why = f"no answer for {int(now - self.sending_since)} s"
        return None if why is None else f"{outcome_topic(self.topic)}: {why}"

    def next_rows(self, now: float) -> Sequence[OutcomeRow]:
        """What a round may send now; nothing while one is on its way or the topic is not to be tried yet.

        The race: a replica that was frozen, or waited for Kafka, past the end of a lease finds the row published by
        another. What may have been leased by another is given up, and the sweep finds it if it was not published.
        """
        if self.sending is not None:
            return []
        for lost in [row.id for row in self.in_hand.values() if row.until <= now]:
            del self.in_hand[lost]
        if not self.in_hand:
            self.reset_refusal()
        if now < self.retry_at:
            return []
        rows: list[OutcomeRow] = []
        flows: set[uuid.UUID] = set()
        for row in self.in_hand.values():
            if len(rows) == AT_ONCE:
                break
            # Outcomes of one flow may go to different partitions, which keep no common order: one, then the next.
            if row.flow_id is None or row.flow_id not in flows:
                rows.append(row)
            if row.flow_id is not None:
                flows.add(row.flow_id)
        return rows

    def has_lease(self, row: OutcomeRow, now: float) -> bool:
        """Whether a row is surely still ours."""
        held = self.in_hand.get(row.id)
        return held is not None and held.until > now

    def extend(self, ids: Sequence[int], until: float) -> None:
        """The leases of these, as far as they are still in hand, end at `until`."""
        for row_id in ids:
            if row_id in self.in_hand:
                self.in_hand[row_id] = replace(self.in_hand[row_id], until=until)

    def reset_refusal(self) -> None:
        """The topic has accepted a round, or nothing waits for it any more."""
        self.refused, self.failures, self.retry_at = None, 0, 0.0
