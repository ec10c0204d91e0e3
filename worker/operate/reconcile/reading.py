"""Reads of what Tradovate has of many traders: as few calls as the comparison needs, a hundred users in each.

Nothing is listed. Trading permissions and entitlements are read of every user; subscriptions only of those who have no
trading permission, and no more of them once one is found that renews. Accounts are looked for by name, and by id where
the name finds nothing. A user of whom nothing was found is looked for by id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from worker.ledger.reconcile_view import LedgerTrader
from worker.operate.reconcile.compare import (
    PERMISSION,
    PLUGIN,
    SUBSCRIPTIONS,
    CompareRules,
    Row,
    Tradovate,
    may_be_billed,
    renewing,
)
from worker.operate.reconcile.standing import Grant, TraderStanding
from worker.partner.read_errors import Unreadable
from worker.partner.single_reads import folded
from worker.replies import Domain


class Reads(Protocol):
    """Bulk reads within the shared budget (`operate/partner_reader.py`); each may wait for long.

    `may_list`: whether the whole organization may be listed where there is no bulk read.
    """

    may_list: bool

    @property
    def calls(self) -> int:
        """How many calls were made."""
        ...

    async def accounts_by_name(self, names: Iterable[str]) -> Mapping[str, Sequence[Row] | Unreadable]:
        """Accounts of DEMO by `folded` name; what is not there is left out."""
        ...

    async def by_id(self, domain: Domain, entity: str, ids: Iterable[int]) -> Mapping[int, Row | Unreadable]:
        """Entities by id; what is not there is left out."""
        ...

    async def of_users(
        self, domain: Domain, entity: str, users: Iterable[int]
    ) -> Mapping[int, Sequence[Row] | Unreadable]:
        """What each user has, or why it could not be read."""
        ...

    @property
    def one_by_one(self) -> bool:
        """Whether it has been seen that what users have is read of one user a call."""
        ...

    async def listed(self, domain: Domain, entity: str) -> Sequence[Row]:
        """All of the organization's."""
        ...


@dataclass(frozen=True, slots=True)
class Known:
    """A trader as the ledger has it, and what follows from that."""

    trader: LedgerTrader
    standing: TraderStanding

    @property
    def user(self) -> int:
        """The trader's user at Tradovate."""
        return self.trader.user_id


_SEVERAL = 2
"""Users of whom it is seen whether a bulk read takes several."""


async def try_bulk(reads: Reads, known: Sequence[Known]) -> bool:
    """Whether trading permissions of several users can be read in one call: one call, where they can."""
    users = [each.user for each in known if each.standing.active][:_SEVERAL]
    if len(users) == _SEVERAL:
        await reads.of_users(Domain.DEMO, PERMISSION, users)
    return not reads.one_by_one


@dataclass(slots=True)
class PageReading:
    """What Tradovate has of the users of one page of traders. `unread`: users of whom something could not be read."""

    reads: Reads
    rules: CompareRules
    seen: dict[int, Tradovate]
    unread: set[int]

    @classmethod
    async def of(cls, reads: Reads, rules: CompareRules, known: Sequence[Known]) -> PageReading:
        """Reads what the comparison of these traders needs."""
        made = cls(reads, rules, {each.user: Tradovate() for each in known}, set())
        trades = next((each.user for each in known if each.standing.active), None)
        signed = next((each.user for each in known if each.standing.active and each.standing.signed), None)
        await made._read(Domain.DEMO, PERMISSION, made.seen, likely=trades)
        await made._read(Domain.LIVE, PLUGIN, made.seen, likely=signed)
        await made._bills(known)
        await made._users(known)
        await made._accounts(known)
        return made

    async def _read(self, domain: Domain, entity: str, users: Iterable[int], *, likely: int | None = None) -> None:
        """`likely`: a user who should have some. If nobody has, and this one has when asked for alone, the bulk read
        does not understand several users: each is asked for alone.
        """
        wanted = [user for user in users if user not in self.unread]
        if not wanted:
            return
        found = dict(await self.reads.of_users(domain, entity, wanted))
        if likely in wanted and len(wanted) > 1 and not _some(found):
            alone = await self.reads.of_users(domain, entity, [likely])
            if _some(alone):
                for user in wanted:
                    found |= await self.reads.of_users(domain, entity, [user])
        for user, rows in found.items():
            if isinstance(rows, Unreadable):
                self.unread.add(user)
            else:
                self.seen[user].rows[entity] = rows

    async def _bills(self, known: Sequence[Known]) -> None:
        """Subscriptions of users who seem to need none; and whether they have a trading permission on LIVE."""
        maybe = [each.user for each in known if may_be_billed(each.standing, self.seen[each.user])]
        billed = [user for user in maybe if self._renews(user, PLUGIN)]
        for entity in SUBSCRIPTIONS:
            left = [user for user in maybe if user not in billed]
            await self._read(Domain.LIVE, entity, left)
            billed += [user for user in left if self._renews(user, entity)]
        billed = [user for user in billed if user not in self.unread]
        if not billed:
            return
        for user, rows in (await self.reads.of_users(Domain.LIVE, PERMISSION, billed)).items():
            if isinstance(rows, Unreadable):
                self.unread.add(user)
            else:
                self.seen[user].live = rows

    def _renews(self, user: int, entity: str) -> bool:
        if user in self.unread:
            return False
        try:
            return renewing(self.seen[user], entity, self.rules.today)
        except Unreadable:
            self.unread.add(user)
            return False

    async def _users(self, known: Sequence[Known]) -> None:
        """Users of whom there is nothing at all, though the ledger has an active account of theirs."""
        wanted = [
            each.user
            for each in known
            if each.standing.active and each.user not in self.unread and not any(self.seen[each.user].rows.values())
        ]
        if not wanted:
            return
        found = await self.reads.by_id(Domain.LIVE, "user", wanted)
        for user in wanted:
            self.seen[user].user_gone = user not in found
            if isinstance(found.get(user), Unreadable):
                self.unread.add(user)

    async def _accounts(self, known: Sequence[Known]) -> None:
        wanted = {
            grant.account_id: (each.user, grant)
            for each in known
            if each.user not in self.unread and not self.seen[each.user].user_gone
            for grant in each.standing.active
        }
        named: dict[str, int] = {}
        by_id: set[int] = set()
        for account_id, (user, grant) in wanted.items():
            if grant.account_name is not None:
                named[grant.account_name] = account_id
            elif not self.seen[user].on(account_id):
                by_id.add(account_id)
        rows: dict[int, Row] = {}
        if named:
            by_name = await self.reads.accounts_by_name(named)
            for name, account_id in named.items():
                found = by_name.get(folded(name), ())
                if not isinstance(found, Unreadable):
                    rows |= {row["id"]: row for row in found if row.get("id") == account_id}
            by_id |= set(named.values()) - set(rows)  # also those whose name could not be read
        await self._accounts_by_id(wanted, rows, by_id)

    async def _accounts_by_id(
        self, wanted: Mapping[int, tuple[int, Grant]], rows: Mapping[int, Row], by_id: set[int]
    ) -> None:
        """Accounts that no name has found: that one is not there is believed of its id alone."""
        found: Mapping[int, Any] = await self.reads.by_id(Domain.DEMO, "account", by_id) if by_id else {}
        for account_id, (user, _) in wanted.items():
            row = rows.get(account_id) or found.get(account_id)
            if isinstance(row, Unreadable):
                self.unread.add(user)
            elif row is None and account_id in by_id:
                self.seen[user].gone.add(account_id)
            elif row is not None and archived(row):
                self.seen[user].archived.add(account_id)


def _some(found: Mapping[int, Sequence[Row] | Unreadable]) -> bool:
    """Whether one of these users is seen to have some."""
    return any(rows for rows in found.values() if not isinstance(rows, Unreadable))


def archived(account: Row) -> bool:
    """Whether Tradovate has archived or closed an account: nobody trades on it."""
    return account.get("archived") is True or account.get("closed") is True or account.get("active") is False
