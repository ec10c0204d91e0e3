"""createEvaluationAccounts (DEMO): up to 100 accounts with their permissions a call; found again by their names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from worker.replies import Absent, Answer, Domain, Done, Finding, NotExecuted, Refusal, Refused, Result, Unknown
from worker.tradovate.operation import Item, Operation, Reader, Resend, Unreadable, plain
from worker.tradovate.operations._shared import (
    MOST,
    Rank,
    adopted,
    chunks,
    dependents,
    each,
    find,
    is_id,
    per_item,
    read,
    rows,
)


def _request(items: Sequence[Item]) -> Mapping[str, Any]:
    return {"accounts": [plain(item) for item in items]}


def _one(result: Mapping[str, Any], item: Item) -> Result:
    account_id, permission_id = result.get("accountId"), result.get("tradingPermissionId")
    if not is_id(account_id):
        return Unknown("neither an account id nor an error")
    # An account without its permission gets one by createTradingPermission.
    return Done(
        {
            "accountId": account_id,
            "accountName": item["name"],
            "tradingPermissionId": permission_id if is_id(permission_id) else None,
        }
    )


def _results(body: Any, items: Sequence[Item]) -> Sequence[Result]:
    return per_item(body, items, _one)


async def _look_up(reader: Reader, items: Sequence[Item]) -> Sequence[Finding]:
    """By name, then by permission, both in bulk.

    Ours is an account on which this trader's user has a permission, revoked or not; or one on which nobody has,
    if its name is derived from the order (contract 5.2). An account of that name on which another has one is theirs.
    """
    by_name = await accounts_by_name(reader, {item["name"] for item in items})
    found = [item for item in items if by_name.get(item["name"])]
    permissions = await permissions_of(reader, {item["userId"] for item in found})

    async def one(item: Item) -> Finding:
        accounts = by_name.get(item["name"], [])
        if not accounts:
            return Absent()
        account_ids = {account.get("id") for account in accounts}
        own = [each for each in permissions.get(item["userId"], ()) if each.get("accountId") in account_ids]
        if not own:
            return await _nobodys(reader, accounts, item)
        best = best_permission(own)
        return adopted(accountId=best["accountId"], accountName=item["name"], tradingPermissionId=best["id"])

    return await each(items, one)


async def _nobodys(reader: Reader, accounts: Sequence[Mapping[str, Any]], item: Item) -> Finding:
    for account in accounts:
        account_id = account.get("id")
        if not is_id(account_id):
            return Unknown("an account without an id")
        if not item.get("_derived"):
            break
        assert isinstance(account_id, int)
        on_it = await permissions_on(reader, account_id)
        if on_it is None:
            return Unknown("an account that is there by its name, and not by its id")
        if not on_it:
            return adopted(accountId=account_id, accountName=item["name"], tradingPermissionId=None)
        if own := [each for each in on_it if each.get("userId") == item["userId"]]:
            return adopted(
                accountId=account_id, accountName=item["name"], tradingPermissionId=best_permission(own)["id"]
            )
    return Refused("The account name is taken at Tradovate by an account that is not this order's.", "conflict")


async def accounts_by_name(reader: Reader, names: set[str]) -> dict[str, list[Mapping[str, Any]]]:
    """Accounts by name; names are not known to be unique, so a name may have several.

    Nobody says how the bulk read takes several names, nor what it answers for none. So when it finds nothing one name
    is asked about alone; if that one is there, the other way of asking is tried, and then each name by itself.
    """
    wanted = sorted(names)
    found = await _finds(reader, wanted, joined=True) if len(wanted) > 1 else {}
    if found or not wanted:
        return found
    first = await _find_each(reader, wanted[:1])
    if len(wanted) == 1 or not first:
        return first
    return await _finds(reader, wanted, joined=False) or first | await _find_each(reader, wanted[1:])


async def _finds(reader: Reader, names: Sequence[str], *, joined: bool) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for some in chunks(names, MOST):
        page = await read(reader, Domain.DEMO, "/account/finds", names=",".join(some) if joined else some)
        for account in page or ():
            found[str(account.get("name"))].append(account)
    return found


async def _find_each(reader: Reader, names: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
    found = {name: await find(reader, Domain.DEMO, "account", name) for name in names}
    return {name: [account] for name, account in found.items() if account is not None}


async def permissions_of(reader: Reader, user_ids: Iterable[int]) -> dict[int, list[Mapping[str, Any]]]:
    """Trading permissions by user, of all states; in bulk for several users."""
    return await dependents(reader, Domain.DEMO, "tradingPermission", user_ids)


async def permissions_on(reader: Reader, account_id: int) -> list[Mapping[str, Any]] | None:
    """Every permission on an account, whoever has it; None when there is no such account. Raises `Unreadable`."""
    match await reader.post(Domain.DEMO, "/user/getaccounttradingpermissions", {"accountId": account_id}):
        case Answer(body=body) if isinstance(body, Mapping) and isinstance(body.get("tradingPermissions"), list):
            return [{"accountId": account_id, **row} for row in rows(body["tradingPermissions"])]
        case Refusal() | NotExecuted(status=404):
            return None
        case reply:
            raise Unreadable(f"getAccountTradingPermissions: {type(reply).__name__}")


def best_permission(permissions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The one that is in force, if any is; else the newest. A revoked one is kept: a trader who failed is not let in
    again because a topic was read again from its start.
    """
    return max(permissions, key=lambda each: (each.get("status") not in ("Revoked", "Declined"), each.get("id", 0)))


CREATE_ACCOUNTS = Operation(
    name="createEvaluationAccounts",
    domain=Domain.DEMO,
    path="/user/createevaluationaccounts",
    rank=Rank.ACCOUNT,
    most=MOST,
    resend=Resend.AFTER_LOOK_UP,  # not idempotent
    maintenance=True,
    lingers=True,
    request=_request,
    results=_results,
    look_up=_look_up,
    doubt_refusals=True,
)
