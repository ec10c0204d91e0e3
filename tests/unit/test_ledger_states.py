"""The states of a step: enum, table of moves and diagram are one."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import worker.ledger
from schemas.events import AccountAssigned
from worker.engine.flows.assigned import AssignedFacts
from worker.engine.memory import EMPTY
from worker.engine.rows import Claimed, FlowRow, Later
from worker.engine.states import MOVES, StepState
from worker.engine.steps.written import moved_step

README = Path(worker.ledger.__file__).parent / "README.md"
MIGRATION = Path(worker.ledger.__file__).parent / "migrations" / "versions" / "0001_spine.py"


def test_the_diagram_shows_exactly_the_allowed_moves() -> None:
    """The diagram shows every move that a step may make, and no other."""
    drawn = {(left, right) for left, right in re.findall(r"^    (\w+) --> (\w+):", README.read_text(), re.MULTILINE)}
    allowed = {(left.value, right.value) for left, rights in MOVES.items() for right in rights}
    assert drawn == allowed


def test_every_state_has_its_moves() -> None:
    """No state is forgotten in the table of moves."""
    assert set(MOVES) == set(StepState)


def test_the_database_knows_the_same_states() -> None:
    """The check on the step table and the program's states are the same."""
    listed = re.search(r"state\s+text not null check \(state in \(('waiting'[^)]*)\)", MIGRATION.read_text())
    assert listed is not None
    assert set(re.findall(r"'(\w+)'", listed.group(1))) == {state.value for state in StepState}


def test_nothing_leaves_an_end() -> None:
    """What is done or refused stays so."""
    assert not MOVES[StepState.DONE]
    assert not MOVES[StepState.REFUSED]


def test_unknown_is_never_sent_before_it_is_looked_up() -> None:
    """No unknown step goes straight into flight: a look-up or an operator comes first."""
    assert StepState.IN_FLIGHT not in MOVES[StepState.UNKNOWN]


@pytest.mark.parametrize("before", StepState)
@pytest.mark.parametrize("after", [StepState.DUE, StepState.UNKNOWN, StepState.IN_FLIGHT])
def test_no_step_is_written_after_a_move_that_is_not_allowed(before: StepState, after: StepState) -> None:
    """What the table does not allow raises before it reaches the ledger, and its transaction is rolled back."""
    at = datetime(2026, 11, 20, tzinfo=UTC)
    event = AccountAssigned.model_validate({"accountId": 1, "userId": 2})
    flow = FlowRow(
        uuid.uuid4(), "account.assigned", event, "e", None, 0, 0, None, None, 2, None, 1, at, at, AssignedFacts()
    )
    step = Claimed(1, "createTradingPermission", before, 1, 0.0, EMPTY, None, flow)
    later = Later(after, timedelta(0), 0.0, EMPTY)
    if after in MOVES[before]:
        assert moved_step(step, later, at, None).state is after
    else:
        with pytest.raises(ValueError, match="cannot move"):
            moved_step(step, later, at, None)
