"""What was imported is as if this worker had created it: each event that names it finds it."""

from __future__ import annotations

from typing import Any

from tests.support.events import purchase
from tests.support.firm import Firm
from tests.support.running_firm import in_this_process
from tests.support.spine import Stages
from tests.support.waiting import eventually

ASKS = "/user/createEvaluationAccounts", "/user/createEvaluationUsers", "/user/createTradingPermission"


async def test_events_find_what_was_imported(stage: Stages) -> None:
    """Purchases of imported orders get their ids without a call, or are a conflict; failures by order, account and
    permission, a reset, a signature and a departure find theirs; what came before the import has waited for it.
    """
    firm = Firm(await stage())
    at = firm.stage
    held = firm.seed(6)
    await at.replica()
    early = await firm.send("trader.failed", traderId="cust-5", orderId="100005")
    await eventually(lambda: _waits(firm))
    table = "traderId;userId;orderId;accountId\n" + "".join(
        f"cust-{number};{user};{'' if number == 4 else 100_000 + number};{account}\n"
        for number, (user, account, _) in enumerate(held)
    )
    run = await in_this_process(at.env, "import", "-", stdin=table.encode())
    assert (run.code, run.stderr) == (0, "")
    done = await at.outcome(early)
    assert (done["status"], done["tradingPermissionIds"]) == ("succeeded", [held[5][2]])

    reads = len(at.calls())
    other_account = {"templateAccountId": 12, "initialBalance": 1}
    other_details = purchase(6, trader=0, orderId="100000", account=other_account)
    await at.buy(purchase(0), purchase(1, trader=9), other_details)
    same, others, again = await at.all_ended()
    user, account, permission = held[0]
    ids = {"userId": user, "accountId": account, "accountName": None, "tradingPermissionId": permission}
    for outcome in (same, again):
        assert outcome["status"] == "succeeded"
        assert {name: outcome[name] for name in ids} == ids
    assert (others["status"], others["errorCode"]) == ("failed", "conflict")
    assert not any(at.count(path) for path in ASKS)
    assert len(at.calls()) == reads

    by: list[dict[str, Any]] = [{"orderId": "100001"}, {"tradingPermissionIds": [held[2][2]]}]
    for number, named in enumerate(by, 1):
        outcome = await firm.outcome("trader.failed", traderId=f"cust-{number}", **named)
        assert (outcome["status"], outcome["tradingPermissionIds"]) == ("succeeded", [held[number][2]])
    stolen = await firm.outcome("trader.failed", traderId="cust-1", accountId=held[4][1])
    assert (stolen["status"], stolen["errorCode"]) == ("failed", "conflict")
    by_account = await firm.outcome("trader.failed", traderId="cust-4", accountId=held[4][1])
    assert (by_account["status"], by_account["tradingPermissionIds"]) == ("succeeded", [held[4][2]])
    reset = await firm.outcome("account.reset", orderId="100003", tradeDate="2026-11-20")
    assert (reset["status"], reset["accountId"], reset["traderId"]) == ("succeeded", held[3][1], "cust-3")
    signed = await firm.outcome("md.signed", userId=held[3][0], entitlementId=31)
    assert signed["traderId"] == "cust-3"
    left = await firm.outcome("trader.left", traderId="cust-0", immediate=True)
    assert (left["status"], left["userId"]) == ("succeeded", user)
    assert firm.permission(permission)["status"] == "Revoked"


async def _waits(firm: Firm) -> bool:
    return bool(await firm.stage.steps("state = 'waiting' and waits_for is not null"))
