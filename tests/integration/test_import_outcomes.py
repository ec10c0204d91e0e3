"""`import --from-outcomes`: a ledger that was lost, out of the outcome topics."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.outcomes import ErrorCode, Outcome, Status, outcome_id
from tests.support.events import purchase
from tests.support.firm import Firm, application
from tests.support.running_firm import in_this_process
from tests.support.spine import Stages
from tests.support.waiting import eventually
from tests.support.work import Work
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


@pytest.fixture
async def database(ledger_url: str) -> AsyncIterator[Database]:
    made = Database(ledger_url, size=1)
    yield made
    await made.close()


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


async def test_what_a_backup_has_under_way_ends_as_its_outcome_says(database: Database) -> None:
    """A ledger that was restored would send again what has been sent: the open flow gets the ids of its outcome, which
    keeps its id, and nothing is left to be sent.
    """
    work = Work(database)
    await work.accept("trader.purchased", [purchase(0)])
    await work.accept("trader.left", [{"eventId": "left", "userId": 8, "immediate": True}])
    async with database.connection() as connection:
        flows = {row["topic"]: row["id"] for row in await connection.fetch("select topic, id from flow")}
        bought = Outcome.model_validate(
            {
                "outcomeId": outcome_id("trader.purchased", "e-0", Status.SUCCEEDED, None, None, 0), "eventId": "e-0",
                "topic": "trader.purchased", "flowId": str(flows["trader.purchased"]), "status": "succeeded",
                "traderId": "cust-0", "orderId": "100000", "userId": 7, "accountId": 70, "accountName": "EVAL100000",
                "tradingPermissionId": 700, "occurredAt": datetime.now(UTC).isoformat(),
            }
        )  # fmt: skip
        gone = bought.model_copy(
            update={
                "outcome_id": outcome_id("trader.left", "left", Status.FAILED, "gave_up", None, 0), "event_id": "left",
                "topic": "trader.left", "flow_id": str(flows["trader.left"]), "status": Status.FAILED,
                "error_code": ErrorCode.GAVE_UP, "error_text": "DEMO: away. LIVE is done.", "trader_id": None,
                "user_id": 8, "order_id": None, "account_id": None, "trading_permission_id": None,
            }
        )  # fmt: skip
    rebuilds = Rebuilds(database, work.ledger.vault, "a test", work.ledger.ranks)
    for outcome in (bought, gone):
        past = PastOutcome(outcome, flows[outcome.topic], None, b"{}")
        assert [await rebuilds.write([past]), await rebuilds.write([past])] == [1, 0]
    async with database.connection() as connection:
        assert {row["state"] for row in await connection.fetch("select state from flow")} == {"succeeded", "failed"}
        assert not await connection.fetch("select from step where state not in ('done', 'refused')")
        order = await connection.fetchrow("select state, user_id, account_id, permission_id from business_order")
        assert tuple(order) == ("succeeded", 7, 70, 700)
        assert await connection.fetchval("select user_id from trader where trader_id = 'cust-0'") == 7
        ids = [row["outcome_id"] for row in await connection.fetch("select outcome_id from outcome order by id")]
        assert ids == [bought.outcome_id, gone.outcome_id]
        begun = "select trader_key from departure where begun_at is not null and ended"
        assert [row["trader_key"] for row in await connection.fetch(begun)] == ["u:8"]
    assert not await violations(database)


async def test_a_flow_that_was_started_again_does_not_end_by_its_earlier_outcome(database: Database) -> None:
    """The outcomes of a ledger that was not lost are read: a flow that an operator retries goes on, whatever it had
    ended with before. An outcome of its own round, or a later one, would end it.
    """
    work = Work(database)
    await work.accept("trader.purchased", [purchase(0)])
    async with database.connection() as connection:
        flow = await connection.fetchval("update flow set round = 1 returning id")
    rebuilds = Rebuilds(database, work.ledger.vault, "a test", work.ledger.ranks)

    def failed_in(round_: int) -> PastOutcome:
        said = {
            "outcomeId": outcome_id("trader.purchased", "e-0", Status.FAILED, ErrorCode.REJECTED, None, round_),
            "eventId": "e-0", "topic": "trader.purchased", "flowId": str(flow), "status": "failed",
            "traderId": "cust-0", "orderId": "100000", "errorCode": "rejected", "errorText": "no",
            "occurredAt": datetime.now(UTC).isoformat(),
        }  # fmt: skip
        return PastOutcome(Outcome.model_validate(said), flow, None, b"{}")

    for round_, ends in ((0, 0), (2, 1)):
        assert await rebuilds.write([failed_in(round_)]) == ends
        async with database.connection() as connection:
            state = await connection.fetchrow("select state, round from flow")
            open_steps = await connection.fetchval("select count(*) from step where state not in ('done', 'refused')")
        assert (*state, open_steps) == (("failed", 2, 0) if ends else ("open", 1, 1))
    assert not await violations(database)


async def test_a_backup_learns_of_a_subaccount_request_that_was_made_since(database: Database) -> None:
    """It is not made a second time: its review goes on."""
    work = Work(database)
    await work.accept("trader.passed", [{"eventId": "e-9", "userId": 7, "orderId": "9", "application": application()}])
    steps = "select operation from step where state not in ('done', 'refused')"
    async with database.connection() as connection:
        assert [row["operation"] for row in await connection.fetch(steps)] == ["checkDuplicate"]
        flow = await connection.fetchval("select id from flow")
    asked = Outcome.model_validate(
        {
            "outcomeId": outcome_id("trader.passed", "e-9", Status.PENDING, None, "InReview", 0), "eventId": "e-9",
            "topic": "trader.passed", "flowId": str(flow), "status": "pending", "userId": 7, "orderId": "9",
            "requestId": 5, "requestStatus": "InReview", "occurredAt": datetime.now(UTC).isoformat(),
        }
    )  # fmt: skip
    rebuilds = Rebuilds(database, work.ledger.vault, "a test", work.ledger.ranks)
    for _ in range(2):
        assert await rebuilds.write([PastOutcome(asked, flow, None, b"{}")]) == 0
    async with database.connection() as connection:
        assert [row["operation"] for row in await connection.fetch(steps)] == ["getPartnerSubaccountRequestStatus"]
        assert await connection.fetchval("select state from flow") == "open"
        assert [row["outcome_id"] for row in await connection.fetch("select outcome_id from outcome")] == [
            asked.outcome_id
        ]
    assert not await violations(database)


async def test_permissions_on_live_and_departures_that_failed_are_rebuilt(database: Database) -> None:
    """Each topic by itself, as they are read; a departure that was withdrawn later is deleted again."""
    rebuilds = Rebuilds(database, Vault(["a key of the tests that is long enough"]), "a test", {})
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
