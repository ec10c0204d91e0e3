"""What flows look at when they decide, made of settings and of the operations' declarations."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.events import Account
from worker.engine.flows.base import Rules
from worker.partner.operations import OPERATIONS
from worker.settings import FlowSettings


def flow_rules(settings: FlowSettings, products: Mapping[str, Account]) -> Rules:
    """What flows look at when they decide: the worker's settings, and those of a command that plans a flow again."""
    return Rules(
        account_prefix=settings.tradovate_account_prefix,
        plan_id=settings.tradovate_subscription_plan_id,
        entitlement_id=settings.tradovate_tprop_entitlement_id,
        unknown_wait=settings.unknown_wait,
        day_end=settings.day_end,
        retry_base=settings.retry_base,
        retry_cap=settings.retry_cap,
        retry_for=settings.retry_for,
        products=products,
    )


def urgency() -> Mapping[str, int]:
    """The rank of each operation; steps of the lowest rank are sent first."""
    return {name: operation.limits.rank for name, operation in OPERATIONS.items()}
