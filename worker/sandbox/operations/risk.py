"""An account's risk: limits that liquidate it, and what an administrator does to it (risk pages).

Each account has one `userAccountAutoLiq` and one `accountRiskStatus`, whose ids are the account's (observed).
"""

from __future__ import annotations

from typing import Any

from worker.sandbox.batch import batch_items, malformed, poisoned, refused_whole
from worker.sandbox.fields import Malformed, Problems, check
from worker.sandbox.operation import Call, Operation
from worker.sandbox.responses import Reply, denied, ok, raw, refusal, violations
from worker.sandbox.vendor_texts import message
from worker.sandbox.world import Row, iso

__all__ = ["ACTIONS", "OPERATIONS", "act", "limits_in", "set_limits", "shown", "touched"]

_MONEY = (
    "marginPercentageAlert",
    "dailyLossPercentageAlert",
    "dailyLossAlert",
    "marginPercentageLiqOnly",
    "dailyLossPercentageLiqOnly",
    "dailyLossLiqOnly",
    "marginPercentageAutoLiq",
    "dailyLossPercentageAutoLiq",
    "dailyLossAutoLiq",
    "weeklyLossAutoLiq",
    "trailingMaxDrawdown",
    "trailingMaxDrawdownLimit",
    "dailyProfitAutoLiq",
    "weeklyProfitAutoLiq",
)
_LIMITS: dict[str, type] = {
    **dict.fromkeys(_MONEY, float),
    "flattenTimestamp": str,
    "trailingMaxDrawdownMode": str,
    "doNotUnlock": bool,
    "changesLocked": bool,
}
"""The fields of PostTradeRisk."""

ACTIONS = (
    "Normal",
    "LockTradingImmediately",
    "LiquidateImmediately",
    "LiquidateOnlyModeImmediately",
    "PlaceAutoLiqOnHold",
    "DisableAutoLiq",
    "AgreedOnLiqOnlyModeByAutoLiq",
    "AgreedOnLiquidationByAutoLiq",
)
"""What an administrator may set; the last four are internal."""

_REASONS = frozenset(
    (
        "CloseAMLDecision",
        "CloseComplianceDecision",
        "CloseCustomerRequest",
        "CloseDeceased",
        "CloseEscheatment",
        "CloseFraud",
        "CloseInactiveUnfundedAccount",
        "FullBalanceWithdrawal",
        "Other",
        "RestrictedAMLRequest",
        "RestrictedAccountsRequest",
        "RestrictedComplianceRequest",
        "RestrictedRiskRestriction",
        "RestrictedTreasuryRequest",
        "RestrictedW8Expired",
    )
)


def limits_in(body: dict[str, Any]) -> Row:
    """Return the limits that a PostTradeRisk sets; null is none.

    :raises Malformed: a field has the wrong JSON type.
    """
    check(body, {}, _LIMITS)
    return {name: value for name in _LIMITS if (value := body.get(name)) is not None}


def touched(row: Row) -> bool:
    """Say whether anything was ever set in a risk row, or happened to its account."""
    if "autoLiqCounter" in row:
        return "adminTimestamp" in row or row["autoLiqCounter"] > 0 or "liquidateOnly" in row
    return len(row) > 1


def shown(call: Call, row: Row) -> Row:
    """Return a risk row as it is read now: a change may be seen later than it was made."""
    until, before = call.world.risk_unseen.get(_key(row), (0.0, row))
    return before if call.now < until else row


def _key(row: Row) -> tuple[bool, int]:
    return "autoLiqCounter" in row, row["id"]


def _change(call: Call, row: Row, values: Row) -> None:
    if call.config.risk_shown_after:
        call.world.risk_unseen[_key(row)] = call.now + call.config.risk_shown_after, dict(shown(call, row))
    row.update(values)


def set_limits(call: Call, account_id: int, limits: Row) -> Row:
    """Set limits of an account; what is left out stays, or is gone."""
    row = call.world.auto_liqs.rows[account_id]
    kept: Row = row if call.config.risk_update == "merge" else {}
    whole = {name: value for name in _LIMITS if (value := limits.get(name, kept.get(name))) is not None}
    _change(call, row, {})
    for name in [name for name in row if name != "id"]:
        del row[name]
    row.update(whole)
    call.effects.risk_changes[str(account_id)] += 1
    call.hub.entity(call.config, "demo", "userAccountAutoLiq", "Updated", row)
    return row


def update_limits(call: Call) -> Reply:
    """Change the limits of many accounts; one bad item refuses them all."""
    if not call.body.get("items"):
        return violations(call.config, [("items", "Items should be specified")])
    items = batch_items(call, "items")
    if 0 < call.config.auto_liqs_max_items < len(items):
        return refusal(message(call.config, "too_many_auto_liqs"), userAutoLiqs=[])
    limits: list[Row] = []
    for item in items:
        problems = check(item, {"accountId": int}, {"asOwner": bool})
        bad = poisoned(call, item) or (malformed(call, problems) if problems else None)
        if bad is not None:
            return refused_whole(call, bad)
        limits.append(limits_in(item))
    if any(call.world.accounts.get(item["accountId"]) is None for item in items):
        return _unknown(call)
    rows = [dict(set_limits(call, item["accountId"], wanted)) for item, wanted in zip(items, limits, strict=True)]
    answers: list[Row] = [{} if call.config.auto_liqs_answer == "bare" else {"userAccountAutoLiq": row} for row in rows]
    return ok(call.config, userAutoLiqs=answers[::-1] if call.config.auto_liqs_answer == "reversed" else answers)


def _unknown(call: Call) -> Reply:
    match call.config.unknown_auto_liq:
        case "error_text":
            return refusal(message(call.config, "unknown_account"), userAutoLiqs=[])
        case "404":
            return raw(404)
        case "401":
            return denied(call.config)


def set_admin_action(call: Call) -> Reply:
    """Lock, liquidate or unlock one account; the same again changes nothing."""
    body = call.body
    problems = check(body, {"accountId": int, "adminAction": str, "adminActionReasonCode": str})
    reason = body.get("adminActionReason")
    if not problems:
        problems = _complaints(body["adminAction"], body["adminActionReasonCode"], reason)
    if problems:
        return violations(call.config, problems)
    if call.world.accounts.get(body["accountId"]) is None:
        return raw(404)
    row = call.world.risk_statuses.rows[body["accountId"]]
    act(call, row, body["adminAction"])
    return (
        ok(call.config) if call.config.admin_action_answer == "bare" else ok(call.config, accountRiskStatus=dict(row))
    )


def act(call: Call, row: Row, action: str) -> None:
    """Do what an administrator asks for, and show it."""
    seen = {
        "LiquidateImmediately": call.config.liquidate_shown,
        "LiquidateOnlyModeImmediately": call.config.close_only_shown,
    }
    _change(call, row, {"adminAction": seen.get(action, action), "adminTimestamp": iso(call.now)})
    call.effects.admin_actions[f"{row['id']}:{action}"] += 1
    call.hub.entity(call.config, "demo", "accountRiskStatus", "Updated", row)


def _complaints(action: str, code: str, reason: object) -> Problems:
    """Return what is wrong, in the words of the endpoint's error table."""
    if reason is not None and not isinstance(reason, str):
        raise Malformed("adminActionReason")
    problems: Problems = []
    if action not in ACTIONS:
        problems.append(("adminAction", "Admin Action should be between Normal and LiquidateImmediately"))
    if code not in _REASONS:
        text = "Admin Action Reason Code should be between CloseAMLDecision and Other"
        problems.append(("adminActionReasonCode", text))
    if code == "Other" and not (reason or "").strip():
        problems.append(("adminActionReason", "Admin Action Reason should be specified"))
    if len(reason or "") > 8192:
        problems.append(("adminActionReason", "Admin Action Reason should be no longer than 8192"))
    return problems


OPERATIONS = {
    "/useraccountautoliq/updateuserautoliqs": Operation(
        update_limits, domain="demo", items="items", risks="FullAccess"
    ),
    "/accountriskstatus/setadminautoliqaction": Operation(set_admin_action, domain="demo", risks="FullAccess"),
}
