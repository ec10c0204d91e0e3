"""`doctor`: what it says of a healthy installation, and of a broken one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.acls import Acls
from tests.support.kafka import KafkaServer
from tests.support.processes import worker
from tests.support.spine import Stages
from tests.support.stage import Stage


async def _ask(stage: Stage, **changes: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    process = worker("doctor", "--json", env={**stage.env, **changes})
    try:
        code = await asyncio.to_thread(process.wait, 40)
        assert process.stdout, process.stderr
        return code, {each["check"]: each for each in json.loads(process.stdout)}, process.stdout + process.stderr
    finally:
        process.close()


async def test_a_healthy_house_passes_every_check(real_stage: Stages, tmp_path: Path) -> None:
    """With everything in place nothing fails, and the exit code is 0."""
    stage = await real_stage()
    topics = worker("topics", "create", env=stage.env)
    await asyncio.to_thread(topics.wait, 40)
    topics.close()
    catalogue = tmp_path / "products.toml"
    catalogue.write_text('["EVAL-50K"]\ntemplateAccountId = 11\ninitialBalance = 50000\n')
    code, checks, _ = await _ask(stage, PRODUCTS_FILE=str(catalogue))
    assert code == 0, checks
    assert checks["template of EVAL-50K"]["seen"] == "11 TEMPLATE50K"
    assert checks["risk limits"]["verdict"] == "ok"
    assert {"settings", "database", "database schema", "kafka", "topics", "kafka permissions", "consumer group"} <= set(
        checks
    )
    assert {"tradovate login", "subscription plan", "entitlement", "alert", "budget", "invariants"} <= set(checks)
    assert not [each for each in checks.values() if each["verdict"] in ("failed", "warning")]


async def test_a_rejected_login_is_tried_once_and_never_again(real_stage: Stages) -> None:
    """The first doctor is refused; the second does not try: five wrong tries would cost an hour."""
    stage = await real_stage()
    for _ in range(2):
        code, checks, output = await _ask(stage, TRADOVATE_PASSWORD="not the right password")
        assert code == 1
        assert checks["tradovate login"]["verdict"] == "failed"
        assert "TRADOVATE_PASSWORD" in checks["tradovate login"]["fix"]
        assert "not the right password" not in output
    assert stage.partner.sandbox.control.state()["sessions"]["failed_logins"] == 1


async def test_a_shared_session_is_used_and_said_so(real_stage: Stages) -> None:
    """While a replica's session lives doctor opens none, and says that the password was not tried."""
    stage = await real_stage()
    replica = await stage.replica()
    await replica.replica.session.ensure()
    _, checks, _ = await _ask(stage, TRADOVATE_PASSWORD="wrong, but not tried")
    assert "not tried" in checks["tradovate login"]["seen"]
    assert stage.partner.sandbox.control.state()["sessions"]["logins"] == 1


async def test_each_wrong_thing_is_named_with_its_fix(real_stage: Stages) -> None:
    """A foreign plan, a missing topic and an unknown entitlement are three lines, each with its fix."""
    stage = await real_stage()
    code, checks, _ = await _ask(
        stage,
        TRADOVATE_SUBSCRIPTION_PLAN_ID="302",
        TRADOVATE_TPROP_ENTITLEMENT_ID="424242",
        KAFKA_TOPIC_PREFIX="nobody.",
    )
    assert code == 1
    assert "301" in checks["subscription plan"]["fix"]
    assert "TRADOVATE_TPROP_ENTITLEMENT_ID" in checks["entitlement"]["fix"]
    assert "topics create" in checks["topics"]["fix"]


@pytest.mark.slow
async def test_what_the_acls_do_not_allow_is_named(restartable_stage: Stages, own_kafka: KafkaServer) -> None:
    """Reading inputs, writing outcomes and writing dead letters are three rights: each one that is lacking is named."""
    acls = Acls(own_kafka)
    stage = await restartable_stage()
    prefix = stage.env["KAFKA_TOPIC_PREFIX"]
    acls.all_of(prefix)
    topics = worker("topics", "create", env=stage.env)
    await asyncio.to_thread(topics.wait, 40)
    topics.close()
    _, checks, _ = await _ask(stage, **acls.settings)
    assert checks["kafka permissions"]["verdict"] == "ok"
    for topic, operation in (("md.signed", "READ"), ("md.signed.outcome", "WRITE"), ("trader.left.dlq", "WRITE")):
        acls.deny(prefix + topic, operation)
    code, checks, _ = await _ask(stage, **acls.settings)
    assert code == 1
    lacking = {"READ on md.signed", "WRITE on md.signed.outcome", "WRITE on trader.left.dlq"}
    assert set(checks["kafka permissions"]["seen"].removeprefix("lacking: ").split(", ")) == lacking


async def test_a_file_that_holds_no_certificate_is_one_failed_check(real_stage: Stages, tmp_path: Path) -> None:
    """A TLS file of Kafka's that can be read and is no PEM fails Kafka's check; the others are made all the same."""
    stage = await real_stage()
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    code, checks, output = await _ask(stage, KAFKA_SECURITY_PROTOCOL="SSL", KAFKA_SSL_CA_FILE=str(file))
    assert code == 1
    assert checks["kafka"]["verdict"] == "failed"
    assert "KAFKA_SSL_CA_FILE is wrong" in checks["kafka"]["seen"]
    assert {checks[name]["verdict"] for name in ("database", "tradovate login", "invariants")} == {"ok"}
    assert "Error" not in output
    code, checks, _ = await _ask(stage, TRADOVATE_CA_FILE=str(file))
    assert (code, set(checks)) == (1, {"settings", "database, kafka, tradovate"})
    assert "TRADOVATE_CA_FILE is wrong" in checks["settings"]["seen"]
    _, checks, _ = await _ask(stage, SECRET_KEY="another key of this test that is long enough")
    assert checks["kafka"]["verdict"] == "ok"
    assert "tradovate login" in checks


async def test_doctor_changes_nothing_at_tradovate(real_stage: Stages) -> None:
    """It reads: no user, account, permission or anything else is made."""
    stage = await real_stage()
    before = stage.partner.sandbox.control.state()["effects"]
    await _ask(stage)
    assert stage.partner.sandbox.control.state()["effects"] == before


async def test_a_broken_ledger_is_seen(real_stage: Stages) -> None:
    """A flow that is open without a step is what an invariant forbids, and doctor names it."""
    stage = await real_stage()
    connection = await asyncpg.connect(stage.database_url)
    try:
        await connection.execute(
            'insert into flow (id, topic, event_id, partition, "offset", state, asked_at)'
            " values (gen_random_uuid(), 'trader.purchased', 'e-x', 0, 0, 'open', now())"
        )
    finally:
        await connection.close()
    code, checks, _ = await _ask(stage)
    assert code == 1
    assert checks["invariant one_step"]["verdict"] == "failed"


async def test_everything_away_is_two_lines_and_no_traceback(real_stage: Stages) -> None:
    """Without database and broker each is named with its fix, and the rest is said to be skipped."""
    stage = await real_stage()
    code, checks, output = await _ask(
        stage, DATABASE_URL="postgresql://127.0.0.1:9/none", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:9"
    )
    assert code == 1
    assert "DATABASE_URL" in checks["database"]["fix"]
    assert "KAFKA_BOOTSTRAP_SERVERS" in checks["kafka"]["fix"]
    assert "Traceback" not in output
