"""A partner that fails for some items or for all, and the dispatcher's rules around it, in simulated time."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from schemas.events import EVENTS
from worker.backoff import Schedule
from worker.dispatch.operation_rules import rules_of, sent_steps
from worker.engine.flows.purchased_facts import PurchasedFacts
from worker.engine.memory import EMPTY, Memory
from worker.engine.rows import Claimed, Finish, FlowRow, Later, Move
from worker.engine.states import StepState
from worker.engine.steps.after_call import after_call
from worker.engine.steps.after_look_up import after_look_up
from worker.engine.steps.splitting import NO_SIGNS, Signs, failed_before
from worker.engine.steps.timing import Timing
from worker.partner.operations import OPERATIONS
from worker.partner.response import read_reply
from worker.replies import Answer, Reply, Unclear
from worker.results import NotExecuted, Succeeded

EVENT = EVENTS["trader.purchased"].model_validate(EVENTS["trader.purchased"].examples[0])
NOW = datetime.now(UTC)
START = PurchasedFacts()
FLOW = FlowRow(UUID(int=1), "trader.purchased", EVENT, "e-1", None, 0, 0, None, "t", None, "1", None, NOW, NOW, START)
ITEM = {"name": "E1", "userId": 1, "templateAccountId": 2}
SETTLE = 15.0


@dataclass
class Simulation:
    """`fails`: whether a call of these items at that time fails. Steps are numbered from 0, all due at 0."""

    fails: Callable[[Sequence[int], float], bool]
    operation: str = "createEvaluationAccounts"
    schedule: Schedule = field(default_factory=lambda: Schedule(1, 300, 86_400))
    dice: random.Random = field(default_factory=lambda: random.Random(7))
    reply: Reply = field(default_factory=lambda: Unclear("HTTP 502", 502))
    item: dict[str, Any] = field(default_factory=lambda: ITEM)
    steps: dict[int, tuple[float, Claimed]] = field(default_factory=dict)
    calls: list[tuple[float, list[int]]] = field(default_factory=list)
    looks: int = 0
    done: dict[int, float] = field(default_factory=dict)
    given_up: dict[int, float] = field(default_factory=dict)
    failed: list[int] = field(default_factory=list)
    answered: int = 0

    def arrive(self, count: int, at: float = 0.0) -> None:
        """So many steps more, due then."""
        first = len(self.steps) + len(self.done) + len(self.given_up)
        for number in range(first, first + count):
            self.steps[number] = at, Claimed(number, self.operation, StepState.DUE, 0, 0.0, EMPTY, None, FLOW)

    def run(self, until: float) -> None:
        """Until then, or until nothing is left."""
        while self.steps:
            now = min(at for at, _ in self.steps.values())
            if now > until:
                return
            lanes: dict[tuple[StepState, int | None], list[int]] = defaultdict(list)
            for number, (at, step) in self.steps.items():
                if at <= now:
                    lanes[step.state, step.batch_id].append(number)
            for (state, _), numbers in lanes.items():
                for start in range(0, len(numbers), 100):
                    (self._send if state is StepState.DUE else self._look)(numbers[start : start + 100], now)

    def _timing(self, steps: Sequence[Claimed]) -> Timing:
        since = failed_before(steps)
        signs = NO_SIGNS
        if since is not None:
            failed = sum(call_id > since for call_id in self.failed)
            signs = Signs(self.answered if self.answered > since else 0, failed)
        return Timing(self.schedule, timedelta(seconds=SETTLE), self.dice.random(), signs)

    def _send(self, numbers: list[int], now: float) -> None:
        steps = [replace(step, state=StepState.IN_FLIGHT, attempts=step.attempts + 1) for step in self._of(numbers)]
        self.calls.append((now, numbers))
        call_id = len(self.calls)
        rows = [{"accountId": number + 1, "tradingPermissionId": number + 1} for number in numbers]
        failed = self.fails(numbers, now)
        reply = self.reply if failed else Answer({"results": rows})
        operation, items = OPERATIONS[self.operation], [self.item] * len(steps)
        _, result = read_reply(operation, reply, items, denied=True)  # the token is good
        sent = sent_steps(operation, steps, items)
        moves = after_call(self._timing(steps), rules_of(operation), result, sent, seconds=0.0, call_id=call_id)
        if failed:
            self.failed.append(call_id)
        else:
            self.answered = call_id
        self._move(steps, moves, now)

    def _look(self, numbers: list[int], now: float) -> None:
        self.looks += 1
        steps = self._of(numbers)
        found = [(step, NotExecuted()) for step in steps]
        self._move(steps, after_look_up(self._timing(steps), rules_of(OPERATIONS[self.operation]), found, 0.0), now)

    def _of(self, numbers: Sequence[int]) -> list[Claimed]:
        return [self.steps[number][1] for number in numbers]

    def _move(self, steps: Sequence[Claimed], moves: Sequence[Move], now: float) -> None:
        for step, move in zip(steps, moves, strict=True):
            match move:
                case Later():
                    memory, batch_id = Memory.from_json(move.memory.to_json()), move.batch_id
                    moved = replace(step, state=move.state, spent=move.spent, memory=memory, batch_id=batch_id)
                    self.steps[step.id] = now + max(move.wait.total_seconds(), 0.05), moved
                case Finish(result=Succeeded()):
                    del self.steps[step.id]
                    self.done[step.id] = now
                case Finish():
                    del self.steps[step.id]
                    self.given_up[step.id] = now

    @property
    def sent_with(self) -> Counter[int]:
        """How many calls each step was in."""
        return Counter(number for _, numbers in self.calls for number in numbers)
