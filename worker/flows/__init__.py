"""The firm's flows: one file an input event, pure. What comes next is decided here and nowhere else."""

from collections.abc import Mapping

from worker.flows.assigned import Assignment
from worker.flows.base import Flow
from worker.flows.failed import Revocation
from worker.flows.left import Departure
from worker.flows.passed import Subaccount
from worker.flows.purchased import Purchased
from worker.flows.requested import Request
from worker.flows.reset import Reset
from worker.flows.signed import Entitlement

FLOWS: Mapping[str, Flow] = {
    flow.topic: flow
    for flow in (
        Purchased(),
        Revocation(),
        Departure(),
        Entitlement(),
        Subaccount(),
        Assignment(),
        Request(),
        Reset(),
    )
}
"""In the contract's order."""

__all__ = ["FLOWS", "Flow"]
