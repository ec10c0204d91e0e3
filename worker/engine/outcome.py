"""The outcome of a flow: what its facts say under the outcome's names. Pure."""

from __future__ import annotations

from datetime import datetime

from schemas.outcomes import ErrorCode, Outcome, Status, outcome_id
from worker.engine.rows import FlowRow, OrderRow


def outcome_of(
    flow: FlowRow, status: Status, code: str | None, text: str | None, now: datetime, meant: OrderRow | None
) -> Outcome:
    """`text`: the `errorText`, which is masked already. `meant`: the order that the event means by another id."""
    facts = flow.facts
    permission = facts.get("tradingPermissionId")
    return Outcome(
        outcome_id=outcome_id(flow.topic, flow.event_id, status, code, facts.get("requestStatus"), flow.round),
        event_id=flow.event_id,
        topic=flow.topic,
        flow_id=str(flow.id),
        status=status,
        order_id=flow.order_id,
        trader_id=flow.trader_id,
        user_id=flow.user_id,
        account_id=flow.account_id,
        account_name=facts.get("accountName") or (meant.facts.get("accountName") if meant is not None else None),
        trading_permission_id=permission,
        trading_permission_ids=tuple(facts.get("tradingPermissionIds") or ([permission] if permission else ())),
        request_id=facts.get("requestId"),
        request_status=facts.get("requestStatus"),
        entitlement_id=facts.get("entitlementId"),
        error_code=ErrorCode(code) if code else None,
        error_text=text,
        warnings=tuple(facts.get("warnings", ())),
        attempts=flow.attempts,
        occurred_at=now,
    )
