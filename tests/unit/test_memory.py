"""What a step remembers comes back out of the ledger as it was."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from worker.engine.memory import (
    EMPTY,
    BatchFailures,
    CheckingNeeds,
    FoundBefore,
    Memory,
    Retrying,
    Splitting,
    TicketPlace,
    Verifying,
)

COUNT = st.integers(0, 1_000)
FAILURES = st.builds(
    BatchFailures, COUNT, COUNT, COUNT, st.none() | COUNT, COUNT, COUNT, st.none() | COUNT, st.booleans()
)
MEMORIES = st.builds(
    Memory,
    st.builds(Retrying, COUNT, COUNT, COUNT),
    st.none() | FAILURES,
    st.none() | st.builds(Verifying, st.text()) | st.builds(Splitting, COUNT) | st.just(CheckingNeeds()),
    st.none() | st.builds(TicketPlace, COUNT),
    st.none() | st.builds(FoundBefore, st.lists(COUNT).map(tuple)),
    st.booleans(),
)


@given(MEMORIES)
def test_a_memory_is_read_as_it_was_written(memory: Memory) -> None:
    """Through JSON and back, whatever the situation of the step."""
    assert Memory.from_json(json.loads(json.dumps(memory.to_json()))) == memory


def test_a_new_step_remembers_nothing() -> None:
    """It is an empty object, and needs no reading."""
    assert EMPTY.to_json() == {}
    assert Memory.from_json({}) is EMPTY
