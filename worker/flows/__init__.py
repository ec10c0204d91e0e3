"""The firm's flows: one file an input event, pure. What comes next is decided here and nowhere else."""

from collections.abc import Mapping

from worker.flows.base import Flow
from worker.flows.purchased import Purchased

FLOWS: Mapping[str, Flow] = {flow.topic: flow for flow in (Purchased(),)}

__all__ = ["FLOWS", "Flow"]
