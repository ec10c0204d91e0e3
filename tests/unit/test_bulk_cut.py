"""Answers to bulk reads that hold fewer than what was asked for, and do not say so: nobody is taken for absent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from tests.support.reader import FakeReader, look
from worker.partner.bulk_reads import by_names, dependents
from worker.partner.operations import OPERATIONS
from worker.replies import Domain, Misdirected
from worker.results import NotExecuted, Succeeded

Rows = Sequence[dict[str, Any]]
Cut = Callable[[Rows], Rows]
"""What is left of the rows of an answer, which are in the order in which they were asked for."""

CUTS: Mapping[str, Cut] = {
    "the first ten": lambda rows: rows[:10],
    "the last ten": lambda rows: rows[-10:],
    "the ten oldest": lambda rows: sorted(rows, key=lambda row: row["id"])[:10],
    "the ten newest": lambda rows: sorted(rows, key=lambda row: row["id"])[-10:],
    "the first thirty": lambda rows: rows[:30],
    "the thirty oldest": lambda rows: sorted(rows, key=lambda row: row["id"])[:30],
    "a hundred": lambda rows: rows[:100],
}


def plugins(users: int, each: int) -> Rows:
    """So many for each user, made month after month: the ids of one month are lower than those of the next."""
    return [
        {"id": month * 1000 + user, "userId": user, "entitlementId": month, "approval": True}
        for month in range(1, each + 1)
        for user in range(1, users + 1)
    ]


def of_many(rows: Rows, cut: Cut, masters: int = 1000) -> FakeReader:
    """Reads by user; the bulk read is cut, and looks at so many of the users that it is asked about."""

    def theirs(users: Sequence[int]) -> Rows:
        return [row for user in users for row in rows if row["userId"] == user]

    def bulk(query: Mapping[str, Any]) -> Rows:
        return cut(theirs([int(each) for each in str(query["masterids"]).split(",")][:masters]))

    return FakeReader({"/userPlugin/ldeps": bulk, "/userPlugin/deps": lambda query: theirs([query["masterid"]])})


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("without", [0, 1, 40])
@pytest.mark.parametrize("users", [2, 9, 30, 100])
async def test_all_that_each_user_has_is_found(users: int, without: int, each: int, cut: str) -> None:
    """However the partner cuts its answers; the second time with what the first one has shown."""
    rows = [row for row in plugins(users, each) if row["userId"] % 50 >= without]
    reader = of_many(rows, CUTS[cut])
    for _ in range(2):
        found = await dependents(reader, Domain.LIVE, "userPlugin", range(1, users + 1))
        had = Counter({user: len(theirs) for user, theirs in found.items() if isinstance(theirs, list) and theirs})
        assert had == Counter(row["userId"] for row in rows)
        assert set(found) == set(range(1, users + 1))


@pytest.mark.parametrize("masters", [1, 2, 10, 30])
async def test_a_bulk_read_that_looks_at_some_of_the_users_is_seen(masters: int) -> None:
    """Also after answers that held all, for fewer users."""
    rows = [row for row in plugins(100, 1) if row["userId"] % 7]
    reader = of_many(rows, lambda whole: whole, masters)
    for users in (5, 100, 30, 100):
        found = await dependents(reader, Domain.LIVE, "userPlugin", range(1, users + 1))
        assert [user for user, theirs in found.items() if not theirs] == [*range(7, users + 1, 7)]


async def test_whole_answers_cost_no_read_more_in_the_long_run() -> None:
    """The first answers show how long they may be; then one read is enough for a hundred users, some without rows."""
    reader = of_many([row for row in plugins(100, 3) if row["userId"] % 25], lambda rows: rows)
    spent = []
    for users in (range(1, 101), range(2, 101), range(1, 90), range(3, 50)):
        before = len(reader.asked)
        await dependents(reader, Domain.LIVE, "userPlugin", users)
        spent.append(len(reader.asked) - before)
    assert spent == [4, 1, 1, 1]


async def test_users_who_still_have_something_have_not_left() -> None:
    """A departure of thirty is verified by an answer that holds ten."""
    cancel = OPERATIONS["cancelEverything@demo"]
    rows = [{"id": 500 + n, "userId": n, "accountId": 100 + n, "status": "Approved"} for n in range(1, 31)]

    def deps(query: Mapping[str, Any]) -> Rows:
        asked = str(query.get("masterids", query.get("masterid"))).split(",")
        return [row for row in rows if str(row["userId"]) in asked][:10]

    reader = FakeReader({"/tradingPermission/ldeps": deps, "/tradingPermission/deps": deps})
    assert await look(cancel, reader, *({"userId": n} for n in range(1, 31))) == [NotExecuted()] * 30


NAMES = [f"EVAL{n}" for n in range(100)]


def by_name(there: Sequence[int], cut: Cut, *, repeated: bool) -> FakeReader:
    """Reads of accounts by name; the bulk read is cut, and takes the names joined or repeated."""
    rows = {f"EVAL{n}": {"id": 200 - n, "name": f"EVAL{n}"} for n in there}

    def bulk(query: Mapping[str, Any]) -> Rows:
        names = query["names"]
        asked = (names.split(",") if not repeated else [names]) if isinstance(names, str) else list(names) * repeated
        return cut([rows[name] for name in asked if name in rows])

    return FakeReader(
        {
            "/account/finds": bulk,
            "/account/find": lambda query: rows.get(query["name"], Misdirected("", 404)),
        }
    )


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("there", [range(100), range(0, 100, 3), range(90, 100), range(0)])
async def test_every_name_that_is_there_is_found(there: range, repeated: bool, cut: str) -> None:
    """An account that is there and taken for absent would be made a second time."""
    reader = by_name(there, CUTS[cut], repeated=repeated)
    for _ in range(2):
        found = await by_names(reader, Domain.DEMO, "account", NAMES)
        assert sorted(name for name, rows in found.items() if rows) == sorted(f"eval{n}" for n in there)


async def test_a_cut_answer_costs_reads_and_no_second_account() -> None:
    """Thirty accounts of which ten are answered: all are found, in a few reads."""
    create = OPERATIONS["createEvaluationAccounts"]
    reader = by_name(range(30), CUTS["the first ten"], repeated=False)
    permissions = [{"id": 500 + n, "userId": n + 1, "accountId": 200 - n, "status": "Approved"} for n in range(30)]

    def many(query: Mapping[str, Any]) -> Rows:
        return [row for row in permissions if str(row["userId"]) in query["masterids"].split(",")]

    answers = {"/tradingPermission/ldeps": many, "/account/item": {"id": 3, "name": "TEMPLATE"}}
    reader.answers = {**reader.answers, **answers}
    items = [
        {"name": name, "userId": n + 1, "templateAccountId": 3, "_derived": name} for n, name in enumerate(NAMES[:30])
    ]
    assert [type(each) for each in await look(create, reader, *items)] == [Succeeded] * 30
    assert len(reader.paths) <= 8
