"""createEvaluationAccounts (DEMO): up to 100 accounts with their permissions a call; found again by their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from schemas.tradovate import PERMISSION_ENDED, PERMISSION_LIVE, PERMISSION_USABLE
from worker.replies import Absent, Answer, Domain, Done, Finding, NotExecuted, Refusal, Refused, Result, Unknown
from worker.tradovate.bulk import by_names, dependents, readable
from worker.tradovate.operation import Entity, Item, Operation, Reader, Resend, Unreadable, plain
from worker.tradovate.operations._shared import MOST, Rank, adopted, each, per_item, user
from worker.tradovate.reads import Row, folded, is_id, item, rows
from worker.tradovate.seen import ACCOUNTS


def _request(items: Sequence[Item]) -> Mapping[str, Any]:
    return {"accounts": [plain(item) for item in items]}


def _one(result: Mapping[str, Any], item: Item) -> Result:
    account_id, permission_id = result.get("accountId"), result.get("tradingPermissionId")
    if not is_id(account_id):
        return Unknown("neither an account id nor an error")
    if permission_id is not None and not is_id(permission_id):
        return Unknown("a trading permission without an id")
    # An account without its permission gets one by createTradingPermission.
    return Done({"accountId": account_id, "accountName": item["name"], "tradingPermissionId": permission_id})


def _results(body: Mapping[str, Any], items: Sequence[Item]) -> Sequence[Result]:
    return per_item(body, items, _one, ("accountId", "tradingPermissionId"))


def _needs(item: Item) -> Sequence[Entity]:
    return (*user(item), Entity(Domain.DEMO, "account", item["templateAccountId"], "template account"))


async def _look_up(reader: Reader, items: Sequence[Item]) -> Sequence[Finding]:
    """By name, then by permission, both in bulk.

    Ours is an account on which this trader's user has a permission, revoked or not; or one on which nobody has,
    if its name is derived from the order (contract 5.2). An account of that name on which another has one is theirs.
    """
    await _introduce(reader, items)
    by_name = await accounts_by_name(reader, (item["name"] for item in items))
    found = [item for item in items if by_name.get(folded(item["name"]))]
    permissions = await permissions_of(reader, {item["userId"] for item in found})

    async def one(item: Item) -> Finding:
        accounts = by_name.get(folded(item["name"]), [])
        if not accounts:
            return Absent()
        account_ids = {account["id"] for account in accounts}
        own = [row for row in readable(permissions[item["userId"]]) if row.get("accountId") in account_ids]
        if not own:
            return await _nobodys(reader, accounts, item)
        best = best_permission(own)
        return adopted(accountId=best["accountId"], accountName=item["name"], tradingPermissionId=best["id"])

    return await each(items, one)


async def _nobodys(reader: Reader, accounts: Sequence[Row], item: Item) -> Finding:
    for account in accounts:
        if not item.get("_derived"):
            break
        on_it = await permissions_on(reader, account["id"])
        if on_it is None:
            return Unknown("an account that is there by its name, and not by its id")
        if not on_it:
            return adopted(accountId=account["id"], accountName=item["name"], tradingPermissionId=None)
        if own := [each for each in on_it if each.get("userId") == item["userId"]]:
            return adopted(
                accountId=account["id"], accountName=item["name"], tradingPermissionId=best_permission(own)["id"]
            )
    return Refused("The account name is taken at Tradovate by an account that is not this order's.", "conflict")


async def _introduce(reader: Reader, items: Sequence[Item]) -> None:
    """Learns the name of the template account, if no account's name is known yet: see `Seen.names`."""
    if len(items) > 1 and ACCOUNTS not in reader.seen.names and not reader.seen.introduced:
        reader.seen.introduced = True
        template = await item(reader, Domain.DEMO, "account", items[0]["templateAccountId"])
        if template is not None and isinstance(template.get("name"), str):
            reader.seen.names[ACCOUNTS] = template["name"]


async def accounts_by_name(reader: Reader, names: Iterable[str]) -> Mapping[str, Sequence[Row]]:
    """Accounts by `folded` name; a name may have several."""
    return await by_names(reader, Domain.DEMO, "account", names)


async def permissions_of(reader: Reader, user_ids: Iterable[int]) -> dict[int, list[Row] | Unreadable]:
    """Trading permissions by user, of all states; in bulk for several users."""
    return await dependents(reader, Domain.DEMO, "tradingPermission", user_ids)


async def permissions_on(reader: Reader, account_id: int) -> list[Row] | None:
    """Every permission on an account, whoever has it; None when there is no such account. Raises `Unreadable`.

    That there is none is believed of `account/item` alone: an errorText here may be about anything.
    """
    match await reader.post(Domain.DEMO, "/user/getaccounttradingpermissions", {"accountId": account_id}):
        case Answer(body=body) if isinstance(body, Mapping) and isinstance(body.get("tradingPermissions"), list):
            return [{"accountId": account_id, **row} for row in rows(body["tradingPermissions"])]
        case Refusal() | NotExecuted(status=404) as reply:
            if await item(reader, Domain.DEMO, "account", account_id) is None:
                return None
        case reply:
            pass
    raise Unreadable(f"getAccountTradingPermissions: {type(reply).__name__}")


def best_permission(permissions: Sequence[Row]) -> Row:
    """The one that is in force, if any is; else the newest. A revoked one is kept: a trader who failed is not let in
    again because a topic was read again from its start.
    """

    def rank(row: Row) -> int:
        status = row.get("status")
        return (status in PERMISSION_USABLE) + (status in PERMISSION_LIVE) + (status not in PERMISSION_ENDED)

    return max(permissions, key=lambda row: (rank(row), row["id"]))


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
    promises={"results": list},
    results=_results,
    needs=_needs,
    look_up=_look_up,
    doubt_refusals=True,
)
