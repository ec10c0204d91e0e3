"""Fixtures for tests of the whole spine; a folder's conftest.py takes what it needs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import pytest

from tests.support.kafka import Broker, KafkaServer, why_no_java
from tests.support.stage import Stage
from worker.embedded import EmbeddedKafka, EmbeddedPostgres
from worker.sandbox import SandboxConfig

__all__ = ["Stages", "fragile_stage", "real_stage", "restartable_stage", "stage", "stages_on"]


class Stages(Protocol):
    """Sets a stage: what the partner is like, and settings that differ from the fast ones. A test may set several."""

    async def __call__(self, config: SandboxConfig | None = None, /, **settings: str) -> Stage: ...


@pytest.fixture
async def stage(request: pytest.FixtureRequest, ledgers: Callable[[], str]) -> AsyncIterator[Stages]:
    """For what happens behind Kafka: on a real broker, or where there is none on the embedded one, which takes three
    seconds to let a member in and has room for one in a group.
    """
    if "KAFKA_BOOTSTRAP_SERVERS" in os.environ or not why_no_java():
        real: Broker = request.getfixturevalue("kafka")
        stages = stages_on(real.bootstrap_servers, ledgers, KAFKA_TOPIC_PARTITIONS="1")
    else:
        embedded: EmbeddedKafka = request.getfixturevalue("embedded_kafka")
        stages = stages_on(embedded.bootstrap_servers, ledgers, embedded)
    async for made in stages:
        yield made


@pytest.fixture
async def real_stage(kafka: Broker, ledgers: Callable[[], str]) -> AsyncIterator[Stages]:
    """On the real broker."""
    async for stages in stages_on(kafka.bootstrap_servers, ledgers):
        yield stages


@pytest.fixture
async def restartable_stage(own_kafka: KafkaServer, ledgers: Callable[[], str]) -> AsyncIterator[Stages]:
    """On a real broker that the test may take down."""
    async for stages in stages_on(own_kafka.bootstrap_servers, ledgers):
        yield stages


@pytest.fixture
async def fragile_stage(kafka: Broker, own_postgres: EmbeddedPostgres) -> AsyncIterator[Stages]:
    """On the real broker, with a ledger that the test may take down."""

    def ledger() -> str:
        return own_postgres.create_database("ledger", "migrated")

    async for stages in stages_on(kafka.bootstrap_servers, ledger):
        yield stages


async def stages_on(
    servers: str, ledgers: Callable[[], str], embedded: EmbeddedKafka | None = None, **common: str
) -> AsyncIterator[Stages]:
    made: list[Stage] = []

    async def make(config: SandboxConfig | None = None, /, **settings: str) -> Stage:
        url = await asyncio.to_thread(ledgers)
        stage = Stage(servers, url, config or SandboxConfig(), {**common, **settings}, embedded)
        made.append(stage)
        return await stage.up()

    yield make
    await asyncio.gather(*(stage.down() for stage in made))
