"""createTradingPermission and requestTradingPermission (DEMO): a trader on an account that exists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker.replies import Absent, Domain, Done, Finding, Result, Unknown
from worker.tradovate.operation import Item, Operation, Reader, Resend, plain
from worker.tradovate.operations._shared import Rank, adopted, each, is_id, same_name
from worker.tradovate.operations.accounts import best_permission, permissions_of, permissions_on


def _request(items: Sequence[Item]) -> Mapping[str, Any]:
    return plain(items[0])


def _results(body: Any, items: Sequence[Item]) -> Sequence[Result]:
    permission = body.get("tradingPermission")
    permission_id = permission.get("id") if isinstance(permission, Mapping) else None
    if is_id(permission_id):
        return [Done({"tradingPermissionId": permission_id})] * len(items)
    return [Unknown("neither a trading permission nor an error")] * len(items)


async def _look_up(reader: Reader, items: Sequence[Item]) -> Sequence[Finding]:
    """By the user's permissions: a live one on that account is what was asked for."""
    permissions = await permissions_of(reader, {item["userId"] for item in items})
    findings: list[Finding] = []
    for item in items:
        live = [
            permission
            for permission in permissions.get(item["userId"], ())
            if permission.get("accountId") == item["accountId"]
            and permission.get("status") not in ("Revoked", "Declined")
            and is_id(permission.get("id"))
        ]
        findings.append(adopted(tradingPermissionId=best_permission(live)["id"]) if live else Absent())
    return findings


CREATE_PERMISSION = Operation(
    name="createTradingPermission",
    domain=Domain.DEMO,
    path="/user/createtradingpermission",
    rank=Rank.PERMISSION,
    most=1,
    resend=Resend.AFTER_LOOK_UP,  # a second one on the same account is not known to be refused
    maintenance=True,
    lingers=False,
    request=_request,
    results=_results,
    look_up=_look_up,
    doubt_refusals=True,
    joined=True,
)


async def _look_up_request(reader: Reader, items: Sequence[Item]) -> Sequence[Finding]:
    """By the account's permissions: one for that e-mail, requested or accepted, is what was asked for."""

    async def one(item: Item) -> Finding:
        for permission in await permissions_on(reader, item["accountId"]) or ():
            if (
                same_name(permission.get("ctaEmail"), item["ctaEmail"])
                and permission.get("status") not in ("Revoked", "Declined")
                and is_id(permission.get("id"))
            ):
                return adopted(tradingPermissionId=permission["id"])
        return Absent()

    return await each(items, one)


REQUEST_PERMISSION = Operation(
    name="requestTradingPermission",
    domain=Domain.DEMO,
    path="/user/requesttradingpermission",
    rank=Rank.PERMISSION,
    most=1,
    resend=Resend.AFTER_LOOK_UP,  # a second request is not known to be refused
    maintenance=True,
    lingers=False,
    request=_request,
    results=_results,
    look_up=_look_up_request,
    doubt_refusals=True,
    look_most=10,  # an account takes a read of its own
)
