"""Look-ups of many users and accounts at once, whatever the partner's bulk reads answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.support.reader import FakeReader, look
from worker.replies import Absent, Done, NotExecuted
from worker.tradovate.operations import OPERATIONS

USERS = OPERATIONS["createEvaluationUsers"]
ACCOUNTS = OPERATIONS["createEvaluationAccounts"]

THERE = [{"id": 100 + n, "name": f"EVAL{n}"} for n in range(100)]
GONE = NotExecuted("", 404)


def user(number: int) -> dict[str, Any]:
    return {"name": f"user{number}", "email": f"user{number}@example.com"}


def account(number: int) -> dict[str, Any]:
    return {"name": f"EVAL{number}", "userId": number, "_derived": True}


@pytest.mark.parametrize("listed", [[], None, {}])
async def test_a_list_of_nobody_is_believed_when_it_is_right_about_one(listed: Any) -> None:
    """A hundred users of whom none is there cost two calls, though the list is empty."""
    reader = FakeReader({"/user/list": listed})
    assert await look(USERS, reader, *map(user, range(100))) == [Absent()] * 100
    assert [path for path, _ in reader.asked] == ["/user/list", "/user/find"]


async def test_a_list_that_hides_users_is_not_believed() -> None:
    """A list that is empty though a user of that name is there tells nothing: each is asked about."""

    def find(query: Mapping[str, Any]) -> Any:
        return {"id": 7, **user(int(str(query["name"])[4:]))}

    found = await look(USERS, FakeReader({"/user/list": [], "/user/find": find}), *map(user, range(10)))
    assert all(isinstance(each, Done) for each in found)


def finds(form: str, rows: list[dict[str, Any]], nothing: Any) -> Callable[[Mapping[str, Any]], Any]:
    """`account/finds` that takes names in one form only, or none."""

    def answer(query: Mapping[str, Any]) -> Any:
        names = query["names"]
        if form == "gone":
            return nothing
        asked = str(names).split(",") if form == "commas" and isinstance(names, str) else list(names)
        found = [row for row in rows if row["name"] in asked] if form == "commas" or isinstance(names, list) else []
        return found or nothing

    return answer


def find(rows: list[dict[str, Any]]) -> Callable[[Mapping[str, Any]], Any]:
    """`account/find`."""
    return lambda query: next((row for row in rows if row["name"] == query["name"]), GONE)


@pytest.mark.parametrize("nothing", [[], GONE])
@pytest.mark.parametrize(("form", "calls"), [("commas", 1), ("repeats", 3), ("gone", 102)])
async def test_accounts_that_are_there_are_found(form: str, calls: int, nothing: Any) -> None:
    """However the bulk read takes names, and if there is none: all accounts are found, in as few calls as it allows."""
    permissions = [{"id": 500 + n, "accountId": 100 + n, "userId": n, "status": "Accepted"} for n in range(100)]
    reader = FakeReader(
        {
            "/account/finds": finds(form, THERE, nothing),
            "/account/find": find(THERE),
            "/tradingPermission/ldeps": permissions,
        }
    )
    found = await look(ACCOUNTS, reader, *map(account, range(100)))
    assert [each.value["tradingPermissionId"] for each in found] == [500 + n for n in range(100)]
    assert len([path for path, _ in reader.asked if path.startswith("/account/")]) == calls


@pytest.mark.parametrize("nothing", [[], GONE])
@pytest.mark.parametrize("form", ["commas", "repeats", "gone"])
async def test_accounts_that_are_not_there_cost_two_calls(form: str, nothing: Any) -> None:
    """A hundred names that nobody has: one bulk read, and one name by itself to be sure of that."""
    reader = FakeReader({"/account/finds": finds(form, [], nothing)})
    assert await look(ACCOUNTS, reader, *map(account, range(100))) == [Absent()] * 100
    assert [path for path, _ in reader.asked] == ["/account/finds", "/account/find"]


async def test_an_own_permission_is_seen_though_the_bulk_read_hides_it() -> None:
    """The account's own list of permissions tells whose it is when the users' lists say nothing."""
    reader = FakeReader(
        {
            "/account/find": THERE[0],
            "/tradingPermission/deps": [],
            "/user/getaccounttradingpermissions": {
                "tradingPermissions": [{"id": 9, "userId": 0, "status": "Accepted"}, {"id": 8, "userId": 5}]
            },
        }
    )
    (found,) = await look(ACCOUNTS, reader, account(0))
    assert (found.value["accountId"], found.value["tradingPermissionId"]) == (100, 9)
