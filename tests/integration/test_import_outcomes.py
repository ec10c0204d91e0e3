"""`import --from-outcomes`: a ledger that was lost, out of the outcome topics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.support.events import purchase
from tests.support.firm import Firm, application
from tests.support.running_firm import in_this_process
from tests.support.spine import Stages
from tests.support.waiting import eventually
from worker.ledger.database import Database
from worker.ledger.invariants import violations

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
