"""The soak itself, made short."""

from __future__ import annotations

import pytest

from tests.soak.soak import CONFIG, soak
from tests.support.bridges import BridgeStage
from worker.embedded import EmbeddedKafka


@pytest.mark.slow
async def test_a_short_soak_finds_every_signature_once(embedded_kafka: EmbeddedKafka, ledger_url: str) -> None:
    """Three hundred signatures in twelve seconds of drops: none is missing, none is there twice."""
    stage = await BridgeStage(embedded_kafka.bootstrap_servers, ledger_url, CONFIG, embedded_kafka).up()
    try:
        report = await soak(stage, signatures=300, seconds=12, seed=1)
    finally:
        await stage.down()
    assert (report.missing, report.doubled) == (0, 0)
    assert report.drops > 0
    assert report.logins == 1
    assert report.fetches <= report.connections
