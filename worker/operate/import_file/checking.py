"""Whether lines are what Tradovate says: the user exists, the account exists, its trading permission is that user's.

A hundred of each a call: users by name, accounts by name, trading permissions by user. What has an id is proven by the
permission that is found; only lines that are not right are asked about one by one, to say what is wrong with them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from schemas.permission_status import PERMISSION_ENDED
from worker.engine.imported import Given, Holding
from worker.operate.partner_reader import ByName, Dependents, PartnerReader, Row, Unreadable
from worker.operate.reads_ended import ReadsEnd, ReadsEnded
from worker.partner.operation import Reader
from worker.partner.operations.accounts import permissions_on
from worker.partner.read_errors import NotPermitted
from worker.partner.single_reads import folded, is_id
from worker.replies import Domain

Checked = Holding | str
"""A line that is proven, or why it is refused."""

ASKED_ABOUT = 200
"""Lines of a run of which it is asked whose the account's trading permission is: one call each. It makes a sentence
better; a file that is wrong as a whole must not use up the budget for that."""


@dataclass(slots=True)
class Checks:
    """Checks lines, one run of `import` long."""

    reader: PartnerReader
    _left: int = ASKED_ABOUT

    async def check(self, lines: Sequence[Given]) -> list[Checked]:
        """Of each line what Tradovate says. Raises `ReadsEnded`; `DatabaseError`."""
        by_name = await self._named(
            self.reader.users_by_name, (line.user_name for line in lines if line.user_name is not None)
        )
        users = [_user(line, by_name) for line in lines]
        accounts = await self._named(
            self.reader.accounts_by_name,
            (
                line.account_name
                for line, user in zip(lines, users, strict=True)
                if line.account_name is not None and not isinstance(user, str)
            ),
        )
        # A name proves its user; a user who is named by id alone is proven by what they have.
        asked = {
            user.id
            for line, user in zip(lines, users, strict=True)
            if not isinstance(user, str) and (line.has_account or not user.proven)
        }
        permissions = await self._of_users(Domain.DEMO, "tradingPermission", asked)
        by_id_alone = {user.id for user in users if isinstance(user, _User) and not user.proven}
        there = await self._there({user: permissions[user] for user in by_id_alone})
        return [
            user if isinstance(user, str) else await self._line(line, user, accounts, permissions, there)
            for line, user in zip(lines, users, strict=True)
        ]

    async def _named(self, read: Callable[[Iterable[str]], Awaitable[ByName]], names: Iterable[str]) -> ByName:
        wanted = list(names)
        return await read(wanted) if wanted else {}

    async def _of_users(self, domain: Domain, entity: str, users: set[int]) -> Dependents:
        found = await self.reader.of_users(domain, entity, sorted(users)) if users else {}
        if len(found) > 1 and all(isinstance(rows, NotPermitted) for rows in found.values()):
            raise ReadsEnded(ReadsEnd.NOT_PERMITTED, str(next(iter(found.values()))))
        return found

    async def _there(self, permissions: Dependents) -> Mapping[int, bool | str]:
        """Of users of whom no trading permission was found: whether they are there; a text: why that is not known.

        A 401 about each of them does not end the run: they may be another organization's, all of them.
        """
        left = _without(permissions)
        subscriptions = await self.reader.of_users(Domain.LIVE, "tradovateSubscription", left) if left else {}
        left = _without(subscriptions)
        found = await self.reader.by_id(Domain.LIVE, "user", left) if left else {}
        return {user: _said(user, found.get(user)) for user in left}

    async def _line(
        self,
        line: Given,
        user: _User,
        accounts: ByName,
        permissions: Dependents,
        there: Mapping[int, bool | str],
    ) -> Checked:
        said = True if user.proven else there.get(user.id, True)
        if said is not True:
            return said or f"User {user.id} is not known to Tradovate, or is another organization's."
        if not line.has_account:
            return Holding(line, user.id, user.name)
        held = permissions[user.id]
        if isinstance(held, Unreadable):
            return _cannot_be_read(user.id, held)
        rows = [] if line.account_name is None else accounts.get(folded(line.account_name), [])
        if isinstance(rows, Unreadable):
            return f"Account {line.account_name} cannot be read: {rows}."
        wanted = {row["id"] for row in rows if is_id(row.get("id"))}
        if line.account_name is not None and not wanted:
            hint = ", which follows from orderId; give accountId or accountName" if line.derived else ""
            return f"Account {line.account_name} is not known to Tradovate{hint}."
        if line.account_id is not None:
            if wanted and line.account_id not in wanted:
                return f"Account {line.account_name} is {min(wanted)} at Tradovate, not {line.account_id}."
            wanted = {line.account_id}
        theirs = [row for row in held if row.get("accountId") in wanted]
        if theirs:
            return _held(line, user, rows, theirs)
        return await self._why_not(user.id, min(wanted), known=bool(rows))

    async def _why_not(self, user: int, account: int, *, known: bool) -> str:
        """Why an account is not the user's, as far as can be said."""
        if self._left <= 0:
            return f"Account {account} is not known, or user {user} has no trading permission on it."
        self._left -= 1
        if not known and not await self.reader.by_id(Domain.DEMO, "account", [account]):
            return f"Account {account} is not known to Tradovate, or is another organization's."

        async def owners(reader: Reader) -> Sequence[int]:
            try:
                on_it = await permissions_on(reader, account) or ()
            except Unreadable:
                return ()  # the sentence is true without it
            return [row["userId"] for row in on_it if row.get("status") not in PERMISSION_ENDED and row.get("userId")]

        others = [other for other in await self.reader.read(owners) if other != user]
        if others:
            return f"The trading permission on account {account} is another user's ({others[0]}), not user {user}'s."
        return f"User {user} has no trading permission on account {account}."


def _held(line: Given, user: _User, accounts: Sequence[Row], permissions: Sequence[Row]) -> Checked:
    """A line by the trading permissions that its user has on the account. What one does not say is not guessed."""
    if not all(is_id(row.get("id")) and isinstance(row.get("status"), str) for row in permissions):
        return f"User {user.id} cannot be read: Tradovate shows a trading permission without its id or its status."
    usable = [row for row in permissions if row["status"] not in PERMISSION_ENDED]
    if usable:
        best = max(usable, key=lambda row: row["id"])
        name = next((str(row["name"]) for row in accounts if row["id"] == best["accountId"]), None)
        return Holding(line, user.id, user.name, best["accountId"], name, best["id"])
    ended = max(permissions, key=lambda row: row["id"])
    return f"Trading permission {ended['id']} on account {ended['accountId']} is {ended['status']}."


@dataclass(frozen=True, slots=True)
class _User:
    id: int
    name: str | None = None
    proven: bool = False  # found by its name


def _user(line: Given, by_name: ByName) -> _User | str:
    """The user of a line; a text: why there is none."""
    if line.user_name is None:
        assert line.user_id is not None
        return _User(line.user_id)
    named = by_name.get(folded(line.user_name), [])
    if isinstance(named, Unreadable):
        return f"userName cannot be read at Tradovate: {named}."
    ids = {row["id"] for row in named if is_id(row.get("id"))}
    if not ids:
        return "userName is not known to Tradovate, or is another organization's."
    if line.user_id is not None:
        if line.user_id not in ids:
            return f"userName is user {min(ids)} at Tradovate, not {line.user_id}."
        return _User(line.user_id, line.user_name, proven=True)
    if len(ids) > 1:
        return f"userName is the name of several users at Tradovate ({', '.join(map(str, sorted(ids)))}): give userId."
    return _User(ids.pop(), line.user_name, proven=True)


def _without(found: Dependents) -> Sequence[int]:
    """Users of whom no row was found, which of somebody who cannot be read says nothing."""
    return sorted(user for user, rows in found.items() if isinstance(rows, Unreadable) or not rows)


def _said(user: int, row: Row | Unreadable | None) -> bool | str:
    return _cannot_be_read(user, row) if isinstance(row, Unreadable) else row is not None


def _cannot_be_read(user: int, why: Unreadable) -> str:
    # A 401 is also the answer about an id of another firm.
    hint = ", or the user is another organization's" if isinstance(why, NotPermitted) else ""
    return f"User {user} cannot be read: {why}{hint}."
