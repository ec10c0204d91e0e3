"""Every operation of the simulated partner, by its path in lower case."""

from __future__ import annotations

from worker.sandbox.operation import Operation
from worker.sandbox.operations import (
    accounts,
    alerts,
    applications,
    auth,
    cancel,
    contact,
    documents,
    entitlements,
    permissions,
    reads,
    risk,
    syncing,
    users,
)

__all__ = ["OPERATIONS"]

OPERATIONS: dict[str, Operation] = {
    **auth.OPERATIONS,
    **users.OPERATIONS,
    **contact.OPERATIONS,
    **accounts.OPERATIONS,
    **permissions.OPERATIONS,
    **cancel.OPERATIONS,
    **entitlements.OPERATIONS,
    **applications.OPERATIONS,
    **documents.OPERATIONS,
    **risk.OPERATIONS,
    **alerts.OPERATIONS,
    **syncing.OPERATIONS,
    **reads.OPERATIONS,
}
