"""What goes wrong at Kafka while an operator waits for an answer. aiokafka's list of errors is open: here they are
sorted by what an operator can do about them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, StrEnum

from aiokafka import errors

from worker.errors import OperatorError, Unavailable
from worker.settings import KafkaSettings

__all__ = [
    "ANSWER_SECONDS",
    "Access",
    "KafkaCause",
    "KafkaUnavailable",
    "TopicsForbidden",
    "TopicsMissing",
    "kafka_errors",
]

ANSWER_SECONDS = 8.0
"""A broker answers within milliseconds, one that is just being started within seconds; an operator waits for this."""


class KafkaCause(Enum):
    """Why Kafka does not do what was asked of it, with what an operator can do about it."""

    NOT_ALLOWED = "The Kafka user may not do that: grant it by an ACL, or use another KAFKA_SASL_USERNAME."
    TOPIC_MISSING = "The topic is missing: run `tradovate-worker topics create`."
    TOO_LARGE = "The broker takes no record that large: raise the topic's max.message.bytes, or send less."
    TOO_OLD = "The broker cannot do that; a later Apache Kafka can."
    UNREACHABLE = "Kafka cannot be reached: start it, or correct KAFKA_BOOTSTRAP_SERVERS (and KAFKA_SECURITY_PROTOCOL)."
    UNREACHABLE_OR_USER = (
        "Kafka cannot be reached, or refuses the user: look at KAFKA_BOOTSTRAP_SERVERS, KAFKA_SECURITY_PROTOCOL, "
        "KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD."
    )


class TopicsMissing(OperatorError):
    """None of the `topics` (without the prefix) that an operator asked for exists."""

    def __init__(self, topics: Sequence[str]) -> None:
        self.topics = tuple(topics)
        super().__init__(*self.topics)

    @property
    def sentence(self) -> str:
        """For an operator."""
        missing = f"Topic {self.topics[0]} is" if len(self.topics) == 1 else "The topics are"
        return f"{missing} missing: run `tradovate-worker topics create`."


class Access(StrEnum):
    """What a command does with a topic, by the name of the ACL that it needs. READ and WRITE bring DESCRIBE."""

    DESCRIBE = "DESCRIBE"
    READ = "READ"
    WRITE = "WRITE"


class TopicsForbidden(OperatorError):
    """The Kafka user may not have `access` to `topics` (without the prefix). Without DESCRIBE nobody can say whether
    these are there.
    """

    def __init__(self, access: Access, topics: Sequence[str]) -> None:
        self.access = access
        self.topics = tuple(topics)
        super().__init__(access, *self.topics)

    @property
    def sentence(self) -> str:
        """For an operator."""
        verb = {Access.DESCRIBE: "see", Access.READ: "read", Access.WRITE: "write to"}[self.access]
        return (
            f"The Kafka user may not {verb} {', '.join(self.topics)}: grant it the ACL {self.access} there, or use"
            " another user."
        )


class KafkaUnavailable(Unavailable):
    """Kafka does not do what was asked of it. `name`: of the error that aiokafka, or the network, has reported."""

    def __init__(self, cause: KafkaCause, name: str) -> None:
        super().__init__(cause.name, name)
        self.cause = cause
        self.name = name

    @classmethod
    def of(cls, error: BaseException, settings: KafkaSettings | None = None) -> KafkaUnavailable:
        """From an error of aiokafka or of the network. Without `settings` the user may be what is wrong."""
        sasl = settings is None or settings.kafka_security_protocol.sasl
        return cls(_cause(error, sasl=sasl), type(error).__name__)

    @property
    def answered(self) -> bool:
        """Whether a broker was reached and refused."""
        return self.cause not in (KafkaCause.UNREACHABLE, KafkaCause.UNREACHABLE_OR_USER)

    @property
    def sentence(self) -> str:
        """For an operator."""
        return self.cause.value


@contextmanager
def kafka_errors(settings: KafkaSettings) -> Iterator[None]:
    """Errors of aiokafka and of the network become `KafkaUnavailable`."""
    try:
        yield
    except (errors.KafkaError, OSError, TimeoutError) as error:
        raise KafkaUnavailable.of(error, settings) from None


def _cause(error: BaseException, *, sasl: bool) -> KafkaCause:
    match error:
        case (
            errors.TopicAuthorizationFailedError()
            | errors.GroupAuthorizationFailedError()
            | errors.ClusterAuthorizationFailedError()
        ):
            return KafkaCause.NOT_ALLOWED
        case errors.UnknownTopicOrPartitionError():
            return KafkaCause.TOPIC_MISSING
        case errors.MessageSizeTooLargeError() | errors.RecordTooLargeError() | errors.RecordListTooLargeError():
            return KafkaCause.TOO_LARGE
        case errors.UnsupportedVersionError() | errors.IncompatibleBrokerVersion():
            return KafkaCause.TOO_OLD
        case _:
            return KafkaCause.UNREACHABLE_OR_USER if sasl else KafkaCause.UNREACHABLE
