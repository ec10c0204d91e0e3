"""Risk statuses on the sockets of the simulated partner: initial data, events, and a key without the permission."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.test_sandbox_sockets import line, running
from worker.partner.risk_rows import rows_of_answer, rows_of_event


@pytest.mark.parametrize("form", ["object", "list", "wrapped"])
async def test_risk_statuses_come_with_the_initial_data_and_with_events(form: str) -> None:
    """In parts of the answer on DEMO alone; a liquidation raises the counter, in each form of the event."""
    async with running(risk_entity=form, risk_empty="null", sync_messages=2) as sandbox, line(sandbox, "demo") as one:
        [account] = sandbox.sandbox.control.seed({"accounts": 1})["accountIds"]
        rows = rows_of_answer((await one.sync("accountRiskStatus"))["d"]) or []
        while len(rows) < 4:
            rows += rows_of_answer((await one.message()).get("d")) or []
        assert [row["autoLiqCounter"] for row in rows if row["id"] == account] == [0]
        assert rows[0]["liquidateOnly"] is None
        sandbox.sandbox.control.risk({"accountId": account, "event": "auto_liq"})
        event: dict[str, Any] = {}
        while not rows_of_event(event.get("d")):
            event = await one.message()
        [row] = rows_of_event(event["d"])
        assert (row["id"], row["autoLiqCounter"]) == (account, 1)
        assert row["autoLiqStarted"] == row["liquidateOnly"]


@pytest.mark.parametrize("denied", ["401", "absent"])
async def test_a_key_without_the_permission_gets_none(denied: str) -> None:
    """The sync request is answered 401, or without the family; other families come as ever."""
    async with running(risks_permission="Denied", risk_sync_denied=denied) as sandbox, line(sandbox, "demo") as one:
        answer = await one.sync("accountRiskStatus", "account")
        assert answer["s"] == (401 if denied == "401" else 200)
        assert rows_of_answer(answer.get("d") if isinstance(answer.get("d"), dict) else {}) is None
