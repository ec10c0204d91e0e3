"""Bulk reads of commands: the shared session and budget, after all that the worker's own steps need."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.running_firm import running_firm
from tests.support.waiting import eventually
from worker.ledger import holds
from worker.ledger.budget import Budget, Closed, Wanted
from worker.ledger.call_log import Opened, begin_calls
from worker.ledger.database import Database
from worker.operate.reads_ended import ReadsEnded
from worker.partner.bulk_reads import readable
from worker.replies import Domain
from worker.sandbox import SandboxConfig


async def test_a_hundred_a_call_through_one_session_and_all_in_the_call_log(ledger_url: str) -> None:
    """Names and permissions of 150 traders are two calls each, and a few that show that no answer was cut, noted under
    the command's name; the next command uses the same session.
    """
    async with running_firm(ledger_url) as firm:
        users, accounts, _ = firm.traders(150)
        async with firm.reader() as reader:
            by_name = await reader.users_by_name([f"Trader{n} " for n in range(150)] + ["nobody"])
            assert sorted(row["id"] for rows in by_name.values() for row in readable(rows)) == users
            named = await reader.accounts_by_name([f"EVAL{n}" for n in range(150)])
            assert sorted(row["id"] for rows in named.values() for row in readable(rows)) == accounts
            permissions = await reader.of_users(Domain.DEMO, "tradingPermission", users)
            assert [row["accountId"] for user in users for row in readable(permissions[user])] == accounts
            assert reader.calls == 6 + 1 + 2  # the name that nobody has again, and both halves of the first hundred
        async with firm.reader() as reader:
            assert len(await reader.by_id(Domain.DEMO, "account", [*accounts[:12], 4_242])) == 12
            assert len(await reader.listed(Domain.DEMO, "account")) >= 150
        assert firm.count("/auth/accesstokenrequest") == 1
        logged = await firm.rows("select * from call where kind = 'look_up'")
        assert {(row["operation"], row["result"]) for row in logged if row["endpoint"] != "account/item"} == {
            ("import", "answer")
        }
        assert len(logged) == firm.calls - 1
        assert all(row["replica"].startswith("import-") for row in logged)


async def test_one_user_who_spoils_a_bulk_read_is_found_by_halving(ledger_url: str) -> None:
    """Where Tradovate answers 404 to all for one unknown user, the other ninety-nine are read with a few calls more."""
    async with running_firm(ledger_url, SandboxConfig(deps_unknown_master="404")) as firm:
        users, _, _ = firm.traders(99)
        foreign = firm.seed(foreign=True, users=[{"name": "else", "email": "else@example.com"}])["userIds"]
        async with firm.reader() as reader:
            found = await reader.of_users(Domain.DEMO, "tradingPermission", [*users, *foreign])
            assert all(len(readable(found[user])) == 1 for user in users)
            assert not found[foreign[0]]
            assert reader.calls <= 20


async def test_what_goes_wrong_for_a_while_is_waited_for_and_reported(ledger_url: str) -> None:
    """A lock-out, a server error, a lost connection and a moved host end by themselves; nothing is asked meanwhile."""
    async with running_firm(ledger_url) as firm:
        users, _, _ = firm.traders(2)
        ldeps = "/tradingpermission/ldeps"
        async with firm.reader(TRADOVATE_LOCKOUT_SECONDS="1") as reader:
            firm.fault("status_before", ldeps, times=1, status=429)
            firm.fault("status_before", ldeps, times=1, status=503)
            firm.fault("cut_before", ldeps, times=1)
            assert len(await reader.of_users(Domain.DEMO, "tradingPermission", users)) == 2
            assert any(why is not None and "locked out" in why for why in firm.waits)
            assert firm.partner.sandbox.control.state()["calls"]["during_lockout"] == 0
            firm.partner.move()
            assert len(await reader.of_users(Domain.DEMO, "tradingPermission", users)) == 2
            assert firm.waits[-1] is None


async def test_a_pause_is_waited_for_and_a_rejected_login_ends_the_command(ledger_url: str) -> None:
    """After `resume` the read goes on; what only new settings can end is one sentence that names the next step."""
    async with running_firm(ledger_url) as firm:
        users, _, _ = firm.traders(2)
        database = Database(ledger_url, size=1)
        async with firm.reader() as reader:
            async with database.transaction() as connection:
                await holds.put(connection, holds.PAUSE_ALL, "an operator's pause", lasts=None)
            reading = asyncio.create_task(reader.of_users(Domain.DEMO, "tradingPermission", users))
            await eventually(lambda: any(why is not None and "pause" in why for why in firm.waits))
            assert not firm.calls
            async with database.transaction() as connection:
                await connection.execute("update hold set cleared_at = now()")
            assert len(await reading) == 2
            await firm.rows("update session set token = null returning 1")
        async with firm.reader(TRADOVATE_PASSWORD="wrong") as reader:
            for _ in range(2):
                with pytest.raises(ReadsEnded, match="doctor"):
                    await reader.of_users(Domain.DEMO, "tradingPermission", users)
        assert firm.partner.sandbox.control.state()["sessions"]["failed_logins"] == 1
        await database.close()


async def test_a_part_of_the_budget_is_left_to_the_workers_own_steps(ledger_url: str) -> None:
    """Bulk reads stop at nine tenths of the ordinary hour and half of the minute; a step may go on."""
    database = Database(ledger_url, size=1)

    async def room(*, spare: bool, budget: Budget, calls: int) -> int:
        async with database.transaction() as connection:
            wanted = Wanted("import", "demo", "look_up", "r", reads="user/finds", spare=spare)
            opened = await begin_calls(connection, wanted, budget, [1] * calls)
            if isinstance(opened, Closed):
                assert opened.until is not None
                assert "the worker's own calls" in opened.why
            return len(opened.call_ids) if isinstance(opened, Opened) else 0

    hourly, minute = Budget(hourly=100, minute=1000), Budget(hourly=1000, minute=20)
    assert await room(spare=True, budget=minute, calls=20) == 9
    assert await room(spare=True, budget=minute, calls=20) == 0
    assert await room(spare=False, budget=minute, calls=20) == 9
    assert await room(spare=True, budget=hourly, calls=100) == 63
    assert await room(spare=True, budget=hourly, calls=100) == 0
    assert await room(spare=False, budget=hourly, calls=100) == 9
    await database.close()


async def test_a_step_that_could_be_sent_goes_first(ledger_url: str) -> None:
    """While a step is due no bulk read begins; one that lingers or is held back is not waited for much longer."""
    async with running_firm(ledger_url) as firm:
        users, _, _ = firm.traders(2)
        async with firm.reader() as reader:
            await reader.users_by_name(["trader1", "trader2"])
            before = firm.calls
            await firm.rows(
                "insert into step (flow_id, operation, rank, state, trader_key, due) values"
                " (gen_random_uuid(), 'revokeTradingPermissions', 0, 'due', 'u:1', now() + interval '1 second'),"
                " (gen_random_uuid(), 'updateContactInfo', 80, 'due', 'u:2', now() - interval '1 minute') returning 1"
            )
            await firm.rows("update step set due = now() where rank = 0 returning 1")
            reading = asyncio.create_task(reader.of_users(Domain.DEMO, "tradingPermission", users))
            assert await asyncio.wait({reading}, timeout=0.3) == (set(), {reading})
            assert firm.calls == before
            await firm.rows("update step set lease = gen_random_uuid() where rank = 0 returning 1")
            assert len(await reading) == 2
