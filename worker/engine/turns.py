"""The turns of events about one account: each goes when those before it have ended. Pure.

An event is queued in the transaction that accepts it, under each key that its account is known by (`a:<accountId>`,
`o:<orderId>`), with a place that grows with every acceptance. So an event that names the account and one that names the
order stand in the same queue. The flows decide from the queue who waits (`flows/turn_rules.py`); here it is kept.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from worker.engine.flows.base import Queue, TurnView, turn_key
from worker.engine.rows import TurnRow

Key = tuple[str, int]


@dataclass(slots=True)
class AccountTurns:
    """`rows`: what was loaded of the queues of a transaction's flows, with all changes. `places`: new ones, ascending.

    Loaded of a queue are the flows' own rows and, of each subject, three more: the row before each of them, the last
    row that has not ended, and the last one that has begun.
    """

    rows: dict[Key, TurnRow] = field(default_factory=dict)
    places: list[int] = field(default_factory=list)
    _changed: dict[Key, None] = field(default_factory=dict)
    _ended: dict[uuid.UUID, None] = field(default_factory=dict)

    def copy(self) -> AccountTurns:
        """Another one with the same rows and places."""
        return AccountTurns(dict(self.rows), list(self.places))

    def add(self, row: TurnRow) -> None:
        """Adds a row that was loaded."""
        self.rows[row.key, row.place] = row

    def take(self, flow_id: uuid.UUID, keys: Iterable[str], subject: str, *, must_act: bool) -> None:
        """The flow gets the last place in the queues of these keys."""
        place = self.places.pop(0)
        for key in sorted(keys):
            self._put(TurnRow(key, place, flow_id, subject, must_act=must_act))

    def join(self, flow_id: uuid.UUID, keys: Iterable[str]) -> None:
        """The flow's account is known by these keys too: it has the same place there."""
        own = self._of(flow_id)
        if own and not own[0].ended:
            for key in set(keys) - {row.key for row in own}:
                self._put(own[0]._replace(key=key))

    def begin(self, flow_id: uuid.UUID, now: datetime) -> None:
        """It is the flow's turn."""
        for row in self._of(flow_id):
            if row.begun_at is None and not row.ended:
                self._put(row._replace(begun_at=now))

    def end(self, flow_id: uuid.UUID) -> None:
        """The flow has ended, and the next one may go."""
        for row in self._of(flow_id):
            if not row.ended:
                self._put(row._replace(ended=True))
                self._ended[flow_id] = None

    def oust(self, flow_id: uuid.UUID) -> None:
        """The flow has no result, and a later one takes its place."""
        for row in self._of(flow_id):
            if not row.ended and not row.ousted:
                self._put(row._replace(ousted=True))

    def queue(self, flow_id: uuid.UUID) -> Queue | None:
        """The flow's place, and who stands before and behind it; None if it has none."""
        own = self._of(flow_id)
        if not own:
            return None
        place = own[0].place
        keys = {row.key for row in own}
        others = {
            row.place: TurnView(row.flow_id, row.place, row.subject, row.begun_at, row.ended, row.must_act)
            for row in self.rows.values()
            if row.key in keys and row.flow_id != flow_id
        }
        return Queue(place, own[0].subject, own[0].begun_at is not None, own[0].ousted, tuple(others.values()))

    def _of(self, flow_id: uuid.UUID) -> list[TurnRow]:
        """The flow's rows; of its newest place, if an operator has started it again."""
        rows = [row for row in self.rows.values() if row.flow_id == flow_id]
        newest = max((row.place for row in rows), default=None)
        return [row for row in rows if row.place == newest]

    def _put(self, row: TurnRow) -> None:
        key = row.key, row.place
        self.rows[key] = row
        self._changed[key] = None

    def changed(self) -> Sequence[TurnRow]:
        """Rows to be written."""
        return [self.rows[key] for key in sorted(self._changed)]

    def wakes(self) -> set[str]:
        """The keys that wake those who waited for a flow's end."""
        return {turn_key(flow_id) for flow_id in self._ended}
