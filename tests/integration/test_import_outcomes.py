"""`import --from-outcomes`: a ledger that was lost, out of the outcome topics."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.outcomes import Outcome
from tests.support.events import purchase
from tests.support.firm import Firm, application
from tests.support.running_firm import in_this_process
from tests.support.spine import Stages
from tests.support.waiting import eventually
from worker.engine.rebuilt import PastOutcome
from worker.ledger.crypto import Vault
from worker.ledger.database import Database
from worker.ledger.invariants import violations
from worker.ledger.rebuilding import Rebuilds

GIVES = (
    "/user/createEvaluationUsers",
    "/user/createEvaluationAccounts",
    "/user/createTradingPermission",
    "/user/revokeTradingPermissions",
    "/user/cancelEverything",
    "/userPlugin/addEntitlementSubscription",
    "/customerApplication/createPartnerSubaccountRequest",
    "/account/resetDemoAccountState",
)


def _done(firm: Firm) -> dict[str, int]:
    return {path: firm.stage.count(path) for path in GIVES}


async def test_a_lost_ledger_is_rebuilt_and_nothing_is_done_twice(
    real_stage: Stages, ledgers: Callable[[], str]
) -> None:
    """After the rebuild all topics are read again from their start: no event is executed a second time, what was under
    way goes on, new events find orders, users, departures and requests, and running it again changes nothing.
    """
    firm = Firm(await real_stage())
    at = firm.stage
    first = await at.replica()
    await at.buy(*(purchase(number) for number in range(4)))
    bought = await at.all_ended()
    await firm.outcome("trader.failed", traderId="cust-1", orderId="100001")
    await firm.outcome("trader.left", traderId="cust-2", immediate=True)
    firm.sign(bought[0]["userId"])
    await firm.outcome("md.signed", userId=bought[0]["userId"], entitlementId=31)
    await firm.outcome("account.reset", orderId="100003", tradeDate="2026-11-20")
    refused = await firm.outcome("account.reset", accountId=4_242, tradeDate="2026-11-20")
    assert refused["status"] == "failed"
    passing = await firm.send("trader.passed", traderId="cust-3", orderId="100003", application=application())
    waiting = await firm.outcome_with(passing, "pending")
    await first.stop()
    done, finals = _done(firm), len(at.wire.outcomes)

    lost = at.database_url
    at.env["DATABASE_URL"] = at.database_url = await asyncio.to_thread(ledgers)
    dry = await in_this_process(at.env, "import", "--from-outcomes", "--dry-run")
    assert (dry.code, dry.stdout.endswith("nothing was written.\n")) == (0, True), dry.stderr
    assert not await at.rows("select from flow")
    for new in (9, 0):
        run = await in_this_process(at.env, "import", "--from-outcomes")
        assert run.code == 0, run.stderr
        assert run.stdout == f"Read {finals} outcomes; {new} events were new to the ledger.\n"
        assert run.stderr == f"trader.passed {passing} has no final outcome: read its topic again to continue it.\n"

    columns = "topic, event_id, trader_id, user_id, order_id, account_id, state, error_code, attempts"
    wanted = f"select {columns} from flow where state <> 'open' order by topic, event_id"  # noqa: S608
    rebuilt = await at.rows(wanted)
    at.database_url, new_url = lost, at.database_url
    assert rebuilt == await at.rows(wanted)
    at.database_url = new_url
    database = Database(new_url, size=1)
    assert not await violations(database)
    await database.close()

    again = await at.replica(KAFKA_GROUP_ID=f"{at.env['KAFKA_GROUP_ID']}again")
    review = "select from flow where event_id = $1 and facts ->> 'requestId' = $2 and state = 'open'"
    await eventually(lambda: at.rows(review, passing, str(waiting["requestId"])))
    await at.buy(purchase(10, trader=0, orderId="100000"), purchase(11, trader=9, orderId="100001"))
    same, conflict = (await at.all_ended())[-2:]
    ids = ("userId", "accountId", "accountName", "tradingPermissionId")
    assert {name: same[name] for name in ids} == {name: bought[0][name] for name in ids}
    assert conflict["errorCode"] == "conflict"
    assert _done(firm) == done
    await again.stop()


async def test_permissions_on_live_and_departures_that_failed_are_rebuilt(ledger_url: str) -> None:
    """Each topic by itself, as they are read; a departure that was withdrawn later is deleted again."""
    database = Database(ledger_url, size=1)
    rebuilds = Rebuilds(database, Vault(["a key of the tests that is long enough"]), "a test")
    leaving, assigning, passing = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    began = datetime(2026, 11, 20, tzinfo=UTC)

    async def write(number: int, topic: str, flow: uuid.UUID, **changes: Any) -> None:
        outcome = Outcome.model_validate(
            {
                "outcomeId": f"o{number}", "eventId": f"e-{topic}", "topic": topic, "flowId": str(flow),
                "status": "succeeded", "traderId": "t", "userId": 7,
                "occurredAt": (began + timedelta(seconds=number)).isoformat(), **changes,
            }
        )  # fmt: skip
        await rebuilds.write([PastOutcome(outcome, flow, None, b"{}")])

    async def rows(query: str) -> list[tuple[Any, ...]]:
        async with database.connection() as connection:
            return [tuple(row) for row in await connection.fetch(query)]

    departures = "select trader_key, begun_at is not null, ended from departure order by 1"
    await write(1, "trader.left", leaving, status="failed", errorCode="gave_up", errorText="DEMO: away. LIVE is done.")
    assert await rows(departures) == [("t:t", True, True), ("u:7", True, True)]
    await write(2, "trader.left", leaving, status="failed", errorCode="cancelled", errorText="a reason")
    assert await rows(departures) == []
    await write(3, "trader.passed", passing, orderId="1", accountId=900, requestId=3)
    await write(4, "account.assigned", assigning, accountId=900, tradingPermissionId=55)
    assert await rows("select permission_id, account_id, user_id from live_permission") == [(55, 900, 7)]
    assert await rows("select facts ->> 'domain' from flow where topic = 'account.assigned'") == [("LIVE",)]
    await database.close()
