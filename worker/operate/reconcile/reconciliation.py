"""One run of `reconcile`: page after page of traders, from where an interrupted run came to.

A trader changes while the worker works. So the ledger is read before Tradovate, and a trader who differs is read in the
ledger again: only what was the same before and after is a difference. Who changes all the time is left out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from worker.ledger import reconcile_runs, reconcile_view
from worker.ledger.database import Connection, Database, DatabaseError
from worker.ledger.differences import Difference
from worker.ledger.reconcile_results import RunSeen
from worker.ledger.reconcile_runs import LEASE, ReconcileRun
from worker.ledger.reconcile_view import LedgerTrader
from worker.operate.reconcile.compare import CompareRules, compare
from worker.operate.reconcile.reading import Known, PageReading, Reads, try_bulk
from worker.operate.reconcile.standing import standing
from worker.operate.reconcile.unknown_accounts import unknown_accounts
from worker.partner.read_errors import Unreadable

PAGE = 1000
"""Traders that are read together: ten full calls of each kind, whose last one is rarely empty. What a crash costs."""

READ_AGAIN = 3
"""How often a trader is compared who changes meanwhile. Each time takes seconds; a flow takes less."""

FRESH = 300.0
"""Seconds for which what was found counts without another look: less than an operator needs to read it. Longer runs
have waited for the budget, or were interrupted."""

EXTEND_EVERY = LEASE.total_seconds() / 4


@dataclass(slots=True)
class Reconciliation:
    """`days`, `listed`: the question. `advance`: called with how many traders more have been compared. `one_by_one`:
    called before the first page is read when Tradovate has no bulk read of what users have.
    """

    database: Database
    reads: Reads
    by: str
    days: int
    listed: bool
    account_prefix: str
    entitlement_id: int | None
    advance: Callable[[int], None] = lambda _traders: None
    one_by_one: Callable[[], None] = lambda: None
    page: int = PAGE
    _counted: int = field(default=0)

    async def begin(self) -> ReconcileRun:
        """Begins a run, or goes on with one that was interrupted. Raises `RunTaken`."""

        async def work(connection: Connection) -> ReconcileRun:
            await self.database.clock.read(connection)
            return await reconcile_runs.begin(connection, days=self.days, listed=self.listed, by=self.by)

        return await self.database.atomically(work)

    async def run(self, run: ReconcileRun) -> RunSeen:
        """Compares everything that is left of the run, and ends it. Whatever ends this earlier leaves the run to the
        next command. Raises `RunTaken`, what the reads raise, and `DatabaseError`.
        """
        # Reads may wait for an hour, until the budget has room: what waits keeps the run.
        keeping = asyncio.create_task(self._keep(run), name="reconcile-lease")
        working = asyncio.create_task(self._work(run), name="reconcile")
        try:
            await asyncio.wait([keeping, working], return_when=asyncio.FIRST_COMPLETED)
            if keeping.done():
                keeping.result()
            return await working
        finally:
            for task in (keeping, working):
                task.cancel()
            await asyncio.gather(keeping, working, return_exceptions=True)
            with suppress(DatabaseError):
                async with self.database.connection() as connection:
                    await reconcile_runs.give_back(connection, run)

    async def _work(self, run: ReconcileRun) -> RunSeen:
        began, cursor = time.monotonic(), run.cursor
        self.reads.may_list = self.listed
        first = True
        while traders := await self._page(cursor):
            if first and not await try_bulk(self.reads, [Known(each, standing(each)) for each in traders]):
                self.one_by_one()
            first = False
            cursor = traders[-1].trader_id
            found, unread = await self._compare(traders)
            await self._write(run, found, cursor, len(traders), unread)
            self.advance(len(traders))
        if run.resumed or time.monotonic() - began > FRESH:
            await self._compare_found_again(run)
        if self.listed:
            found = await unknown_accounts(self.database, self.reads, self.account_prefix)
            await self._write(run, found, None, 0, 0)
        return await self.database.atomically(lambda connection: reconcile_runs.finish(connection, run))

    async def _compare_found_again(self, run: ReconcileRun) -> None:
        """What was found a while ago may have been fixed since."""
        after: str | None = None
        while ids := await self._found_so_far(run, after):
            found, _ = await self._compare(await self._again(ids))
            await self._write(run, found, None, 0, 0, forget=ids)
            after = ids[-1]

    async def _page(self, after: str | None) -> list[LedgerTrader]:
        async with self.database.connection() as connection:
            return await reconcile_view.page(connection, after, self.page)

    async def _again(self, trader_ids: Iterable[str]) -> list[LedgerTrader]:
        async with self.database.connection() as connection:
            return await reconcile_view.again(connection, trader_ids)

    async def _found_so_far(self, run: ReconcileRun, after: str | None) -> list[str]:
        async with self.database.connection() as connection:
            return await reconcile_runs.found_so_far(connection, run, after, self.page)

    async def _compare(self, traders: Sequence[LedgerTrader]) -> tuple[Sequence[Difference], int]:
        """The differences of these traders, and how many of them could not be read."""
        found: list[Difference] = []
        unread: set[int] = set()
        left = traders
        for _ in range(READ_AGAIN):
            if not left:
                break
            maybe, not_read = await self._compare_once(left)
            unread |= not_read
            now = await self._again(maybe)
            before = {each.trader_id: each for each in left}
            left = [each for each in now if each != before[each.trader_id]]
            changed = {each.trader_id for each in left}
            found += [each for trader, theirs in maybe.items() if trader not in changed for each in theirs]
        return found, len(unread)

    async def _compare_once(self, traders: Sequence[LedgerTrader]) -> tuple[dict[str, Sequence[Difference]], set[int]]:
        known = [Known(each, standing(each)) for each in traders]
        rules = CompareRules(self.database.clock.now(), self.days, self.entitlement_id)
        reading = await PageReading.of(self.reads, rules, known)
        found: dict[str, Sequence[Difference]] = {}
        for each in known:
            if each.user in reading.unread:
                continue
            try:
                theirs = compare(each.trader, each.standing, reading.seen[each.user], rules)
            except Unreadable:
                reading.unread.add(each.user)
                continue
            if theirs:
                found[each.trader.trader_id] = theirs
        return found, reading.unread

    async def _write(
        self,
        run: ReconcileRun,
        found: Sequence[Difference],
        cursor: str | None,
        traders: int,
        unread: int,
        *,
        forget: Sequence[str] = (),
    ) -> None:
        calls = self.reads.calls

        async def work(connection: Connection) -> None:
            if forget:
                await reconcile_runs.forget(connection, run, forget)
            await reconcile_runs.write_page(
                connection,
                run,
                found,
                cursor=cursor,
                traders=traders,
                unread=unread,
                calls=calls - self._counted,
            )

        await self.database.atomically(work)
        self._counted = calls

    async def _keep(self, run: ReconcileRun) -> None:
        """Keeps the run for this command. Raises `RunTaken`."""
        while True:
            await asyncio.sleep(EXTEND_EVERY)
            await self.database.atomically(lambda connection: reconcile_runs.extend(connection, run))
