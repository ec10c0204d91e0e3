"""What flows learn is written as JSON and read back as it was; what is not of its type is an error with a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic.alias_generators import to_camel

from schemas.outcomes import FACTS
from tests.unit.test_flow_diagrams import drawn
from worker.engine.facts import Facts, FactsUnreadable, changed, facts_of, stored_facts
from worker.engine.flows import FLOWS
from worker.engine.flows.failed_facts import State
from worker.engine.flows.risk import LimitsRead

TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds
KINDS = sorted({flow.facts for flow in FLOWS.values()}, key=lambda kind: kind.__name__)

st.register_type_strategy(datetime, TIMES)
st.register_type_strategy(Mapping, lambda kind: st.dictionaries(*map(st.from_type, get_args(kind)), max_size=2))
st.register_type_strategy(int, st.integers(-(2**63), 2**63 - 1))
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
st.register_type_strategy(
    LimitsRead, st.builds(LimitsRead, TIMES, st.dictionaries(st.text(), st.booleans() | st.integers(-9, 9)))
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_facts_survive_storage(kind: type[Facts], data: st.DataObject) -> None:
    """Facts that are written, stored as JSON and read are the same values, whatever the flow has learned."""
    facts = data.draw(st.from_type(kind))
    stored = orjson.loads(orjson.dumps(stored_facts(facts)))
    assert facts_of(kind, stored, "x") == facts


@pytest.mark.parametrize("topic", list(FLOWS))
@pytest.mark.parametrize(
    ("stored", "fault"),
    [
        ({"userid": 5}, "userid (unexpected_keyword_argument)"),
        ({"userId": "5"}, "userId (int_type)"),
    ],
)
def test_facts_of_another_form_name_their_flow(topic: str, stored: dict[str, Any], fault: str) -> None:
    """A field that is unknown or of another type is an error with the flow and the field, and without the value."""
    with pytest.raises(FactsUnreadable) as raised:
        facts_of(FLOWS[topic].facts, stored, f"flow 7 ({topic})")
    assert raised.value.sentence == f"The ledger's facts of flow 7 ({topic}) cannot be read: {fault}."


def test_a_missing_field_names_its_flow() -> None:
    """A wait without its times is not taken for one that has none."""
    with pytest.raises(FactsUnreadable, match=r"flow 7.*notYet\.until \(missing\)"):
        facts_of(
            FLOWS["md.signed"].facts, {"notYet": {"tries": 1, "spent": 0.0, "since": "2026-11-20T12:00:00Z"}}, "flow 7"
        )


def test_nothing_is_stored_of_a_flow_that_has_learned_nothing() -> None:
    """Most flows are short: what is as at the start takes no room in the ledger."""
    assert [stored_facts(kind()) for kind in KINDS] == [{}] * len(KINDS)


def test_every_fact_of_an_outcome_is_learned_under_its_name() -> None:
    """What an outcome says that flows learn, and what an operator may set, is a field of every flow's facts."""
    assert {to_camel(each.name) for each in fields(Facts)} >= set(FACTS)


def test_a_change_leaves_the_facts_that_others_hold_as_they_were() -> None:
    """Facts are values: a transaction that is run again starts with those that it began with."""
    facts = FLOWS["md.signed"].facts(user_id=5)
    assert (changed(facts, user_id=6).user_id, facts.user_id) == (6, 5)
    with pytest.raises(AttributeError):
        facts.user_id = 7  # type: ignore[misc]


def test_every_state_is_drawn() -> None:
    """The diagram shows every state by its name, and no other one but the ends and the moment of planning."""
    states = {state for move in drawn("trader.failed") for state in move}
    assert states == {*State, "[*]", "planning", "succeeded", "failed", "in_doubt"}
