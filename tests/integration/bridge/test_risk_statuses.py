"""`account.risk_status` from the DEMO socket to Kafka: each change once, whatever is away, and signatures first."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from tests.support.bridges import BridgeStage
from tests.support.waiting import eventually
from worker.bridge.bridge import Bridge
from worker.bridge.bridge_health import BridgeHealth
from worker.bridge.risk_intake import RiskIntake
from worker.bridge.risk_recorder import RiskRecorder
from worker.embedded import EmbeddedPostgres
from worker.ledger import leader, risk_statuses
from worker.ledger.database import Database

TOPIC = "account.risk_status"


@pytest.fixture
def risky(stage: BridgeStage) -> BridgeStage:
    """A stage whose bridges publish risk statuses."""
    stage.env["BRIDGE_RISK_STATUS"] = "on"
    return stage


async def known(stage: BridgeStage, number: int) -> None:
    """Waits until the ledger knows the status of so many accounts."""

    async def there() -> bool:
        return [row["known"] for row in await stage.rows("select count(*) as known from risk_status")] == [number]

    await eventually(there)


async def published(stage: BridgeStage, number: int) -> list[dict[str, Any]]:
    """Waits for so many changes on the topic that the ledger has none left of."""

    async def all_there() -> bool:
        assert len(stage.published(TOPIC)) <= number, stage.published(TOPIC)
        left = await stage.rows("select 1 from risk_change")
        return len(stage.published(TOPIC)) == number and not left

    await eventually(all_there)
    return stage.published(TOPIC)


async def stopped(stage: BridgeStage, bridge: Bridge) -> None:
    """Stops a bridge in good order."""
    task = next(task for other, task in stage.here if other is bridge)
    bridge.stopping.set()
    await task


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"risk_entity": "list", "risk_empty": "null", "props_shape": "array", "sync_messages": 1},
        {"risk_entity": "wrapped", "props_shape": "object", "sync_messages": 7, "sync_shuffled": True},
    ],
)
async def test_each_change_is_published_once_in_every_dialect(risky: BridgeStage, switches: dict[str, Any]) -> None:
    """The key is the account; ticks and the starting point publish nothing; what the trader did is said."""
    risky.switch(**switches)
    first, second, third = risky.accounts(3)
    risky.risk("auto_liq", first)
    bridge = await risky.bridge()
    await known(risky, 6)  # with the template accounts
    risky.risk("tick", first, second, third)
    risky.risk("auto_liq", first)
    risky.risk("trader_liq_only", second)
    risky.risk("unlock", second)
    bodies = await published(risky, 3)
    said = [(each["accountId"], each["userTriggered"], each["now"]["autoLiqCounter"]) for each in bodies]
    assert Counter(said) == {(first, False, 2): 1, (second, True, 0): 1, (second, False, 0): 1}
    ours = [each for each in bodies if each["accountId"] == second]
    assert ours[0]["now"] == ours[1]["before"]
    keys = {record.key for record in risky.records if record.topic.endswith(TOPIC)}
    assert keys == {str(first).encode(), str(second).encode()}
    assert risky.sockets["opened"] == risky.sockets["synced"] == 2
    assert bridge.metrics.risk_bridged._value.get() == 3


async def test_what_changed_while_no_bridge_was_connected_is_published_once(risky: BridgeStage) -> None:
    """The next bridge compares the initial data with what the ledger has; a new account sets its starting point."""
    first, second = risky.accounts(2)
    bridge = await risky.bridge()
    await known(risky, 5)
    await stopped(risky, bridge)
    risky.risk("auto_liq", first)
    risky.risk("tick", second)
    risky.risk("auto_liq", *risky.accounts(1))
    await stopped(risky, await _caught_up(risky, 6))
    risky.drop()
    await _caught_up(risky, 6)
    [body] = await published(risky, 1)
    assert (body["accountId"], body["before"]["autoLiqCounter"], body["now"]["autoLiqCounter"]) == (first, 0, 1)


async def _caught_up(stage: BridgeStage, accounts: int) -> Bridge:
    bridge = await stage.bridge()
    await known(stage, accounts)
    risk = bridge.tasks.risk if bridge.tasks is not None else None
    assert risk is not None
    await eventually(lambda: risk.feed.comes and not len(risk.feed.intake))
    return bridge


@pytest.mark.parametrize("announced", [True, False])
async def test_a_new_account_that_is_liquidated_at_once_is_published(risky: BridgeStage, announced: bool) -> None:
    """Whether Tradovate announces the status of a new account, or is first heard of it when a limit was met."""
    await _caught_up(risky, 3)
    [account] = risky.accounts(1)
    if announced:
        hub, config = risky.partner.sandbox.core.hub, risky.partner.sandbox.config
        status = risky.partner.sandbox.core.world.risk_statuses.rows[account]
        hub.entity(config, "demo", "accountRiskStatus", "Created", status)
    risky.risk("auto_liq", account)
    [body] = await published(risky, 1)
    assert (body["before"].get("autoLiqCounter"), body["now"]["autoLiqCounter"]) == (0 if announced else None, 1)


async def test_without_the_setting_nothing_of_it_is_asked_for(stage: BridgeStage) -> None:
    """The sync request names no risk statuses, the topic is not needed, and health says nothing of it."""
    bridge = await stage.bridge()
    stage.risk("auto_liq", *stage.accounts(1))
    await stage.bridged(stage.sign(*stage.users(1)))
    assert await stage.rows("select 1 from risk_status") == []
    assert bridge.topics.topics == ("md.signed", "admin.alert")
    kinds = [connection.entity_types for connection in stage.partner.sandbox.core.hub.connections.values()]
    assert kinds == [frozenset({"currency"})] * 2


@pytest.mark.parametrize("denied", ["401", "absent"])
async def test_without_the_permission_signatures_continue(risky: BridgeStage, denied: str) -> None:
    """Health names the permission, the session is not doubted, and signatures are published as ever."""
    risky.accounts(1)
    risky.switch(risks_permission="Denied", risk_sync_denied=denied)
    bridge = await risky.bridge()
    await risky.bridged(risky.sign(*risky.users(3)))
    risk = bridge.tasks.risk if bridge.tasks is not None else None
    assert risk is not None
    assert not risk.feed.comes
    renewals = risky.sessions["renewals"], risky.sessions["logins"]
    assert renewals == (0, 1)
    if denied == "401":
        assert "Risks:Read" in str((await _ready(bridge))[TOPIC])
        assert risky.sockets["opened"] == 3
    else:
        await _own_account(risky)
        risk.feed._listens_since = -1e9
        await risk.feed.run_once()
        assert "Risks:Read" in str((await _ready(bridge))[TOPIC])


async def _ready(bridge: Bridge) -> Any:
    return await BridgeHealth(bridge).ready()


async def _own_account(stage: BridgeStage) -> None:
    await stage.rows(
        "insert into business_order (kind, order_id, flow_id, state, details, account_id, asked_at)"
        " values ('purchased', '1', gen_random_uuid(), 'succeeded', '', 1, now())"
    )


async def test_changes_wait_while_the_ledger_is_away(
    fragile_stage: BridgeStage, own_postgres: EmbeddedPostgres
) -> None:
    """Each change that was heard meanwhile is published when it is back, in its order."""
    stage = fragile_stage
    stage.env["BRIDGE_RISK_STATUS"] = "on"
    [account] = stage.accounts(1)
    await stage.bridge()
    await known(stage, 4)
    own_postgres.down()
    for _ in range(3):
        stage.risk("auto_liq", account)
    own_postgres.up()
    bodies = await published(stage, 3)
    assert [each["now"]["autoLiqCounter"] for each in bodies] == [1, 2, 3]


async def test_twenty_thousand_accounts_do_not_disturb_signatures(risky: BridgeStage) -> None:
    """They are published while the ledger takes no status; no connection ends, and none is opened or asked twice."""
    risky.switch(sync_messages=1, idle_seconds=10.0)
    accounts = risky.accounts(20_000)
    connection = await asyncpg.connect(risky.database_url)
    async with connection.transaction():
        await connection.execute("lock table risk_status in access exclusive mode")
        risky.begin()
        await eventually(lambda: risky.sockets["synced"] == 2, 20)
        await risky.bridged(risky.sign(*risky.users(20)), 30)
    await connection.close()
    await known(risky, 20_003)
    risky.drop()
    await eventually(lambda: risky.sockets["synced"] == 4, 20)
    risky.risk("auto_liq", accounts[-1])
    [body] = await published(risky, 1)
    assert body["accountId"] == accounts[-1]
    assert risky.sockets["opened"] == risky.sockets["synced"] == 4


async def test_a_bridge_that_does_not_lead_records_nothing(ledger_url: str) -> None:
    """What it heard before it lost the lead must not come after what the other one has heard since."""
    database = Database(ledger_url)
    intake, lease = RiskIntake(), uuid.uuid4()
    recorder = RiskRecorder(database, intake, lambda: lease)
    intake.received([{"id": 5, "autoLiqCounter": 1}], initial=True)
    await intake.run_once()
    try:
        async with database.connection() as connection:
            await leader.take(connection, "another", uuid.uuid4(), timedelta(seconds=60))
        assert not await recorder.run_once()
        async with database.connection() as connection:
            assert await risk_statuses.known(connection, [5]) == {}
            await connection.execute("update leader set lease = $1", lease)
        assert await recorder.run_once()
        async with database.connection() as connection:
            assert (await risk_statuses.known(connection, [5]))[5][0] == 0
    finally:
        await database.close()
