"""createEvaluationUsers (LIVE): up to 100 new users a call; a name that is taken is looked up, never made twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker.replies import Absent, Domain, Done, Finding, Refused, Result, Unknown
from worker.tradovate.operation import Item, Operation, Reader, Resend, plain
from worker.tradovate.operations._shared import MOST, Rank, adopted, each, find, is_id, per_item, read, same_name

_LIST_FROM = 6
"""From so many names on, one `user/list` is asked in place of a `user/find` each. The list is the partner's only bulk
read of users and holds the whole organization, so it is not asked for a handful."""


def _request(items: Sequence[Item]) -> Mapping[str, Any]:
    return {"users": [plain(item) for item in items]}


def _one(result: Mapping[str, Any], _item: Item) -> Result:
    user_id = result.get("userId")
    return Done({"userId": user_id}) if is_id(user_id) else Unknown("neither a user id nor an error")


def _results(body: Any, items: Sequence[Item]) -> Sequence[Result]:
    return per_item(body, items, _one)


async def _look_up(reader: Reader, items: Sequence[Item]) -> Sequence[Finding]:
    """By login name, in bulk when there are many; ours is the one with the same e-mail (contract 5.2)."""
    listed = await read(reader, Domain.LIVE, "/user/list") if len(items) >= _LIST_FROM else None
    # A list without anybody may be all that we are shown: it is believed when it is right about one name.
    if listed or (listed is not None and await find(reader, Domain.LIVE, "user", items[0]["name"]) is None):
        by_name = {str(user.get("name", "")).strip().lower(): user for user in listed}
        return [_whose(by_name.get(item["name"].strip().lower()), item) for item in items]

    async def one(item: Item) -> Finding:
        return _whose(await find(reader, Domain.LIVE, "user", item["name"]), item)

    return await each(items, one)


def _whose(user: Mapping[str, Any] | None, item: Item) -> Finding:
    if user is None:
        return Absent()
    if not is_id(user.get("id")) or not isinstance(user.get("email"), str):
        return Unknown("a user without id or e-mail")
    if same_name(user["email"], item["email"]):
        return adopted(userId=user["id"])
    return Refused("The user name is taken at Tradovate by a user with another e-mail.", "conflict")


CREATE_USERS = Operation(
    name="createEvaluationUsers",
    domain=Domain.LIVE,
    path="/user/createevaluationusers",
    rank=Rank.USER,
    most=MOST,
    resend=Resend.AFTER_LOOK_UP,  # not idempotent: the second send is refused, or makes a second user
    maintenance=True,
    lingers=True,
    feeds=("createEvaluationAccounts",),
    request=_request,
    results=_results,
    look_up=_look_up,
    doubt_refusals=True,
)
