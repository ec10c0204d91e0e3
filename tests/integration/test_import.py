"""`import`: what a firm has at Tradovate already, checked there in bulk and written to the ledger."""

from __future__ import annotations

import asyncio
import csv
import io
from pathlib import Path

from tests.support.running_firm import RunningFirm, running_firm
from worker.sandbox import SandboxConfig

HEADER = "traderId,userId,userName,orderId,accountId,accountName,purchasedAt\n"

READS = ("deps", "ldeps")

ORDERS = "select kind, order_id, trader_id, user_id, account_id, permission_id, facts, state from business_order"


async def _rows(firm: RunningFirm) -> list[dict[str, object]]:
    return await firm.rows(f"{ORDERS} order by kind, order_id")


async def test_lines_that_are_right_are_imported_and_every_other_one_is_reported(
    ledger_url: str, tmp_path: Path
) -> None:
    """Each kind of difference is one line with its number on standard error and in the report, exit code 1; a dry run
    says the same and writes nothing; the same file again changes nothing and asks only about what was refused.
    """
    async with running_firm(ledger_url, SandboxConfig(items_reversed=True, finds_reversed=True)) as firm:
        users, accounts, permissions = firm.traders(9)
        firm.partner.sandbox.core.world.permissions.rows[permissions[4]]["status"] = "Revoked"
        alone = firm.seed(users=[{"name": "alone", "email": "alone@example.com"}])["userIds"][0]
        foreign = firm.seed(foreign=True, users=[{"name": "other", "email": "o@x.example"}], accounts=[{"name": "F1"}])
        right = [
            f"a,{users[0]},,1,{accounts[0]},,2025-03-01",
            "b,,Trader1,,,EVAL1,",
            "c,,trader2,2,,,",  # the account's name follows from the order
            f"d,{users[3]},TRADER3,,{accounts[3]},EVAL3,",
            f"e,{alone},,,,,",
            "f,,trader5,,,,",
        ]
        wrong = {
            f"x,{users[4]},,4,{accounts[4]},,": f"{permissions[4]} on account {accounts[4]} is Revoked",
            "x,,nobody,,,,": "userName is not known",
            "x,,other,,,,": "userName is not known",
            "x,4242,,,,,": "User 4242 is not known",
            f"x,{foreign['userIds'][0]},,,,,": f"User {foreign['userIds'][0]} is not known",
            f"x,{users[6]},,,4243,,": "Account 4243 is not known",
            f"x,{users[6]},,,{foreign['accountIds'][0]},,": f"Account {foreign['accountIds'][0]} is not known",
            f"x,{users[6]},,,,EVAL99,": "Account EVAL99 is not known",
            f"x,{users[6]},,77,,,": "Account EVAL77 is not known to Tradovate, which follows from orderId",
            f"x,{users[6]},,,{accounts[7]},,": f"is another user's ({users[7]}), not user {users[6]}'s",
            f"x,{users[6]},,,{accounts[6]},EVAL7,": f"Account EVAL7 is {accounts[7]} at Tradovate, not {accounts[6]}",
            f"x,{users[6]},trader7,,,,": f"userName is user {users[7]} at Tradovate, not {users[6]}",
            f"x,{users[0]},,,,,": f"User {users[0]} is trader a's already",
            f"a,{users[6]},,,,,": "Trader a is known with another Tradovate user",
            f"x,{users[8]},,1,{accounts[8]},,": "Order 1 is another trader's already",
            f"a,{users[0]},,2,{accounts[0]},,": "Order 2 is another trader's already",
            f"a,{users[0]},,3,{accounts[0]},,": f"Account {accounts[0]} is order 1's already",
            "x,1E+05,,,,,": "userId is 1E+05",
        }
        file, report = tmp_path / "firm.csv", tmp_path / "refused.csv"
        file.write_text(HEADER + "\n".join([*right, *wrong]) + "\n")
        numbers = range(2 + len(right), 2 + len(right) + len(wrong))

        dry = await firm.command("import", str(file), "--dry-run", "--report", str(report))
        assert dry.code == 1, dry.stderr
        assert dry.stdout.startswith(f"Would import 6 of {6 + len(wrong)} lines; 0 were known already")
        assert not await _rows(firm)
        assert not await firm.rows("select * from trader")

        run = await firm.command("import", str(file), "--report", str(report))
        assert run.code == 1
        assert run.stdout.startswith(
            f"Imported 6 of {6 + len(wrong)} lines; 0 were known already, {len(wrong)} refused"
        )
        reported = run.stderr.splitlines()
        assert reported == dry.stderr.splitlines()
        assert len(reported) == len(wrong)
        for number, line, sentence in zip(numbers, reported, wrong.values(), strict=True):
            assert line.startswith(f"line {number}: ")
            assert sentence in line
        head, *table = csv.reader(io.StringIO(report.read_text()))
        assert head == ["line", "traderId", "orderId", "reason"]
        assert [f"line {number}: {reason}" for number, _, _, reason in table] == reported

        rows = await _rows(firm)
        assert [(row["kind"], row["order_id"], row["trader_id"]) for row in rows] == [
            ("purchased", "1", "a"),
            ("purchased", "2", "c"),
            ("purchased/import", str(accounts[3]), "d"),
            ("purchased/import", "EVAL1", "b"),
        ]
        assert [row["permission_id"] for row in rows] == [permissions[each] for each in (0, 2, 3, 1)]
        assert rows[1]["facts"] == {
            "userId": users[2],
            "accountId": accounts[2],
            "accountName": "EVAL2",
            "tradingPermissionId": permissions[2],
        }
        assert await firm.rows(
            "select order_id from business_order where asked_at = '2025-03-01 00:00 America/Chicago'"
        ) == [{"order_id": "1"}]
        shown = await firm.command("flows", "show", "2")
        assert f"imported, or its flow has been pruned; it is succeeded: trader c, user {users[2]}" in shown.refusal
        traders = {row["trader_id"]: row["user_id"] for row in await firm.rows("select * from trader")}
        assert traders == {"a": users[0], "b": users[1], "c": users[2], "d": users[3], "e": alone, "f": users[5]}

        file.write_text(HEADER + "\n".join(right) + "\n")
        calls = firm.calls
        again = await firm.command("import", str(file))
        assert (again.code, again.stderr) == (0, "")
        assert again.stdout.startswith("Imported 0 of 6 lines; 6 were known already, 0 refused; 0 calls")
        assert firm.calls == calls
        assert await _rows(firm) == rows


async def test_users_about_whom_tradovate_answers_401_are_refused_alone(ledger_url: str) -> None:
    """That is what it answers for an id of another firm. Lines without an account are no exception, and neither one
    such user nor several keep the other lines from being imported.
    """
    async with running_firm(ledger_url) as firm:
        users, accounts, _ = firm.traders(2)
        seeds = [{"name": f"other{n}", "email": f"other{n}@example.com"} for n in range(3)]
        alone = firm.seed(users=seeds[:1])["userIds"][0]
        foreign = firm.seed(foreign=True, users=seeds[1:])["userIds"]
        dependents = [f"{each}/{read}" for each in ("tradingPermission", "tradovateSubscription") for read in READS]
        for read in (*dependents, "user/item"):
            for user in foreign:
                firm.fault("status_before", read, status=401, contains=str(user))
        for read in dependents:
            firm.fault("status_before", read, status=401, contains=str(alone))
        lines = [
            f"a,{users[0]},,,{accounts[0]},,", f"b,{users[1]},,,,,", f"c,{alone},,,,,",
            f"x,{foreign[0]},,,,,", f"y,{foreign[1]},,,{accounts[1]},,",
        ]  # fmt: skip
        run = await firm.command("import", "-", stdin=(HEADER + "\n".join(lines)).encode())
        refused = [line for line in run.stderr.splitlines() if line.startswith("line ")]
        assert (run.code, [line.split(":")[0] for line in refused]) == (1, ["line 5", "line 6"])
        for user, line in zip(foreign, refused, strict=True):
            assert f"User {user} cannot be read" in line
            assert "another organization's" in line
        traders = await firm.rows("select trader_id, user_id from trader order by 1")
        assert [(row["trader_id"], row["user_id"]) for row in traders] == [
            ("a", users[0]), ("b", users[1]), ("c", alone),
        ]  # fmt: skip


def _lines(count: int) -> bytes:
    return "".join(["traderId;userName;orderId;accountName\r\n", *_each(count)]).encode("utf-8-sig")


def _each(count: int) -> list[str]:
    return [f"t{number};trader{number};{number};EVAL{number}\r\n" for number in range(count)]


async def test_a_thousand_accounts_cost_forty_calls_at_most_and_two_imports_at_once_agree(ledger_url: str) -> None:
    """Contract section 8: ten thousand cost four hundred. The second import finds what the first one wrote."""
    async with running_firm(ledger_url) as firm:
        firm.traders(1001)
        later = "x;trader0;;\r\nx;trader1000;0;EVAL1000\r\nx;trader1000;1000;EVAL1\r\n"
        dry = await firm.command("import", "-", "--dry-run", stdin=_lines(1000) + later.encode())
        assert [line.split(":")[0] for line in dry.stderr.splitlines()] == ["line 1002", "line 1003", "line 1004"]
        assert "is trader t0's already" in dry.stderr
        assert "Order 0 is another trader's already" in dry.stderr
        assert not await firm.rows("select from trader")
        before = firm.calls
        one = await firm.command("import", "-", "--by", "ada", stdin=_lines(1000))
        assert (one.code, one.stderr) == (0, "")
        assert await firm.rows("select action, by, subject from note") == [
            {"action": "import", "by": "ada", "subject": "lines of standard input: 1000"}
        ]
        assert firm.calls - before <= 40
        await firm.rows("delete from business_order where order_id < '5' returning 1")
        await firm.rows("delete from trader where trader_id < 't5' returning 1")
        more = [firm.import_task(_lines(1000)) for _ in range(2)]
        assert await asyncio.gather(*more) == [0, 0]
        assert await firm.rows("select count(*) as n, count(distinct account_id) as m from business_order") == [
            {"n": 1000, "m": 1000}
        ]
        assert await firm.rows("select count(*) as n from trader") == [{"n": 1000}]


async def test_an_interrupted_import_goes_on_where_it_was(ledger_url: str) -> None:
    """What is in the ledger is not asked again."""
    async with running_firm(ledger_url) as firm:
        firm.traders(2000)
        firm.fault("hang", "/user/finds", after=10)
        importing = firm.import_task(_lines(2000))
        while not await firm.rows("select from business_order limit 1"):
            await asyncio.wait({importing}, timeout=0.05)
        importing.cancel()
        await asyncio.wait({importing})
        assert importing.cancelled()
        assert await firm.rows("select count(*) as n from business_order") == [{"n": 1000}]
        firm.partner.sandbox.core.faults.clear(None)
        calls = firm.calls
        assert (await firm.command("import", "-", stdin=_lines(2000))).code == 0
        assert firm.calls - calls <= 40
        assert await firm.rows("select count(*) as n from business_order") == [{"n": 2000}]


async def test_what_stands_before_the_end_of_a_broken_file_is_imported(ledger_url: str, tmp_path: Path) -> None:
    """A quote that is never closed ends the file there; and a report never takes the place of the file."""
    async with running_firm(ledger_url) as firm:
        firm.traders(2)
        file = tmp_path / "traders.csv"
        file.write_bytes(_lines(2) + b'"cust-2,' + b"x" * 100_000 + b"\n" + b"y" * 100_000)
        content = file.read_bytes()
        refused = await firm.command("import", str(file), "--report", str(file))
        assert (refused.code, file.read_bytes()) == (2, content)
        assert "--report is the file that is imported" in refused.stderr
        ended = await firm.command("import", str(file))
        assert (ended.code, ended.stdout) == (
            1,
            "Imported 2 of 2 lines; 0 were known already, 0 refused; 3 calls.\n",
        ), ended.stderr
        assert "Line 4 and what follows cannot be read" in ended.stderr
