"""revokeTradingPermissions (DEMO), and the reads that tell what there is to revoke."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Never

from schemas.permission_status import PERMISSION_ENDED
from worker.partner.bulk_reads import ByName, by_id, readable
from worker.partner.operation import Batching, Entity, Item, Limits, Operation, Reader, Recovery, Resend, Response
from worker.partner.operations._shared import MOST, OK, Rank, each, nothing, simple, verified
from worker.partner.operations.accounts import accounts_by_name, permissions_on
from worker.partner.read_errors import Unreadable
from worker.partner.single_reads import Row, folded, is_id
from worker.replies import Domain
from worker.results import NotExecuted, Result, Succeeded, Unknown

_PATH = "/user/revoketradingpermissions"


def _never(*_: Any) -> Never:
    raise AssertionError("this operation only looks")


async def _find(reader: Reader, items: Sequence[Item]) -> Sequence[Result]:
    """What permissions there are: on accounts by id (`_accounts`) and by name (`_name`), and by their own ids (`_ids`).

    The value has rows of permission, user, account and status, and the accounts that exist.
    """
    names = {item["_name"] for item in items if item["_name"] is not None}
    named: ByName = await accounts_by_name(reader, names) if names else {}
    wanted = {permission for item in items for permission in item["_ids"]}
    permissions = await by_id(reader, Domain.DEMO, "tradingPermission", wanted)

    async def one(item: Item) -> Result:
        found = [readable(permissions[each]) for each in item["_ids"] if each in permissions]
        accounts = []
        by_name = [account["id"] for account in readable(named.get(folded(item["_name"] or ""), []))]
        for account_id in [*item["_accounts"], *by_name]:
            on_it = await permissions_on(reader, account_id)
            if on_it is not None:
                accounts.append(account_id)
                found += on_it
        return Succeeded({"found": [_row_of(row) for row in found], "accounts": accounts})

    return await each(items, one)


def _row_of(row: Row) -> list[Any]:
    """Permission, user, account and status; None for what is no id or no text."""
    user, account, status = (row.get(name) for name in ("userId", "accountId", "status"))
    ids = [each if is_id(each) else None for each in (user, account)]
    return [row["id"], *ids, status if isinstance(status, str) else None]


def _in_words(result: Mapping[str, Any]) -> str:
    """What was found, for a person."""
    found, accounts = result.get("found", ()), result.get("accounts", ())
    there = f"{len(found)} trading permission{'' if len(found) == 1 else 's'}" if found else "no trading permission"
    return f"{there}, {len(accounts)} account{'' if len(accounts) == 1 else 's'}" if accounts or found else "nothing"


FIND_PERMISSIONS = Operation(
    name="revokeTradingPermissions@find",
    domain=Domain.DEMO,
    path=_PATH,
    request=_never,
    response=Response({}, _never, _in_words),
    batching=Batching(
        look_up_most=10,  # an account takes a read of its own, and the first of them must not wait for a hundred others
    ),
    recovery=Recovery(
        resend=Resend.ALWAYS,  # it only looks, and is never sent
        needs=nothing,
        look_up=_find,
    ),
    limits=Limits(rank=Rank.REVOCATION, maintenance=False, reserve=True),
)


def _request(items: Sequence[Item]) -> Mapping[str, Any]:
    ids = dict.fromkeys(permission for item in items for permission in item["tradingPermissionIds"])
    return {"tradingPermissionIds": list(ids)}


def _needs(item: Item) -> Sequence[Entity]:
    return [
        Entity(Domain.DEMO, "tradingPermission", each, "trading permission") for each in item["tradingPermissionIds"]
    ]


async def _look_up(reader: Reader, items: Sequence[Item]) -> Sequence[Result]:
    """A permission that gives no right any more counts as revoked."""
    wanted = {permission for item in items for permission in item["tradingPermissionIds"]}
    found = await by_id(reader, Domain.DEMO, "tradingPermission", wanted)

    def found_of(item: Item) -> Result:
        read = [found.get(permission, {}) for permission in item["tradingPermissionIds"]]
        if unread := [row for row in read if isinstance(row, Unreadable)]:
            return Unknown(str(unread[0]))
        gone = all(isinstance(row, Mapping) and row.get("status") in PERMISSION_ENDED for row in read)
        return Succeeded() if gone else NotExecuted()

    return [found_of(item) for item in items]


REVOKE = Operation(
    name="revokeTradingPermissions",
    domain=Domain.DEMO,
    path=_PATH,
    request=_request,
    response=Response(OK, simple),
    batching=Batching(
        most=MOST,  # permission ids a call; the vendor states no limit
        parts=lambda item: len(item["tradingPermissionIds"]) + bool(item.get("_others")),
    ),
    recovery=Recovery(
        resend=Resend.AFTER_LOOK_UP,  # harmless to repeat, but a look-up shows at once whether the trader still has it
        needs=_needs,
        look_up=_look_up,
        rejection=verified,  # one that is revoked already may be refused
    ),
    limits=Limits(rank=Rank.REVOCATION, maintenance=False, reserve=True),
)
