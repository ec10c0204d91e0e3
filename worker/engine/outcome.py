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
    permission = facts.trading_permission_id
    return Outcome(
        outcome_id=outcome_id(flow.topic, flow.event_id, status, code, facts.request_status, flow.round),
        event_id=flow.event_id,
        topic=flow.topic,
        flow_id=str(flow.id),
        status=status,
        order_id=flow.order_id,
        trader_id=flow.trader_id,
        user_id=flow.user_id,
        account_id=flow.account_id,
        account_name=facts.account_name or (meant.facts.account_name if meant is not None else None),
        trading_permission_id=permission,
        trading_permission_ids=facts.trading_permission_ids or ((permission,) if permission else ()),
        request_id=facts.request_id,
        request_status=facts.request_status,
        entitlement_id=facts.entitlement_id,
        error_code=ErrorCode(code) if code else None,
        error_text=text,
        warnings=facts.warnings,
        attempts=flow.attempts,
        occurred_at=now,
    )
