"""Every operation of the simulated partner, by its path in lower case."""

from __future__ import annotations

from worker.sandbox.operation import Operation
from worker.sandbox.operations import accounts, auth, contact, reads, users

__all__ = ["OPERATIONS"]

OPERATIONS: dict[str, Operation] = {
    **auth.OPERATIONS,
    **users.OPERATIONS,
    **contact.OPERATIONS,
    **accounts.OPERATIONS,
    **reads.OPERATIONS,
}
