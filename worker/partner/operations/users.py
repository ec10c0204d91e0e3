"""createEvaluationUsers (LIVE): up to 100 new users a call; a name that is taken is looked up, never made twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.outcomes import ErrorCode
from worker.partner.bulk_reads import by_names
from worker.partner.operation import Batching, Item, Limits, Operation, Reader, Recovery, Resend, Response, plain
from worker.partner.operations._shared import MOST, Rank, adopted, nothing, per_item, verified
from worker.partner.read_errors import Unreadable
from worker.partner.single_reads import Row, folded, is_id, same_name
from worker.replies import Domain
from worker.results import NotExecuted, Rejected, Result, Succeeded, Unknown


def _request(items: Sequence[Item]) -> Mapping[str, Any]:
    return {"users": [plain(item) for item in items]}


def _one(result: Mapping[str, Any], _item: Item) -> Result:
    user_id = result.get("userId")
    return Succeeded({"userId": user_id}) if is_id(user_id) else Unknown("neither a user id nor an error")


def _results(body: Mapping[str, Any], items: Sequence[Item]) -> Sequence[Result]:
    return per_item(body, items, _one, ("userId",))


async def _look_up(reader: Reader, items: Sequence[Item]) -> Sequence[Result]:
    """By login name, in bulk for several; ours is the one with the same e-mail (README, "What happens when")."""
    by_name = await by_names(reader, Domain.LIVE, "user", (item["name"] for item in items))
    return [_whose(by_name.get(folded(item["name"]), ()), item) for item in items]


def _whose(users: Sequence[Row] | Unreadable, item: Item) -> Result:
    if isinstance(users, Unreadable):
        return Unknown(str(users))
    if not users:
        return NotExecuted()
    mails = [user.get("email") for user in users]
    for user, mail in zip(users, mails, strict=True):
        if same_name(mail, item["email"]):
            return adopted(userId=user["id"])
    if not all(isinstance(mail, str) and mail.strip() for mail in mails):
        return Unknown("a user of that name without an e-mail")
    return Rejected("The user name is taken at Tradovate by a user with another e-mail.", ErrorCode.CONFLICT)


CREATE_USERS = Operation(
    name="createEvaluationUsers",
    domain=Domain.LIVE,
    path="/user/createevaluationusers",
    request=_request,
    response=Response({"results": list}, _results),
    batching=Batching(most=MOST, lingers=True, feeds=("createEvaluationAccounts",)),
    recovery=Recovery(
        resend=Resend.AFTER_LOOK_UP,  # not idempotent: the second send is refused, or makes a second user
        needs=nothing,
        look_up=_look_up,
        rejection=verified,
    ),
    limits=Limits(rank=Rank.USER, maintenance=True),
)
