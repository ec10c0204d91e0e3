"""What an operator may do to a flow: cancel it, resolve it, retry it. Pure.

Each starts a new round, and so ends in a new outcome with a new id; but for `conclude` and `take_up`, by which a ledger
that was restored from a backup learns what has been published since.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

from schemas.events import TraderPassed
from schemas.outcomes import FACTS, ErrorCode, Status
from worker.engine.facts import changed
from worker.engine.flows.base import End
from worker.engine.flows.passed_facts import PassedFacts
from worker.engine.planner import Planner
from worker.engine.rebuilt import PastOutcome
from worker.engine.rows import FlowRow, OpenStep
from worker.engine.states import StepState
from worker.errors import OperatorError

SETTABLE: Mapping[str, type] = {name: kind for name, kind in FACTS.items() if kind is not tuple}
"""What an operator who resolves a flow may set: ids of its outcome. Numbers are Tradovate's ids, 1 to 2^63 - 1."""


class Obstacle(Enum):
    """Why an operator's action is not possible now."""

    NO_FLOW = "There is no such flow."
    NO_EVENT = "Its event is no longer kept here, or SECRET_KEY does not open it."
    OTHER_STATE = "The flow is {state}; this is for flows that are {wanted}."
    CALL_UNDER_WAY = "Its call is under way and may take effect; wait until that is known."
    CALL_UNKNOWN = "Its call was sent and may have taken effect; wait until that has been looked up."
    ACCOUNT_FOUND = "Its account was found at Tradovate; wait a moment until the order has it."
    NOT_SEEN = (
        "It may have taken effect at Tradovate, and no program can look: {confirm} if a person saw there that it did"
        " not, or resolve the flow."
    )


class NotPossible(OperatorError):
    """The flow is not in a state in which this can be done. `state`: the one it is in; `wanted`: those it may be in."""

    def __init__(self, obstacle: Obstacle, state: str = "", wanted: Sequence[str] = ()) -> None:
        super().__init__(obstacle.name)
        self.obstacle = obstacle
        self.state = state
        self.wanted = tuple(wanted)

    def text(self, confirm: str) -> str:
        """For an operator. `confirm`: how they confirm, in what they use, that they saw no effect at Tradovate."""
        names = {"open": "still under way", "in_doubt": "in doubt"}
        wanted = " or ".join(names.get(each, each) for each in self.wanted)
        return self.obstacle.value.format(confirm=confirm, state=names.get(self.state, self.state), wanted=wanted)

    @property
    def sentence(self) -> str:
        """For an operator at the command line."""
        return self.text("say --not-made")


def check_state(state: str, states: Sequence[str]) -> None:
    """Raises `NotPossible` unless the flow is in one of `states`."""
    if state not in states:
        raise NotPossible(Obstacle.OTHER_STATE, state, states)


def cancel(planner: Planner, flow: FlowRow, steps: Sequence[OpenStep], reason: str) -> None:
    """Ends an open flow whose step has not been sent: outcome `failed`, `cancelled`, with `reason` as the text."""
    for step in steps:
        if step.state is StepState.IN_FLIGHT:
            raise NotPossible(Obstacle.CALL_UNDER_WAY)
        unproven = step.attempts or step.operation in flow.facts.unproven
        if step.state is StepState.UNKNOWN and unproven:
            raise NotPossible(Obstacle.CALL_UNKNOWN)
        if step.state is StepState.WAITING and flow.facts.adopts:
            # Ended now, the order would forget the account, and its next event could create another one.
            raise NotPossible(Obstacle.ACCOUNT_FOUND)
        # A wait that is being planned again is leased; the planner finds the lease gone and writes nothing.
        planner.close(step.id, StepState.REFUSED)
    _end(planner, flow, End(Status.FAILED, ErrorCode.CANCELLED, reason))


def resolve(
    planner: Planner, flow: FlowRow, steps: Sequence[OpenStep], status: Status, facts: Mapping[str, Any], reason: str
) -> None:
    """Ends a flow in doubt as an operator says: `succeeded` or `failed`, with the ids of `facts` in its outcome."""
    for step in steps:
        planner.close(step.id, StepState.DONE if status is Status.SUCCEEDED else StepState.REFUSED)
    planner.learn(flow, flow.facts.with_ids(facts))
    _end(planner, flow, End(status) if status is Status.SUCCEEDED else End(status, ErrorCode.CANCELLED, reason))


def retry(
    planner: Planner,
    flow: FlowRow,
    steps: Sequence[OpenStep],
    looked_up: Callable[[str], bool],
    *,
    not_made: bool = False,
) -> None:
    """Plans a failed flow, or one in doubt, again from its start.

    `looked_up`: whether an operation has a look-up; then it is looked up before it is sent. What cannot be looked up is
    sent again only with `not_made`: an operator saw that there is nothing at Tradovate.
    """
    without = [step.operation for step in steps if not looked_up(step.operation)]
    if flow.state == "in_doubt" and not not_made and (without or flow.topic == TraderPassed.topic):
        raise NotPossible(Obstacle.NOT_SEEN)
    unproven = [step.operation for step in steps if flow.state == "in_doubt" and not not_made]
    for step in steps:
        planner.close(step.id, StepState.REFUSED)
    flow.asked_at = planner.now
    planner.take_order(flow, reopen=True)
    planner.take_turn(flow)
    if not_made:
        flow.facts = changed(flow.facts, not_made=True)
    flow.state, flow.error_code, flow.error_text = "open", None, None
    flow.round += 1
    planner.plan(flow, look_first=looked_up)
    if unproven:
        flow.facts = changed(flow.facts, unproven=tuple(unproven))


def conclude(planner: Planner, flow: FlowRow, steps: Sequence[OpenStep], past: PastOutcome) -> bool:
    """Ends an open flow as it had ended before its ledger was restored from a backup, by the outcome that was published
    then: what it was about to send has been sent. False if the outcome is of an earlier round: an operator has started
    the flow again since.
    """
    outcome, ended_in = past.outcome, past.round_from(flow.round)
    if ended_in is None:
        return False
    for step in steps:
        planner.close(step.id, StepState.REFUSED)
    flow.round = ended_in
    flow.attempts = max(flow.attempts, outcome.attempts)
    planner.learn(flow, flow.facts.with_ids_of(past.facts))
    planner.views.introduce(flow)
    planner.end(flow, End(outcome.status, outcome.error_code, outcome.error_text))
    return True


def take_up(planner: Planner, flow: FlowRow, steps: Sequence[OpenStep], past: PastOutcome) -> bool:
    """Continues an open flow with the subaccount request of its `pending` outcome, if it knows none: money is not asked
    for a second time. False if there is nothing to learn: it knows one, or the outcome is of an earlier round.
    """
    if flow.facts.request_id is not None or not isinstance(flow.facts, PassedFacts):
        return False
    if past.round_from(flow.round) is None:
        return False
    for step in steps:
        planner.close(step.id, StepState.REFUSED)
    facts = flow.facts.with_ids_of(past.facts)
    planner.learn(flow, changed(facts, requested_at=past.outcome.occurred_at))
    planner.plan(flow)
    return True


def _end(planner: Planner, flow: FlowRow, end: End) -> None:
    flow.round += 1
    planner.views.introduce(flow)
    planner.end(flow, end)
