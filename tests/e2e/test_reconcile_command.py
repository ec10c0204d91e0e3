"""`reconcile` as an operator runs it: the differences, the events that fix them, and nothing left afterwards."""

from __future__ import annotations

import asyncio
import csv
import json
from pathlib import Path

from tests.support.commands import command
from tests.support.events import purchase
from tests.support.firm import Firm
from tests.support.spine import Stages


async def test_the_events_fix_what_events_can_fix(stage: Stages, tmp_path: Path) -> None:
    """Each kind of difference that an event can fix is found and fixed by its event, and the next run finds none."""
    firm = Firm(await stage())
    on = firm.stage
    await on.replica()
    control = on.partner.sandbox.control
    await on.buy(*(purchase(number, contact=True) for number in range(1, 7)))
    bought = await on.all_ended()
    agrees, failed, left, signed, revoked, billed = bought
    for each in bought:
        firm.sign(each["userId"])
    await asyncio.gather(*(firm.outcome("md.signed", userId=each["userId"]) for each in bought))
    await asyncio.gather(
        firm.outcome("trader.left", traderId=left["traderId"], immediate=True),
        *(
            firm.outcome("trader.failed", traderId=each["traderId"], orderId=each["orderId"])
            for each in (failed, billed)
        ),
    )
    for each, status in ((failed, "Approved"), (left, "Accepted"), (revoked, "Revoked")):
        control.change({"entity": "tradingPermission", "id": each["tradingPermissionId"], "status": status})
    plugins = on.partner.sandbox.core.world.plugins
    control.remove({"entity": "userPlugin", "ids": [row["id"] for row in plugins.of(signed["userId"])]})

    fixes, table = tmp_path / "fixes", tmp_path / "differences.csv"
    first = await command(on.env, "reconcile", "--json", "--events", str(fixes), "--csv", str(table))
    assert first.code == 1, first.stderr
    found = json.loads(first.stdout)
    assert {(each["kind"], each["traderId"]) for each in found} == {
        ("permission_alive", failed["traderId"]),
        ("permission_alive", left["traderId"]),
        ("permission_missing", revoked["traderId"]),
        ("entitlement_missing", signed["traderId"]),
        ("billed_for_nothing", failed["traderId"]),
        ("billed_for_nothing", revoked["traderId"]),
        ("billed_for_nothing", billed["traderId"]),
    }
    assert agrees["traderId"] not in first.stdout
    with table.open(newline="") as lines:
        assert [row["text"] for row in csv.DictReader(lines)] == [each["text"] for each in found]

    sent: set[str] = set()
    for file in sorted(fixes.iterdir()):
        sent |= {json.loads(line)["eventId"] for line in file.read_text().splitlines()}
        done = await command(on.env, "send", file.stem, str(file))
        assert done.code == 0, done.stderr
    assert {each["event"]["eventId"] for each in found if each["event"]} == sent
    await asyncio.gather(*(firm.ended(each) for each in sent))

    second = await command(on.env, "reconcile", "--events", str(fixes))
    assert (second.code, second.stdout) == (0, "The ledger and Tradovate agree.\n"), second.stderr
    assert not list(fixes.iterdir())
