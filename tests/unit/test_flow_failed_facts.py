"""What `trader.failed` remembers survives storage, and its states are those of the diagram."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from schemas.outcomes import ErrorCode
from tests.unit.test_flow_diagrams import drawn
from worker.engine.flows.failed_facts import (
    FailedMemory,
    FoundPermission,
    LookedUp,
    LookingUp,
    Revoking,
    State,
    Trouble,
)

IDS = st.integers(1, 9)
MANY = st.lists(IDS, unique=True, max_size=3).map(tuple)
TROUBLES = st.builds(Trouble, st.sampled_from(ErrorCode), st.text(max_size=5))
FOUND = st.builds(FoundPermission, IDS, st.none() | IDS, st.none() | IDS, st.none() | st.text(max_size=5))
SITUATIONS = st.none() | st.one_of(
    st.builds(LookingUp, MANY, MANY, st.none() | st.text(max_size=5)),
    st.builds(
        Revoking, st.sampled_from([State.REVOKING, State.REVOKING_SINGLY, State.REVOKING_LAST]), MANY, st.booleans()
    ),
)
MEMORIES = st.builds(
    FailedMemory,
    account_id=st.none() | IDS,
    account_name=st.none() | st.text(max_size=5),
    revoked=MANY,
    failed_together=MANY,
    failed_singly=MANY,
    refused=st.dictionaries(IDS, TROUBLES, max_size=3),
    found=st.lists(FOUND, max_size=3).map(lambda rows: {row.permission_id: row for row in rows}),
    looked_up=st.builds(LookedUp, MANY, MANY, st.booleans(), MANY, MANY, st.none() | TROUBLES),
)


@given(MEMORIES, SITUATIONS)
def test_what_is_remembered_survives_storage(memory: FailedMemory, situation: LookingUp | Revoking | None) -> None:
    """Facts that are written, stored as JSON and read are the same values."""
    stored: dict[str, Any] = orjson.loads(orjson.dumps(memory.facts(situation)))
    assert FailedMemory.of(stored) == replace(memory, situation=situation)


def test_every_state_is_drawn() -> None:
    """The diagram shows every state by its name, and no other one but the ends and the moment of planning."""
    states = {state for move in drawn("trader.failed") for state in move}
    assert states == {*State, "[*]", "planning", "succeeded", "failed", "in_doubt"}
