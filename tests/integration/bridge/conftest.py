"""Stages for one bridge in the process of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.bridges import BridgeStage
from worker.embedded import EmbeddedKafka, EmbeddedPostgres
from worker.sandbox import SandboxConfig


@pytest.fixture
async def stage(embedded_kafka: EmbeddedKafka, ledger_url: str) -> AsyncIterator[BridgeStage]:
    """A stage with a partner of the usual kind, whose lock-outs are short."""
    config = SandboxConfig(lockout_seconds=2)
    stage = await BridgeStage(embedded_kafka.bootstrap_servers, ledger_url, config, embedded_kafka).up()
    yield stage
    await stage.down()


@pytest.fixture
async def fragile_stage(embedded_kafka: EmbeddedKafka, own_postgres: EmbeddedPostgres) -> AsyncIterator[BridgeStage]:
    """A stage whose ledger the test may take down or change."""
    url = own_postgres.create_database("ledger", "migrated")
    stage = await BridgeStage(embedded_kafka.bootstrap_servers, url, embedded=embedded_kafka).up()
    yield stage
    await stage.down()
