"""What the engine and the ledger need of an operation's declaration, and of a call's items."""

from __future__ import annotations

from collections.abc import Sequence

from worker.engine.rows import Claimed
from worker.engine.steps.after_call import Sent
from worker.engine.steps.timing import StepRules
from worker.ledger.budget import Budget
from worker.ledger.claims import CallKind
from worker.partner.operation import Item, Operation, Resend


def rules_of(operation: Operation) -> StepRules:
    """How the operation's steps recover."""
    return StepRules(
        operation.vendor,
        looks_up=operation.recovery.look_up is not None,
        repeatable=operation.recovery.resend is Resend.ALWAYS,
        batches=operation.batching.most > 1,
        retry_for=operation.recovery.retry_for,
        retry_from=operation.recovery.retry_from,
    )


def kind_of(operation: Operation, budget: Budget) -> CallKind:
    """What calls of it are, for the ledger that begins them. A share of the budget becomes calls an hour and minute."""
    return CallKind(
        operation.name,
        operation.domain,
        operation.limits.rank,
        operation.batching.most,
        operation.limits.reserve,
        operation.limits.hour(budget.hourly),
        operation.limits.minute(budget.minute),
        operation.batching.joined,
        operation.recovery.fresh_for,
    )


def sent_steps(operation: Operation, steps: Sequence[Claimed], items: Sequence[Item]) -> Sequence[Sent]:
    """The steps of a call, with what decides how they are split and what an empty 404 means."""
    return [
        Sent(step, operation.batching.parts(item), has_needs=bool(operation.recovery.needs(item)))
        for step, item in zip(steps, items, strict=True)
    ]
