"""`reconcile` on a real ledger and the sandbox: what it reports, what it does not, and what it costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.ledger_rows import LedgerRows
from tests.support.running_firm import RunningFirm, running_firm
from worker.ledger.database import Database
from worker.ledger.differences import Difference, Kind
from worker.ledger.prune import prune
from worker.ledger.reconcile_results import RunSeen
from worker.ledger.reconcile_runs import RunTaken
from worker.operate.console.reconcile_page import ReconcilePage
from worker.operate.console.render import Renderer
from worker.operate.console.session import ConsoleSession
from worker.operate.partner_reader import PartnerReader
from worker.operate.reconcile.reconciliation import Reconciliation
from worker.operate.reconcile.report import found
from worker.sandbox import SandboxConfig

T_PROP = 31


@pytest.fixture
async def firm(ledger_url: str) -> AsyncIterator[RunningFirm]:
    """A firm that runs already."""
    async with running_firm(ledger_url) as made:
        yield made


def reconciliation(reader: PartnerReader, **changes: Any) -> Reconciliation:
    question: dict[str, Any] = {"days": 7, "listed": False, "account_prefix": "EVAL", "entitlement_id": T_PROP}
    return Reconciliation(reader.database, reader, "the test", **{**question, **changes})


async def compared(firm: RunningFirm, **changes: Any) -> tuple[RunSeen, Sequence[Difference]]:
    """A whole run, and what it found."""
    async with firm.reader() as reader:
        work = reconciliation(reader, **changes)
        run = await work.run(await work.begin())
        return run, [each async for each in found(reader.database, run.id)]


def kinds(differences: Sequence[Difference]) -> list[tuple[str, str | None]]:
    return [(each.kind.value, each.trader_id) for each in differences]


def change(firm: RunningFirm, entity: str, entity_id: int, **fields: Any) -> None:
    firm.partner.sandbox.control.change({"entity": entity, "id": entity_id, **fields})


def remove(firm: RunningFirm, entity: str, *ids: int) -> None:
    firm.partner.sandbox.control.remove({"entity": entity, "ids": list(ids)})


async def test_each_kind_is_found_once_and_nothing_else(firm: RunningFirm) -> None:
    """On a sandbox into which each kind of difference was put, those are reported, and nothing of other traders."""
    rows = LedgerRows(firm)
    users, accounts, permissions = firm.traders(12)
    names = [
        "agrees", "approved", "failed", "departed", "revoked", "no account", "no user", "unentitled", "unsigned",
        "billed", "signed before", "archived",
    ]  # fmt: skip
    long_ago = {"unsigned": timedelta(days=8), "signed before": timedelta(days=300)}
    at = dict(zip(names, zip(users, accounts, permissions, strict=True), strict=True))
    for name, (user, account, permission) in at.items():
        ago = long_ago.get(name, timedelta(days=1))
        facts = {"accountName": f"EVAL{accounts.index(account)}"}
        await rows.bought(name, user, account, permission, ago=ago, facts=facts)
    firm.seed(subscriptions=[{"userId": user} for user in users])
    change(firm, "tradingPermission", at["approved"][2], status="Approved")
    await rows.failed("failed", [at["failed"][2]])
    await rows.left("departed", at["departed"][0])
    change(firm, "tradingPermission", at["revoked"][2], status="Revoked")
    firm.seed(plugins=[{"userId": at["signed before"][0], "entitlementId": T_PROP}])
    remove(firm, "account", at["no account"][1])
    remove(firm, "user", at["no user"][0])
    await rows.flow("md.signed", user=at["unentitled"][0], facts={"entitlementId": T_PROP})
    await rows.failed("billed", [at["billed"][2]])
    change(firm, "tradingPermission", at["billed"][2], status="Revoked")
    change(firm, "account", at["archived"][1], active=False, closed=True)
    stranger = firm.seed(accounts=[{"name": "EVAL7777777"}, {"name": "OTHER1"}])["accountIds"][0]

    run, differences = await compared(firm, listed=True)

    assert kinds(differences) == [
        ("permission_alive", "departed"),
        ("permission_alive", "failed"),
        ("permission_missing", "revoked"),
        ("account_missing", "archived"),
        ("account_missing", "no account"),
        ("user_missing", "no user"),
        ("account_unknown", None),
        ("entitlement_missing", "unentitled"),
        ("unsigned", "unsigned"),
        ("billed_for_nothing", "billed"),
        ("billed_for_nothing", "departed"),
        ("billed_for_nothing", "failed"),
        ("billed_for_nothing", "revoked"),
    ]
    by = {(each.kind, each.trader_id): each for each in differences}
    assert by[Kind.ACCOUNT_UNKNOWN, None].account_id == stranger
    left = by[Kind.PERMISSION_ALIVE, "departed"].fix
    failed = by[Kind.PERMISSION_ALIVE, "failed"].fix
    assert left is not None
    assert (left.topic, left.body["traderId"]) == ("trader.left", "departed")
    assert failed is not None
    assert (failed.topic, failed.body["tradingPermissionIds"]) == ("trader.failed", [at["failed"][2]])
    assert by[Kind.BILLED_FOR_NOTHING, "billed"].cancel_before is not None
    assert {each.kind for each in differences if each.fix is None} == {
        "permission_missing", "account_missing", "user_missing", "account_unknown", "unsigned",
    }  # fmt: skip
    assert (run.traders, run.unread, sum(run.counts.values())) == (12, 0, len(differences))


async def test_what_is_in_progress_is_no_difference(firm: RunningFirm) -> None:
    """An event that is not finished hides what it may change, and an account that a purchase makes belongs to it."""
    rows = LedgerRows(firm)
    users, accounts, permissions = firm.traders(7)
    firm.seed(subscriptions=[{"userId": user} for user in users])
    names = ["failing", "leaving", "signing", "buying", "being assigned", "graduate", "purchase"]
    for name, user, account, permission in zip(names, users, accounts, permissions, strict=True):
        state = "open" if name == "purchase" else "succeeded"
        await rows.bought(name, user, account, permission, state=state, ago=timedelta(days=8))
        if name in ("buying", "being assigned", "graduate", "leaving"):
            await rows.failed(name, [permission])
        if name in ("leaving", "buying", "graduate"):
            change(firm, "tradingPermission", permission, status="Revoked")
    await rows.flow("trader.failed", trader="failing", account=accounts[0], state="open")
    await rows.flow("md.signed", user=users[0], facts={"entitlementId": 32}, code="cancelled", state="failed")
    await rows.left("leaving", users[1], state="open")
    await rows.flow("md.signed", user=users[2], state="open")
    await rows.flow("trader.purchased", trader="buying", state="open", order="99999")
    await rows.flow("trader.purchased", trader="buying", state="open", order="99998", facts={"asked": ["EVAL7777"]})
    await rows.flow("trader.purchased", trader="buying", state="in_doubt", order="99999")
    await rows.flow("account.assigned", user=users[4], account=accounts[4], state="open")
    await rows.bought("graduate", users[5], 555, 0, kind="passed/event")
    for user in (users[0], users[6]):
        firm.seed(plugins=[{"userId": user, "entitlementId": T_PROP}])
    firm.seed(accounts=[{"name": "EVAL99999"}, {"name": "EVAL7777"}])
    _, differences = await compared(firm, listed=True)
    assert kinds(differences) == []


async def test_a_purchase_hides_no_account_but_its_own(firm: RunningFirm) -> None:
    """However long it has been open or in doubt. Its own is reported when it has ended in doubt, with its order: an
    operator looks for that.
    """
    rows = LedgerRows(firm)
    firm.traders(1)  # EVAL0
    firm.seed(accounts=[{"name": "EVAL1"}, {"name": "EVAL2"}, {"name": "EVAL3"}])
    await rows.flow("trader.purchased", trader="zoe", order="1", state="in_doubt", ago=timedelta(days=60))
    await rows.flow("trader.purchased", trader="ann", order="2", state="open", ago=timedelta(days=60))
    await rows.flow("trader.purchased", trader="joe", order="4", state="in_doubt", facts={"left": {"asked": ["EVAL3"]}})
    _, differences = await compared(firm, listed=True)
    unknown = sorted((each.account_name, each.order_id) for each in differences if each.kind is Kind.ACCOUNT_UNKNOWN)
    assert unknown == [("EVAL0", None), ("EVAL1", "1"), ("EVAL3", "4")]


async def test_who_failed_or_left_has_no_permission_on_any_account(firm: RunningFirm) -> None:
    """Also not on one that is no order's, nor when the revocation ended in doubt; what another trader with the same
    user has got since is theirs.
    """
    rows = LedgerRows(firm)
    users, accounts, permissions = firm.traders(4)
    nothing: dict[str, Any] = {"account_id": None, "permission_id": None, "state": "failed"}
    for trader, user in zip(("departed", "failed", "in doubt", "former"), users, strict=True):
        await rows.bought(trader, user, 0, 0, ago=timedelta(days=3), **nothing)
    await rows.left("departed", users[0])
    await rows.failed("failed", [], account=accounts[1])
    await rows.flow("trader.failed", trader="in doubt", account=accounts[2], state="in_doubt", code="in_doubt")
    await rows.left("former", users[3])
    await rows.bought("again", users[3], accounts[3], permissions[3], ago=timedelta(minutes=1))
    _, differences = await compared(firm)
    alive = [(each.trader_id, each.permission_id) for each in differences if each.kind is Kind.PERMISSION_ALIVE]
    assert alive == [("departed", permissions[0]), ("failed", permissions[1]), ("in doubt", permissions[2])]


class Meddling:
    """Reads of Tradovate between which something happens; whatever else is asked goes to the real reader."""

    def __init__(self, reader: PartnerReader, happens: Callable[[], Awaitable[None]]) -> None:
        self._reader, self._happens = reader, happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    async def of_users(self, *asked: Any) -> Any:
        """What each user has, after what happens."""
        await self._happens()
        return await self._reader.of_users(*asked)


async def test_what_changes_between_two_reads_is_read_again(firm: RunningFirm) -> None:
    """A trader who fails after the ledger was read and before Tradovate is, is no difference."""
    rows = LedgerRows(firm)
    (user,), (account,), (permission,) = firm.traders(1)
    await rows.bought("cust-1", user, account, permission)
    happened: list[int] = []

    async def fails() -> None:
        if not happened:
            happened.append(1)
            await rows.failed("cust-1", [permission])
            change(firm, "tradingPermission", permission, status="Revoked")

    async with firm.reader() as reader:
        work = reconciliation(reader)
        work.reads = Meddling(reader, fails)
        run = await work.run(await work.begin())
        assert run.counts == {}
        assert happened


async def test_an_interrupted_run_goes_on_and_two_never_work_at_once(
    firm: RunningFirm,
) -> None:
    """What was compared is not read again, what was found is looked at once more, and a second command is refused while
    the first one works.
    """
    rows = LedgerRows(firm)
    users, accounts, permissions = firm.traders(6)
    for number, (user, account, permission) in enumerate(zip(users, accounts, permissions, strict=True)):
        await rows.bought(f"cust-{number}", user, account, permission)
        change(firm, "tradingPermission", permission, status="Revoked")
    async with firm.reader() as reader:
        work = reconciliation(reader, page=2)
        reads = 0

        async def breaks() -> None:
            nonlocal reads
            reads += 1
            if reads == 6:  # within the second page
                with pytest.raises(RunTaken, match="at work"):
                    await reconciliation(reader).begin()
                running.cancel()  # as Ctrl-C does

        work.reads = Meddling(reader, breaks)
        running = asyncio.create_task(work.run(await work.begin()))
        with pytest.raises(asyncio.CancelledError):
            await running
    change(firm, "tradingPermission", permissions[0], status="Accepted")
    async with firm.reader() as reader:
        again = reconciliation(reader, page=2)
        run = await again.begin()
        assert (run.resumed, run.cursor, run.traders) == (True, "cust-1", 2)
        ended = await again.run(run)
        assert (ended.traders, ended.counts) == (6, {"permission_missing": 5})


async def test_a_thousand_traders_cost_some_forty_calls(firm: RunningFirm) -> None:
    """Half of them active and half failed, which takes the most reads: forty, the login among them. Two more show that
    Tradovate's answers are not cut.
    """
    users, accounts, permissions = firm.traders(1000)
    await firm.rows(
        "with n as (select * from unnest($1::bigint[], $2::bigint[], $3::bigint[]) with ordinality"
        " as n (user_id, account_id, permission_id, number)),"
        " t as (insert into trader (trader_id, user_id) select 'cust-' || number, user_id from n)"
        " insert into business_order (kind, order_id, flow_id, state, details, trader_id, user_id, account_id,"
        " permission_id, facts, asked_at, ended_at) select 'purchased', number, gen_random_uuid(), 'succeeded', '',"
        " 'cust-' || number, user_id, account_id, permission_id,"
        " jsonb_build_object('accountName', 'EVAL' || number - 1),"
        " now() - interval '1 day', case when number % 2 = 0 then now() end from n",
        users,
        accounts,
        permissions,
    )
    for permission in permissions[1::2]:
        change(firm, "tradingPermission", permission, status="Revoked")
    run, differences = await compared(firm)
    assert (run.traders, kinds(differences)) == (1000, [])
    assert run.calls <= 41
    assert firm.calls <= 42


async def test_where_there_is_no_bulk_read_the_cost_is_said_first(ledger_url: str) -> None:
    """Before the first page an operator learns that each user is a call; the list takes a few, and finds the same."""
    async with running_firm(ledger_url, SandboxConfig(ldeps_supported=False)) as firm:
        rows = LedgerRows(firm)
        users, accounts, permissions = firm.traders(20)
        for number, bought in enumerate(zip(users, accounts, permissions, strict=True)):
            await rows.bought(f"cust-{number}", *bought)
        change(firm, "tradingPermission", permissions[3], status="Revoked")
        alone = await firm.command("reconcile", "--json")
        assert "20 traders take 40 calls or more" in alone.stderr
        calls = firm.calls
        listed = await firm.command("reconcile", "--json", "--list")
        assert "all that the organization has is listed" in listed.stderr
        assert firm.calls - calls < 15
        assert (alone.code, alone.stdout) == (listed.code, listed.stdout)
        assert [each["kind"] for each in json.loads(alone.stdout)] == ["permission_missing"]


async def test_what_has_been_pruned_is_known(firm: RunningFirm) -> None:
    """After the flows of a failure, a departure, a signature and an assignment are gone, the same traders differ."""
    rows = LedgerRows(firm)
    users, accounts, permissions = firm.traders(4)
    old = timedelta(days=500)
    for name, user, account, permission in zip(
        ["failed", "departed", "signed", "given back"], users, accounts, permissions, strict=True
    ):
        await rows.bought(name, user, account, permission, ago=old + timedelta(days=1))
    await rows.failed("failed", [permissions[0]], ago=old)
    await rows.left("departed", users[1], ago=old)
    await rows.flow("md.signed", user=users[2], facts={"entitlementId": T_PROP}, ago=old)
    await rows.failed("given back", [permissions[3]], ago=old)
    await rows.flow("account.assigned", user=users[3], account=accounts[3], ago=old - timedelta(days=1))
    firm.seed(plugins=[{"userId": users[3], "entitlementId": T_PROP}])
    _, before = await compared(firm)
    async with firm.reader() as reader:
        assert (await prune(reader.database, timedelta(days=400), timedelta(days=14))).rows > 0
    assert not await firm.rows("select 1 from flow")
    _, after = await compared(firm)
    assert kinds(after) == kinds(before) == [
        ("permission_alive", "departed"),
        ("permission_alive", "failed"),
        ("entitlement_missing", "signed"),
    ]  # fmt: skip


async def test_the_page_shows_the_last_run(firm: RunningFirm) -> None:
    """The counts of the run that finished last, each leading to its list; before the first, how to run one."""
    rows = LedgerRows(firm)
    (user,), (account,), (permission,) = firm.traders(1)
    await rows.bought("cust<1>", user, account, permission)
    await rows.failed("cust<1>", [permission])
    async with firm.reader() as reader:
        page = Starlette(routes=[Route("/reconcile", shown(reader.database))])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(page), base_url="http://console") as browser:
            assert "has not been compared" in (await browser.get("/reconcile")).text
            await compared(firm)
            counts = (await browser.get("/reconcile")).text
            assert 'href="/reconcile?kind=permission_alive"' in counts
            assert "<b>0</b> unsigned" in counts
            listed = (await browser.get("/reconcile?kind=permission_alive")).text
            assert f"trading permission {permission} on account {account}" in listed
            assert "trader.failed" in listed
            assert "cust&lt;1&gt;" in listed
            assert "cust<1>" not in listed


def shown(database: Database) -> Callable[[Request], Awaitable[Response]]:
    """The page as one who has signed in sees it."""
    page = ReconcilePage(database, Renderer("staging"))
    session = ConsoleSession("an id", 2**40)

    async def answer(request: Request) -> Response:
        return await page.page(request, session)

    return answer


async def test_a_killed_run_is_taken_over(firm: RunningFirm) -> None:
    """Its command extends the lease no more: then another one goes on, and the first one can write nothing."""
    async with firm.reader() as reader:
        first = reconciliation(reader)
        run = await first.begin()
        await firm.rows("update reconciliation set lease_until = now() - interval '1 second'")
        second = await reconciliation(reader).begin()
        assert (second.id, second.resumed) == (run.id, True)
        with pytest.raises(RunTaken):
            await first.run(run)
