"""A database that refuses the bridge: it waits, health names the reason, and no signature is lost or doubled."""

from __future__ import annotations

import asyncpg
import pytest

from tests.support.bridges import BridgeStage
from tests.support.waiting import eventually
from worker.embedded import EmbeddedPostgres

pytestmark = pytest.mark.timeout(120)

ROLE = "bridge_user"

REFUSALS = {
    "no login": (f"alter role {ROLE} nologin", f"alter role {ROLE} login", "PostgreSQL refuses the user"),
    "no connections": (
        "alter database ledger allow_connections false",
        "alter database ledger allow_connections true",
        "does not accept connections",
    ),
    "no privilege": (
        f"revoke all on leader, signal from {ROLE}",
        f"grant all on leader, signal to {ROLE}",
        "lacks a privilege",
    ),
    "read-only": (
        f"alter role {ROLE} set default_transaction_read_only = on",
        f"alter role {ROLE} reset default_transaction_read_only",
        "read-only",
    ),
    "no such table": ("alter table leader rename to other", "alter table other rename to leader", "schema"),
}


@pytest.fixture
async def stage(fragile_stage: BridgeStage) -> BridgeStage:
    """A stage whose bridges sign in with a role of their own."""
    stage = fragile_stage
    await stage.rows(f"create role {ROLE} login")
    for what in ("all tables", "all sequences"):
        await stage.rows(f"grant all on {what} in schema public to {ROLE}")
    stage.env["DATABASE_URL"] = stage.database_url.replace("postgres@", f"{ROLE}@", 1)
    return stage


async def as_admin(own_postgres: EmbeddedPostgres, stage: BridgeStage, statement: str) -> None:
    """Runs a statement, and ends the connections of the bridges, which keep what they were allowed before."""
    other = "ledger" in statement
    url = own_postgres.create_database("elsewhere") if other else stage.database_url
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", ROLE)
    await connection.close()
    if other:
        own_postgres.drop_database("elsewhere")


@pytest.mark.parametrize("how", REFUSALS)
async def test_a_database_that_refuses_the_bridge_is_waited_for(
    stage: BridgeStage, own_postgres: EmbeddedPostgres, how: str
) -> None:
    """The process goes on, readiness says why within seconds, and it works again by itself when it may."""
    refuse, allow, reason = REFUSALS[how]
    bridge = await stage.leader()
    before = stage.sign(*stage.users(2))
    await stage.bridged(before)
    await as_admin(own_postgres, stage, refuse)
    during = stage.sign(*stage.users(2))

    async def says_why() -> bool:
        said = str((await bridge.health()).get("checks", {}))
        assert reason in said, said
        return True

    await eventually(says_why, 20)
    await eventually(lambda: any(reason in str(line) for line in bridge.logged("bridge.ledger_away")), 20)
    said = len(bridge.logged("bridge.ledger_away"))
    assert bridge.returncode is None
    await as_admin(own_postgres, stage, allow)
    await stage.bridged(during, 30)
    await eventually(bridge.is_leader, 30)
    assert set(stage.times().values()) == {1}
    assert said <= 4  # one for each reason and change of the lead, not one for each try
