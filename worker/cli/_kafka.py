"""Kafka as commands use it: asked within seconds, and away in one sentence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka import errors

from worker.cli._errors import CommandRefused
from worker.kafka.admin import NoController, TopicsNotCreated, TopicState, list_topics
from worker.settings import KafkaSettings

ANSWER_SECONDS = 8.0
"""A broker answers within milliseconds, one that is just being started within seconds; an operator waits for this."""


@asynccontextmanager
async def kafka_errors(settings: KafkaSettings) -> AsyncIterator[None]:
    """What an operator can mend about Kafka becomes `CommandRefused`."""
    try:
        yield
    except (errors.KafkaError, OSError, TimeoutError) as error:
        raise CommandRefused(sentence_of(error, settings)) from None
    except NoController:
        raise CommandRefused(
            "No broker of this Kafka is its controller, and only a controller creates topics: run it again when one is"
            " elected, or create the topics with the tools of that broker."
        ) from None
    except TopicsNotCreated as error:
        raise CommandRefused(
            f"The broker did not make all topics: {_reasons(error)}; mend that and run it again."
        ) from None


def sentence_of(error: BaseException, settings: KafkaSettings) -> str:
    """The mend for an error of aiokafka's."""
    match error:
        case (
            errors.TopicAuthorizationFailedError()
            | errors.GroupAuthorizationFailedError()
            | errors.ClusterAuthorizationFailedError()
        ):
            return "The Kafka user may not do that: grant it by an ACL, or use another KAFKA_SASL_USERNAME."
        case errors.UnknownTopicOrPartitionError():
            return "The topic is missing: run `tradovate-worker topics create`."
        case errors.MessageSizeTooLargeError() | errors.RecordTooLargeError():
            return "The broker takes no record that large: raise the topic's max.message.bytes, or send less."
        case errors.UnsupportedVersionError() | errors.IncompatibleBrokerVersion():
            return "The broker cannot do that; a later Apache Kafka can."
        case _:
            pass
    if settings.kafka_security_protocol.sasl:
        return (
            "Kafka cannot be reached, or refuses the user: look at KAFKA_BOOTSTRAP_SERVERS, KAFKA_SECURITY_PROTOCOL, "
            "KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD."
        )
    return "Kafka cannot be reached: start it, or mend KAFKA_BOOTSTRAP_SERVERS (and KAFKA_SECURITY_PROTOCOL)."


def _reasons(error: TopicsNotCreated) -> str:
    """The broker's words; said once when they are the same for all."""
    reasons = {topic: reason.rstrip(".") for topic, reason in error.reasons.items()}
    if len(reasons) > 1 and len(set(reasons.values())) == 1:
        return f"{next(iter(reasons.values()))} (for all of {len(reasons)} topics)"
    return "; ".join(f"{topic}: {reason}" for topic, reason in reasons.items())


async def present(settings: KafkaSettings, topics: Sequence[str]) -> list[TopicState]:
    """Those of `topics` that exist. Raises `CommandRefused` when there is none, and what `kafka_errors` takes."""
    async with asyncio.timeout(ANSWER_SECONDS):
        states = [state for state in await list_topics(settings, topics) if state.exists]
    if not states:
        missing = f"Topic {topics[0]} is" if len(topics) == 1 else "The topics are"
        raise CommandRefused(f"{missing} missing: run `tradovate-worker topics create`.")
    return states
