"""createEvaluationAccounts (DEMO): up to 100 accounts with their permissions a call; found again by their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from schemas.outcomes import ErrorCode
from schemas.permission_status import PERMISSION_ENDED, PERMISSION_LIVE, PERMISSION_USABLE
from worker.partner.bulk_reads import ByName, by_id, by_names, dependents, readable
from worker.partner.observed_forms import ACCOUNTS
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
from worker.partner.operations._shared import MOST, Rank, adopted, each, per_item, user, verified
from worker.partner.read_errors import ReadFault, Unreadable, no_answer
from worker.partner.single_reads import ON_ACCOUNT, Row, entities, folded, is_id, item
from worker.replies import Answer, Domain, Misdirected, Refusal
from worker.results import NotExecuted, Rejected, Result, Succeeded, Unknown


def _request(items: Sequence[Item]) -> Mapping[str, Any]:
    return {"accounts": [plain(item) for item in items]}


def _one(result: Mapping[str, Any], item: Item) -> Result:
    account_id, permission_id = result.get("accountId"), result.get("tradingPermissionId")
    if not is_id(account_id):
        return Unknown("neither an account id nor an error")
    if permission_id is not None and not is_id(permission_id):
        return Unknown("a trading permission without an id")
    # An account without its permission gets one by createTradingPermission.
    return Succeeded({"accountId": account_id, "accountName": item["name"], "tradingPermissionId": permission_id})


def _results(body: Mapping[str, Any], items: Sequence[Item]) -> Sequence[Result]:
    return per_item(body, items, _one, ("accountId", "tradingPermissionId"))


def _needs(item: Item) -> Sequence[Entity]:
    return (*user(item), Entity(Domain.DEMO, "account", item["templateAccountId"], "template account"))


async def _look_up(reader: Reader, items: Sequence[Item]) -> Sequence[Result]:
    """By the id of what an earlier event of the order left behind (`_left`), else by name; then by permission.

    Names are the event's own, and those that earlier events of the order asked for without a known result (`_asked`).
    An account is ours if this trader's user has a permission on it, revoked or not. One on which nobody has a
    permission is ours in three cases: the ledger knows it as this order's, its name is derived from the order
    (`_derived`), or it was not there before it was asked for (README, "What happens when"). An account on which another
    has one is theirs.
    """
    await _introduce(reader, items)
    left = await by_id(reader, Domain.DEMO, "account", {item["_left"] for item in items if item.get("_left")})
    unknown = [item for item in items if item.get("_left") not in left]
    by_name = await accounts_by_name(reader, (name for item in unknown for name in _names(item)))

    def accounts(item: Item) -> Sequence[Row | Unreadable]:
        known = left.get(item.get("_left", 0))
        if known is not None:
            return [known]
        named = [by_name.get(folded(name), ()) for name in _names(item)]
        return [row for rows in named for row in ([rows] if isinstance(rows, Unreadable) else rows)]

    permissions = await permissions_of(reader, {item["userId"] for item in items if accounts(item)})

    async def one(item: Item) -> Result:
        found = {account["id"]: account for account in (readable(each) for each in accounts(item))}
        if not found:
            return NotExecuted()
        own = [row for row in readable(permissions[item["userId"]]) if row.get("accountId") in found]
        if not own:
            # One that an earlier event asked for by name, and on which the user has nothing, is not the order's.
            named = [row for row in found.values() if item.get("_left") in left or _may_be(row, item)]
            return await _nobodys(reader, named, item, ours=item.get("_left") in left) if named else NotExecuted()
        best = best_permission(own)
        return _ours(found[best["accountId"]], item, best)

    return await each(items, one)


def _names(item: Item) -> Sequence[str]:
    return item["name"], *item.get("_asked", ())


def _is(account: Row, name: str) -> bool:
    return isinstance(account.get("name"), str) and folded(account["name"]) == folded(name)


def _may_be(account: Row, item: Item) -> bool:
    """Whether an account on which the user has no permission may be the order's, or is in the way of a new one."""
    return _is(account, item["name"]) or _is(account, item["_derived"])


async def _nobodys(reader: Reader, accounts: Sequence[Row], item: Item, *, ours: bool) -> Result:
    for account in accounts:
        if not (ours or _is(account, item["_derived"]) or (item.get("_free") and _is(account, item["name"]))):
            continue
        on_it = await permissions_on(reader, account["id"])
        if on_it is None:
            return Unknown("an account that is there by its name, and not by its id")
        if not on_it:
            return _ours(account, item, None)
        if own := [each for each in on_it if each.get("userId") == item["userId"]]:
            return _ours(account, item, best_permission(own))
        if not all(is_id(each.get("userId")) for each in on_it):
            return Unknown("a trading permission that does not say whose it is")
    if ours:
        return Rejected("The account of this order is another trader's at Tradovate.", ErrorCode.CONFLICT)
    return Rejected(
        "The account name is taken at Tradovate by an account that is not this order's.", ErrorCode.CONFLICT
    )


def _ours(account: Row, item: Item, permission: Row | None) -> Result:
    """The account is adopted, with its permission. One that is not in force says so."""
    status = permission.get("status") if permission is not None else None
    if permission is not None and not isinstance(status, str):
        return Unknown("a trading permission without a status")
    name = account.get("name")
    return adopted(
        accountId=account["id"],
        accountName=name if isinstance(name, str) else item["name"],
        tradingPermissionId=None if permission is None else permission["id"],
        **({"permissionStatus": status} if status in PERMISSION_ENDED else {}),
    )


async def _introduce(reader: Reader, items: Sequence[Item]) -> None:
    """Learns the name of the template account, once: see `ObservedForms.names`."""
    if len(items) > 1 and ACCOUNTS not in reader.seen.names and not reader.seen.introduced:
        reader.seen.introduced = True
        template = await item(reader, Domain.DEMO, "account", items[0]["templateAccountId"])
        if template is not None and isinstance(template.get("name"), str):
            reader.seen.names[ACCOUNTS] = template["name"]


async def accounts_by_name(reader: Reader, names: Iterable[str]) -> ByName:
    """Accounts by `folded` name; a name may have several."""
    return await by_names(reader, Domain.DEMO, "account", names)


async def permissions_of(reader: Reader, user_ids: Iterable[int]) -> dict[int, list[Row] | Unreadable]:
    """Trading permissions by user, of all states; in bulk for several users."""
    return await dependents(reader, Domain.DEMO, "tradingPermission", user_ids)


async def permissions_on(reader: Reader, account_id: int) -> list[Row] | None:
    """Every permission on an account, of any user; None when there is no such account. Raises `Unreadable`.

    That there is none is believed of `account/item` alone: an errorText here may be about anything.
    """
    match await reader.post(Domain.DEMO, ON_ACCOUNT, {"accountId": account_id}):
        case Answer(body=body):
            on_it = entities(ON_ACCOUNT, body)
            if on_it is None:
                raise Unreadable(ReadFault.NO_ENTITIES, _ON_ACCOUNT)
            if not all(is_id(row.get("id")) for row in on_it):
                raise Unreadable(ReadFault.NO_ID, _ON_ACCOUNT)
            if any(row.get("accountId") not in (None, account_id) for row in on_it):
                raise Unreadable(ReadFault.OTHER_ACCOUNT, _ON_ACCOUNT)
            return [{**row, "accountId": account_id} for row in on_it]
        case Refusal() | Misdirected(status=404) as reply:
            if await item(reader, Domain.DEMO, "account", account_id) is None:
                return None
        case reply:
            pass
    raise no_answer(_ON_ACCOUNT, reply)


_ON_ACCOUNT = "getAccountTradingPermissions"


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
    request=_request,
    response=Response({"results": list}, _results),
    batching=Batching(most=MOST, lingers=True),
    recovery=Recovery(
        resend=Resend.AFTER_LOOK_UP,  # not idempotent
        needs=_needs,
        look_up=_look_up,
        rejection=verified,
    ),
    limits=Limits(rank=Rank.ACCOUNT, maintenance=True),
)
