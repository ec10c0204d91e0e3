"""The topics' names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.kafka.topics import ALL_TOPICS, INPUT_TOPICS, TopicNames, dead_letter_topic, outcome_topic


def test_every_input_has_its_outcomes_and_dead_letters() -> None:
    """The topics of the program are the inputs, each with two of its own, and the two of the bridge."""
    theirs = {name for topic in INPUT_TOPICS for name in (topic, outcome_topic(topic), dead_letter_topic(topic))}
    assert len(theirs) == 3 * len(INPUT_TOPICS)
    assert len(ALL_TOPICS) == len(set(ALL_TOPICS)) == len(theirs) + 2
    assert theirs < set(ALL_TOPICS)
    assert outcome_topic("trader.purchased") == "trader.purchased.outcome"
    assert dead_letter_topic("trader.purchased") == "trader.purchased.dlq"


@given(st.from_regex(r"[A-Za-z0-9._-]{0,100}", fullmatch=True), st.sampled_from(ALL_TOPICS))
def test_a_prefix_is_put_on_and_taken_off(prefix: str, topic: str) -> None:
    """A topic's name without the prefix is the one it had before the prefix was put on."""
    names = TopicNames(prefix)
    assert names.bare(names.on_broker(topic)) == topic
    assert names.on_broker(topic) == prefix + topic
