"""An account's limits (userAccountAutoLiq) and what an administrator does to it (setAdminAutoLiqAction), on DEMO.

Facts: both set a state, so the same again is harmless; the row of each has the account's id; unlocking is `Normal`. Not
known: whether `updateUserAutoLiqs` keeps limits that are left out (so all are sent, as they were just read); how many
items it takes; whether its results contain their rows; when a read shows a change; as which value a liquidation is
shown. So a response proves only that the call was carried out. The flow reads the account again before it ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Never

from schemas.outcomes import ErrorCode
from schemas.risk_limits import PostTradeRisk
from worker.partner.bulk_reads import dependents, readable
from worker.partner.operation import Batching, Item, Limits, Operation, Reader, Recovery, Resend, Response, plain
from worker.partner.operations._shared import MOST, Rank, account, alike, each
from worker.partner.read_errors import ReadFault, Unreadable
from worker.partner.single_reads import Row
from worker.partner.single_reads import item as read_item
from worker.replies import Domain
from worker.results import NotExecuted, Rejected, Result, Succeeded, Unknown

LIMITS: Mapping[str, type] = {
    "flattenTimestamp": str,
    "trailingMaxDrawdownMode": str,
    "doNotUnlock": bool,
    "changesLocked": bool,
}
"""JSON types of the limits that are no numbers."""

NAMES: Sequence[str] = [field.alias or name for name, field in PostTradeRisk.model_fields.items()]

FRESH = 300.0
"""Seconds for which limits that were read may be sent back (as in `engine/flows/risk.py`): somebody may have changed
them since in the dashboard."""

RETRY_FOR = 120.0
"""Seconds for which one reading of the limits is sent; then the flow reads them again."""

SHOWN_AS: Mapping[str, frozenset[str]] = {
    "LiquidateImmediately": frozenset({"LockTradingImmediately", "AgreedOnLiquidationByAutoLiq"}),
    "LiquidateOnlyModeImmediately": frozenset({"AgreedOnLiqOnlyModeByAutoLiq"}),
}
"""Values that a read may show in place of the action that was set. A liquidation closes positions and locks the account
(vendor); the vendor's internal values say that the liquidation was accepted (inference)."""

MAY_BE_OLDER = "LockTradingImmediately"
"""Shown after a liquidation it may be a lock from before. Each other value has one cause, its own action, so it is
proof. Otherwise a partner whose responses prove nothing would be asked for a day, and the events behind would wait."""


def _never(*_: Any) -> Never:
    raise AssertionError("this operation only looks")


def limits_of(row: Row) -> dict[str, Any]:
    """The limits in a row; null is as good as absent.

    Raises `Unreadable` for one of another JSON type: taken for absent, it would be left out of what is sent, and an
    update that replaces all limits would take it away.
    """
    limits = {name: row[name] for name in NAMES if row.get(name) is not None}
    for name, value in limits.items():
        if not _is(value, LIMITS.get(name, float)):
            raise Unreadable(ReadFault.NO_LIMIT, name)
    return limits


def _is(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind)


def shows(asked: Mapping[str, Any], limits: Mapping[str, Any], now: datetime) -> bool:
    """Whether an account has the limits that were asked for. A flattening whose time has come has been carried out."""
    return all(_same(name, value, limits.get(name), now) for name, value in asked.items())


def _same(name: str, asked: Any, found: Any, now: datetime) -> bool:
    if name == "flattenTimestamp":
        wanted, there = _time(asked), _time(found)
        return wanted is not None and (wanted <= now or wanted == there)
    if isinstance(asked, bool):
        return asked is bool(found)
    if isinstance(asked, int | float) and isinstance(found, int | float):
        return math.isclose(asked, found, rel_tol=1e-9)
    return bool(asked == found)


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return None


async def _rows(reader: Reader, entity: str, items: Sequence[Item]) -> Mapping[int, list[Row] | Unreadable]:
    return await dependents(reader, Domain.DEMO, entity, {item["accountId"] for item in items}, owner="id")


async def _unknown_account(reader: Reader, rows: Sequence[Row], account_id: int) -> Rejected | None:
    """An account without a row has nothing set, as one has that does not exist: that is no success."""
    if rows or await read_item(reader, Domain.DEMO, "account", account_id) is not None:
        return None
    return Rejected(f"Tradovate does not know account {account_id}.", ErrorCode.NOT_FOUND)


async def _read_limits(reader: Reader, items: Sequence[Item]) -> Sequence[Result]:
    """The limits of each account, and whether they are what was asked for."""
    found = await _rows(reader, "userAccountAutoLiq", items)

    async def one(item: Item) -> Result:
        rows = readable(found[item["accountId"]])
        limits = limits_of(next(iter(rows), {}))
        shown = shows(item["_asked"], limits, reader.now())
        unknown = await _unknown_account(reader, rows, item["accountId"]) if shown else None
        return unknown or Succeeded({"limits": limits, "shown": shown})

    return await each(items, one)


async def _look_up_limits(reader: Reader, items: Sequence[Item]) -> Sequence[Result]:
    """After a call without a result."""

    def judged(result: Result) -> Result:
        if not isinstance(result, Succeeded):
            return result
        return Succeeded({"shown": True}) if result.value["shown"] else NotExecuted()

    return [judged(result) for result in await _read_limits(reader, items)]


def _updated(body: Mapping[str, Any], items: Sequence[Item]) -> Sequence[Result]:
    rows = body["userAutoLiqs"]
    if len(rows) != len(items):
        return [Unknown("the response has another number of results than the request has items")] * len(items)

    def one(row: Any, item: Item) -> Result:
        entity = row.get("userAccountAutoLiq") if isinstance(row, Mapping) else None
        return Succeeded() if alike(entity, id=item["accountId"]) else Unknown("a result without the account's limits")

    return [one(row, item) for row, item in zip(rows, items, strict=True)]


def _words(result: Mapping[str, Any]) -> str:
    if "limits" in result:
        return ", ".join(f"{name} {value}" for name, value in result["limits"].items()) or "no limits"
    return f"adminAction {result.get('adminAction') or 'none'}"


UPDATE_LIMITS = Operation(
    name="updateUserAutoLiqs",
    domain=Domain.DEMO,
    path="/userAccountAutoLiq/updateuserautoliqs",
    request=lambda items: {"items": [plain(item) for item in items]},
    response=Response({"userAutoLiqs": list}, _updated),
    batching=Batching(
        most=MOST,  # the vendor states no limit; a batch that is refused as a whole is split
        lingers=True,
    ),
    recovery=Recovery(
        resend=Resend.AFTER_LOOK_UP,  # harmless to repeat, but what was read for it grows old
        needs=account,
        look_up=_look_up_limits,
        retry_for=RETRY_FOR,
        fresh_for=FRESH,
    ),
    limits=Limits(rank=Rank.RISK, maintenance=False),
)

READ_LIMITS = Operation(
    name="updateUserAutoLiqs@read",
    domain=Domain.DEMO,
    path=UPDATE_LIMITS.path,
    request=_never,
    response=Response({}, _never, _words),
    batching=Batching(
        most=MOST,
        lingers=True,  # else a steady stream would make one read for each event
    ),
    recovery=Recovery(
        resend=Resend.ALWAYS,  # it only looks, and is never sent
        needs=account,
        look_up=_read_limits,
    ),
    limits=Limits(rank=Rank.RISK, maintenance=False),
)


def _action_of(rows: Sequence[Row]) -> tuple[str | None, str | None]:
    """What is read of an account's status: the action (Normal where there is none) and its time."""
    row: Row = next(iter(rows), {})
    action, at = row.get("adminAction") or "Normal", row.get("adminTimestamp")
    return action if isinstance(action, str) else None, at if isinstance(at, str) else None


async def _read_action(reader: Reader, items: Sequence[Item]) -> Sequence[Result]:
    """What each account shows after a call that was answered."""
    found = await _rows(reader, "accountRiskStatus", items)

    async def one(item: Item) -> Result:
        action, at = _action_of(readable(found[item["accountId"]]))
        asked = item["adminAction"]
        shown = action == asked or action in SHOWN_AS.get(asked, ())
        return Succeeded({"adminAction": action, "adminTimestamp": at, "shown": shown})

    return await each(items, one)


async def _look_up_action(reader: Reader, items: Sequence[Item]) -> Sequence[Result]:
    """After a call without a result. A lock that is there may be an older one: it proves no liquidation."""
    found = await _rows(reader, "accountRiskStatus", items)

    async def one(item: Item) -> Result:
        rows = readable(found[item["accountId"]])
        action, _ = _action_of(rows)
        asked = item["adminAction"]
        proofs = {asked, *SHOWN_AS.get(asked, frozenset()) - {MAY_BE_OLDER}}
        if action not in proofs:
            return NotExecuted()
        return await _unknown_account(reader, rows, item["accountId"]) or Succeeded({"shown": True})

    return await each(items, one)


def _acted(body: Mapping[str, Any], items: Sequence[Item]) -> Sequence[Result]:
    status, item = body["accountRiskStatus"], items[0]
    if not alike(status, id=item["accountId"]):
        return [Unknown("another account's status")]
    at = status.get("adminTimestamp")
    return [Succeeded({"adminTimestamp": at if isinstance(at, str) else None})]


def _declare(word: str, limits: Limits) -> tuple[Operation, Operation]:
    """The action, and the read that shows it. Locks and unlocks differ in their urgency alone."""
    act = Operation(
        name=f"setAdminAutoLiqAction{word}",
        domain=Domain.DEMO,
        path="/accountRiskStatus/setadminautoliqaction",
        request=lambda items: plain(items[0]),
        response=Response({"accountRiskStatus": dict}, _acted),
        recovery=Recovery(
            resend=Resend.AFTER_LOOK_UP,  # harmless to repeat, but a newer action must not be undone
            needs=account,
            look_up=_look_up_action,
        ),
        limits=limits,
    )
    read = Operation(
        name=f"setAdminAutoLiqAction@read{word.replace('@', '_')}",
        domain=Domain.DEMO,
        path=act.path,
        request=_never,
        response=Response({}, _never, _words),
        recovery=Recovery(
            resend=Resend.ALWAYS,  # it only looks, and is never sent
            needs=account,
            look_up=_read_action,
        ),
        limits=limits,
    )
    return act, read


LOCK, READ_LOCK = _declare("", Limits(rank=Rank.REVOCATION, maintenance=False, reserve=True))
UNLOCK, READ_UNLOCK = _declare("@unlock", Limits(rank=Rank.RISK, maintenance=False))
