"""createTradingPermission (DEMO, and LIVE after a graduation) and requestTradingPermission (DEMO): a trader on an
account that exists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from schemas.permission_status import PERMISSION_ENDED, PERMISSION_LIVE
from worker.partner.bulk_reads import dependents, readable
from worker.partner.operation import (
    Batching,
    Entity,
    Item,
    Limits,
    Operation,
    Reader,
    Recovery,
    Resend,
    Response,
    plain,
)
from worker.partner.operations._shared import Rank, account, adopted, alike, each, user, verified
from worker.partner.operations.accounts import best_permission, permissions_on
from worker.partner.single_reads import Row, is_id, same_name
from worker.replies import Domain
from worker.results import NotExecuted, Result, Succeeded, Unknown


def _request(items: Sequence[Item]) -> Mapping[str, Any]:
    return plain(items[0])


def _made(*same: str) -> Callable[[Mapping[str, Any], Sequence[Item]], Sequence[Result]]:
    """Reads a TradingPermissionResponse: a permission that is the one asked for in the fields `same`, and lives."""

    def results(body: Mapping[str, Any], items: Sequence[Item]) -> Sequence[Result]:
        permission = body["tradingPermission"]
        if not alike(permission, **{name: items[0][name] for name in same}) or not is_id(permission.get("id")):
            return [Unknown("a trading permission that is not the one asked for")] * len(items)
        if permission.get("status") not in (None, *PERMISSION_LIVE):
            return [Unknown("a trading permission that is not in force")] * len(items)
        return [Succeeded({"tradingPermissionId": permission["id"]})] * len(items)

    return results


def _found(permissions: Sequence[Row], item: Item) -> Result:
    """What the permissions that could be it come to.

    A live one is what was asked for; one whose status says nothing proves nothing. One that has ended is it as well, if
    it was not there before the call: it was made, and revoked since. It must not be made a second time.
    """
    ended = [row for row in permissions if row.get("status") in PERMISSION_ENDED]
    left = [row for row in permissions if row not in ended]
    if left:
        best = best_permission(left)
        if best.get("status") not in PERMISSION_LIVE:
            return Unknown(f"a trading permission with the status {best.get('status')}")
        return adopted(tradingPermissionId=best["id"])
    made = [row for row in ended if row["id"] not in item.get("_others", ())]
    if item.get("_sent") and made:
        best = best_permission(made)
        return adopted(tradingPermissionId=best["id"], permissionStatus=best["status"])
    return NotExecuted(others=tuple(sorted(row["id"] for row in ended)))


def _create(name: str, domain: Domain) -> Operation:
    def needs(item: Item) -> Sequence[Entity]:
        return (*account(item, domain), *user(item))

    async def look_up(reader: Reader, items: Sequence[Item]) -> Sequence[Result]:
        """By the user's permissions on that account, on that domain: numbers of the other one may be equal."""
        permissions = await dependents(reader, domain, "tradingPermission", {item["userId"] for item in items})

        async def one(item: Item) -> Result:
            own = readable(permissions[item["userId"]])
            return _found([row for row in own if row.get("accountId") == item["accountId"]], item)

        return await each(items, one)

    return Operation(
        name=name,
        domain=domain,
        path="/user/createtradingpermission",
        request=_request,
        response=Response({"tradingPermission": dict}, _made("accountId", "userId")),
        batching=Batching(joined=True),
        recovery=Recovery(
            resend=Resend.AFTER_LOOK_UP,  # a second one on the same account is not known to be refused
            needs=needs,
            look_up=look_up,
            rejection=verified,
        ),
        limits=Limits(rank=Rank.PERMISSION, maintenance=True),
    )


CREATE_PERMISSION = _create("createTradingPermission", Domain.DEMO)
CREATE_PERMISSION_LIVE = _create("createTradingPermission@live", Domain.LIVE)


async def _look_up_request(reader: Reader, items: Sequence[Item]) -> Sequence[Result]:
    """By the account's permissions: one for that e-mail, requested or accepted, is what was asked for."""

    async def one(item: Item) -> Result:
        on_it = await permissions_on(reader, item["accountId"]) or ()
        found = _found([row for row in on_it if same_name(row.get("ctaEmail"), item["ctaEmail"])], item)
        unnamed = [row for row in on_it if not isinstance(row.get("ctaEmail"), str)]
        if unnamed and isinstance(found, NotExecuted):
            return Unknown("a trading permission that does not say for whom it is")  # the vendor requires `ctaEmail`
        return found

    return await each(items, one)


REQUEST_PERMISSION = Operation(
    name="requestTradingPermission",
    domain=Domain.DEMO,
    path="/user/requesttradingpermission",
    request=_request,
    response=Response({"tradingPermission": dict}, _made("accountId")),
    batching=Batching(
        look_up_most=10,  # an account takes a read of its own
    ),
    recovery=Recovery(
        resend=Resend.AFTER_LOOK_UP,  # a second request is not known to be refused
        needs=account,
        look_up=_look_up_request,
        rejection=verified,
    ),
    limits=Limits(rank=Rank.PERMISSION, maintenance=True),
)
