"""`topics`: the Kafka topics that the worker uses."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from worker.cli._app import example, group
from worker.cli._output import print_json, table
from worker.kafka.admin import TopicState, ensure_topics, list_topics, retentions
from worker.kafka.errors import ANSWER_SECONDS, Access, TopicsForbidden, kafka_errors
from worker.kafka.topics import ALL_TOPICS
from worker.settings import KafkaSettings, load

app = group(
    "The Kafka topics that the worker uses: make those that are missing, or see them.", "tradovate-worker topics create"
)

_CREATE_SECONDS = 30.0
"""All topics with replicas are made within a second or two; a loaded cluster has been seen to take ten."""

_HOUR_MS = 3_600_000


@app.command(
    epilog=example("tradovate-worker topics create", "KAFKA_TOPIC_REPLICATION=3 tradovate-worker topics create")
)
def create() -> int:
    """Make the topics that are missing.

    For each input topic the topic itself, its outcome and its dead letters; admin.alert and account.risk_status. With
    KAFKA_TOPIC_PARTITIONS, KAFKA_TOPIC_REPLICATION and the retention of KAFKA_TOPIC_RETENTION_HOURS and
    KAFKA_DLQ_RETENTION_HOURS. Topics that exist are left as they are.
    """
    made = asyncio.run(_create(load(KafkaSettings)))
    for topic in made:
        print(f"Created {topic}")
    print(f"All {len(ALL_TOPICS)} topics exist, {len(made)} of them new.")
    return 0


@app.command("list", epilog=example("tradovate-worker topics list", "tradovate-worker topics list --json"))
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False) -> int:
    """Show the topics and what the broker has of each; exit 1 if the Kafka user may not see one."""
    states, kept = asyncio.run(_list(load(KafkaSettings)))
    if as_json:
        print_json([_as_json(state, kept.get(state.name)) for state in states])
    else:
        rows = [
            (state.topic, state.partitions, state.replication, retention(kept.get(state.name)), "yes")
            if state.exists
            else (state.topic, "-", "-", "-", "hidden" if state.hidden else "no")
            for state in states
        ]
        table(("topic", "partitions", "replication", "retention", "exists"), rows, empty="There are no topics.")
    if hidden := [state.topic for state in states if state.hidden]:
        raise TopicsForbidden(Access.DESCRIBE, hidden)
    return 0


def retention(milliseconds: int | None) -> str:
    """How long a topic keeps records: hours, `for ever`, or `unknown` when the broker does not say."""
    if milliseconds is None:
        return "unknown"
    if milliseconds < 0:
        return "for ever"
    hours, rest = divmod(milliseconds, _HOUR_MS)
    return f"{milliseconds} ms" if rest else f"{hours} h"


def _as_json(state: TopicState, kept: int | None) -> dict[str, Any]:
    return {
        "topic": state.topic,
        "exists": None if state.hidden else state.exists,
        "hidden": state.hidden,
        "partitions": state.partitions,
        "replication": state.replication,
        "retentionMs": kept,
    }


async def _create(settings: KafkaSettings) -> list[str]:
    with kafka_errors(settings):
        async with asyncio.timeout(_CREATE_SECONDS):
            return await ensure_topics(settings)


async def _list(settings: KafkaSettings) -> tuple[list[TopicState], Mapping[str, int]]:
    with kafka_errors(settings):
        async with asyncio.timeout(ANSWER_SECONDS):
            states = await list_topics(settings)
            return states, await retentions(settings, [state.name for state in states if state.exists])
