"""The firm's flows: one file an input event, pure. What comes next is decided here and nowhere else."""

from collections.abc import Mapping

from worker.engine.facts import OrderFacts
from worker.engine.flows import passed, purchased
from worker.engine.flows.assigned import Assignment
from worker.engine.flows.base import Flow
from worker.engine.flows.failed import Revocation
from worker.engine.flows.left import Departure
from worker.engine.flows.locked import LOCKED, UNLOCKED
from worker.engine.flows.passed import Subaccount
from worker.engine.flows.passed_facts import PassedFacts
from worker.engine.flows.purchased import Purchased
from worker.engine.flows.purchased_facts import PurchasedFacts
from worker.engine.flows.requested import PermissionRequest
from worker.engine.flows.reset import Reset
from worker.engine.flows.risk import RiskUpdate
from worker.engine.flows.signed import Entitlement

FLOWS: Mapping[str, Flow] = {
    flow.topic: flow
    for flow in (
        Purchased(),
        Revocation(),
        Departure(),
        Entitlement(),
        Subaccount(),
        Assignment(),
        PermissionRequest(),
        Reset(),
        RiskUpdate(),
        LOCKED,
        UNLOCKED,
    )
}
"""In the order of the README's table of topics."""

ORDER_FACTS: Mapping[str, type[OrderFacts]] = {purchased.KIND: PurchasedFacts, passed.KIND: PassedFacts}
"""What the owner of an order learns, by the order's kind."""

__all__ = ["FLOWS", "ORDER_FACTS", "Flow"]
