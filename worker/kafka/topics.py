"""The topics' names. Everywhere but on the wire they go without the prefix, which is a matter of this module alone."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.bridged import BRIDGED
from schemas.events import TOPICS

__all__ = [
    "ACCOUNT_RISK_STATUS",
    "ADMIN_ALERT",
    "ALL_TOPICS",
    "INPUT_TOPICS",
    "TopicNames",
    "dead_letter_topic",
    "outcome_topic",
]

INPUT_TOPICS = TOPICS
"""The events' topics, in the order of the README's table."""

ADMIN_ALERT = "admin.alert"
"""Where the bridge puts Tradovate's admin alerts that ask nothing of us."""

ACCOUNT_RISK_STATUS = "account.risk_status"
"""Where the bridge puts changes of accounts' risk statuses, with BRIDGE_RISK_STATUS=on."""

_OUTCOME = ".outcome"
_DEAD_LETTER = ".dlq"


def outcome_topic(topic: str) -> str:
    """Where the outcomes of an input topic go."""
    return f"{topic}{_OUTCOME}"


def dead_letter_topic(topic: str) -> str:
    """Where the records of an input topic go that cannot be read."""
    return f"{topic}{_DEAD_LETTER}"


def is_outcome_topic(topic: str) -> bool:
    """Whether a topic holds outcomes."""
    return topic.endswith(_OUTCOME)


def is_dead_letter_topic(topic: str) -> bool:
    """Whether a topic holds dead letters."""
    return topic.endswith(_DEAD_LETTER)


ALL_TOPICS = (
    *(name for topic in INPUT_TOPICS for name in (topic, outcome_topic(topic), dead_letter_topic(topic))),
    *BRIDGED,
)
"""Everything that `topics create` makes."""


@dataclass(frozen=True, slots=True)
class TopicNames:
    """Between the names that people and events use and those on the broker, with `KAFKA_TOPIC_PREFIX` before them."""

    prefix: str = ""

    def on_broker(self, topic: str) -> str:
        """The broker's name of a topic."""
        return self.prefix + topic

    def bare(self, name: str) -> str:
        """The name of a broker's topic without the prefix."""
        return name.removeprefix(self.prefix)
