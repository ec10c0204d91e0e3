"""revokeTradingPermissions (DEMO), and the reads that tell what there is to revoke."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Never

from worker.replies import Absent, Domain, Done, Finding, Unknown
from worker.tradovate.operation import Item, Operation, Reader, Resend
from worker.tradovate.operations._shared import MOST, Rank, by_id, each, is_id, simple
from worker.tradovate.operations.accounts import accounts_by_name, permissions_on

_PATH = "/user/revoketradingpermissions"


def _nothing(*_: Any) -> Never:
    raise AssertionError("this operation only looks")


async def _find(reader: Reader, items: Sequence[Item]) -> Sequence[Finding]:
    """What permissions there are: on accounts by id (`_accounts`) and by name (`_name`), and by their own ids (`_ids`).

    Told as rows of permission, user, account and status, with the accounts that exist.
    """
    names = {item["_name"] for item in items if item["_name"] is not None}
    named = await accounts_by_name(reader, names) if names else {}
    wanted = {permission for item in items for permission in item["_ids"]}
    permissions = await by_id(reader, Domain.DEMO, "tradingPermission", wanted)

    async def one(item: Item) -> Finding:
        found = [permissions[each] for each in item["_ids"] if each in permissions]
        accounts = []
        by_name = [account.get("id") for account in named.get(item["_name"], ())]
        for account_id in [*item["_accounts"], *by_name]:
            on_it = await permissions_on(reader, account_id)
            if on_it is not None:
                accounts.append(account_id)
                found += on_it
        told = [[row.get("id"), row.get("userId"), row.get("accountId"), row.get("status")] for row in found]
        if not all(is_id(row[0]) for row in told) or not all(is_id(account_id) for account_id in accounts):
            return Unknown("a permission or an account without an id")
        return Done({"found": told, "accounts": accounts})

    return await each(items, one)


FIND_PERMISSIONS = Operation(
    name="revokeTradingPermissions@find",
    domain=Domain.DEMO,
    path=_PATH,
    rank=Rank.REVOCATION,
    most=1,
    resend=Resend.ALWAYS,  # it only looks, and is never sent
    maintenance=False,
    lingers=False,
    request=_nothing,
    results=_nothing,
    look_up=_find,
    reserve=True,
    look_most=10,  # an account takes a read of its own, and the first of them must not wait for a hundred others
)


def _request(items: Sequence[Item]) -> Mapping[str, Any]:
    ids = dict.fromkeys(permission for item in items for permission in item["tradingPermissionIds"])
    return {"tradingPermissionIds": list(ids)}


async def _look_up(reader: Reader, items: Sequence[Item]) -> Sequence[Finding]:
    """Revoked is revoked, by whoever."""
    wanted = {permission for item in items for permission in item["tradingPermissionIds"]}
    found = await by_id(reader, Domain.DEMO, "tradingPermission", wanted)

    def gone(permission: int) -> bool:
        return found.get(permission, {}).get("status") == "Revoked"

    return [Done() if all(map(gone, item["tradingPermissionIds"])) else Absent() for item in items]


REVOKE = Operation(
    name="revokeTradingPermissions",
    domain=Domain.DEMO,
    path=_PATH,
    rank=Rank.REVOCATION,
    most=MOST,  # permission ids a call; the vendor states no limit
    resend=Resend.AFTER_LOOK_UP,  # harmless to repeat, but the look tells at once whether the trader is out
    maintenance=False,
    lingers=False,
    request=_request,
    results=simple,
    look_up=_look_up,
    doubt_refusals=True,  # one that is revoked already may be refused
    reserve=True,
)
