"""Calls of few steps, which are begun in the transaction that accepts their event or records the call before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from worker.dispatch.caller import Following
from worker.dispatch.choose import IN_FLIGHT, URGENT_ONLY, Situation
from worker.dispatch.operation_rules import kind_of
from worker.engine.states import StepState
from worker.ledger.claims import Claims
from worker.ledger.next_call import NextCall
from worker.ledger.rows import Lane
from worker.partner.operation import Operation
from worker.session import SessionKeeper

LONE = 4
"""Steps that are few: their next call is begun in the transaction that records their result. With more of them that
transaction would hold the lock under which all calls begin for too long."""


@dataclass(slots=True)
class LoneCalls:
    """Decides whether a transaction may begin calls itself: only if little else is due, and nothing is seen to come.

    `feeding`: the caller's. `in_flight`: the calls in flight of this replica. `coming`: whether more events are seen to
    be coming; `alone`: whether those that are being accepted have come alone. `send`: sends what a transaction has
    begun.
    """

    claims: Claims
    session: SessionKeeper
    operations: Mapping[str, Operation]
    feeding: Counter[str]
    in_flight: Callable[[], int]
    coming: Callable[[], bool]
    alone: Callable[[], bool]
    send: Callable[[Following], None]
    _at_once: frozenset[str] = field(default=frozenset())  # operations of which a lone step could be sent at once

    def note(self, lanes: Sequence[Lane], situation: Situation) -> None:
        """Notes what a look at the ledger has found: which operations a lone step could be sent of at once."""
        if sum(lane.ready for lane in lanes) > LONE:
            self._at_once = frozenset()
            return

        def at_once(operation: Operation) -> bool:
            lane = Lane(operation.name, StepState.DUE, None, 1, situation.now, situation.now)
            lingers = operation.batching.lingers and situation.linger(operation.name) > situation.shortest
            return not lingers and situation.held(lane) is None

        self._at_once = frozenset(name for name, operation in self.operations.items() if at_once(operation))

    def of_events(self, events: int) -> Following | None:
        """The calls that a transaction may begin which accepts so many events."""
        return self._following(events, ()) if self.alone() else None

    def after(self, steps: int, feeds: Sequence[str]) -> Following | None:
        """The calls that a transaction may begin which records the results of so many steps.

        `feeds`: the operations that the call which has just ended brings steps of.
        """
        return None if self.coming() else self._following(steps, feeds)

    def _following(self, steps: int, feeds: Sequence[str]) -> Following | None:
        """None if something else waits, or may come."""
        token, free = self.session.current(), IN_FLIGHT - URGENT_ONLY - self.in_flight()
        if token is None or not 0 < steps <= LONE <= free or not self._at_once or self.claims.beginning.busy:
            return None
        others = Counter(self.feeding)
        others.subtract(feeds)
        kinds = {
            name: kind_of(self.operations[name], self.claims.budget) for name in self._at_once if others[name] <= 0
        }
        return Following(NextCall(self.claims, kinds, token.generation), token)
