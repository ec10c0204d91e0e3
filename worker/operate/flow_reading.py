"""Flows for an operator to see: lists by filters or by a search, one by any of its ids, and all that happened to it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from schemas.cleaning import clean
from schemas.events import TOPICS
from worker.engine.rows import OrderRow
from worker.errors import OperatorError, quoted
from worker.ledger import browse, orders, page_queries
from worker.ledger.browse import FlowState, Summary
from worker.ledger.database import Connection
from worker.ledger.story import Story, story_of

__all__ = [
    "FlowFilter",
    "FlowNotFound",
    "SeveralFlows",
    "flow_by_id",
    "flow_named",
    "flows_named",
    "named",
    "newest",
    "story_by_id",
    "story_named",
]

_MOST_MEANT = 10_000
"""Flows that one id may mean: one for each event of an order. `flows list` shows as many at a time."""

_MOST_SEARCHED = 500
"""Flows of one trader or order that a search looks through: ten pages."""


class FlowNotFound(OperatorError):
    """No flow, event or order has the id `name`; or only an `order` has it, and no flow of that is in the ledger."""

    def __init__(self, name: str, order: OrderRow | None = None) -> None:
        super().__init__(name)
        self.name = name
        self.order = order

    @property
    def sentence(self) -> str:
        """For an operator; of an order what is known of it."""
        if self.order is not None:
            order = self.order
            return (
                f"Order {quoted(self.name)} was imported, or its flow has been pruned; it is {order.state}:"
                f" trader {order.trader_id}, user {order.user_id}, account {order.account_id},"
                f" trading permission {order.permission_id}."
            )
        return f"There is no flow, event or order {quoted(self.name)}: `tradovate-worker flows list` shows the newest."


class SeveralFlows(OperatorError):
    """The id `name` means several `flows`, and only one can be changed at a time."""

    def __init__(self, name: str, flows: Sequence[Summary]) -> None:
        super().__init__(name)
        self.name = name
        self.flows = tuple(flows)

    @property
    def sentence(self) -> str:
        """For an operator."""
        return f"{quoted(self.name)} means {len(self.flows)} flows: name one by its flow id: {named(self.flows)}."


@dataclass(frozen=True, slots=True)
class FlowFilter:
    """Which flows a list shows. All filters must be met; those that are None or empty say nothing.

    `text`: a flow, event, order, trader or account id. `call`: the number of a call that carried the flow; it is asked
    alone. `since`, `until`: when the flow began. `before`: only flows older than this one, the next page.
    """

    states: Sequence[FlowState] = tuple(FlowState)
    topics: Sequence[str] = TOPICS
    trader_id: str | None = None
    order_id: str | None = None
    text: str = ""
    call: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: uuid.UUID | None = None


async def newest(connection: Connection, wanted: FlowFilter, limit: int) -> list[Summary]:
    """The newest flows that a filter lets through, the newest first."""
    # A flow's id is time-ordered, so that a time is a limit of ids.
    bounds = [bound for bound in (wanted.before, wanted.until and page_queries.first_id(wanted.until)) if bound]
    before, least = min(bounds, default=None), page_queries.first_id(wanted.since) if wanted.since else None
    if wanted.call is not None:
        ids = await page_queries.of_call(connection, wanted.call, limit, before)
        return [flow for each in ids for flow in await browse.matches(connection, str(each), 1)]
    if wanted.text:
        found = [
            flow
            for flow in await _search(connection, wanted.text)
            if flow.state in wanted.states and flow.topic in wanted.topics and (before is None or flow.flow_id < before)
        ]
    else:
        found = await browse.newest(
            connection,
            states=wanted.states,
            topics=wanted.topics,
            trader_id=wanted.trader_id,
            order_id=wanted.order_id,
            before=before,
            limit=limit,
        )
    return [flow for flow in found if least is None or flow.flow_id >= least][:limit]


async def _search(connection: Connection, text: str) -> list[Summary]:
    """Every flow that the text may mean, the newest first; each way of meaning it is an index of its own."""
    found = await browse.matches(connection, text, _MOST_SEARCHED)
    found += await browse.newest(connection, trader_id=text, limit=_MOST_SEARCHED)
    if text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) < 2**63:
        for flow_id in await page_queries.of_account(connection, int(text)):
            found += await browse.matches(connection, str(flow_id), 1)
    return sorted({flow.flow_id: flow for flow in found}.values(), key=lambda flow: flow.flow_id, reverse=True)


async def flows_named(connection: Connection, name: str) -> list[Summary]:
    """The flows that a flow, event or order id means, newest first. Raises `FlowNotFound` when there is none."""
    found = await browse.matches(connection, clean(name), _MOST_MEANT)
    if not found:
        raise FlowNotFound(name, await orders.purchase(connection, clean(name)))
    return found


async def flow_named(connection: Connection, name: str) -> Summary:
    """The one flow that `name` means. Raises `FlowNotFound` or `SeveralFlows`."""
    found = await flows_named(connection, name)
    if len(found) > 1:
        raise SeveralFlows(name, found)
    return found[0]


async def flow_by_id(connection: Connection, flow_id: uuid.UUID) -> Summary | None:
    """The flow of this very id; None when there is none, or it has been pruned."""
    found = await browse.matches(connection, str(flow_id), 1)
    return next((flow for flow in found if flow.flow_id == flow_id), None)


async def story_by_id(connection: Connection, flow_id: uuid.UUID) -> Story | None:
    """All that happened to a flow; None when there is none, or it has been pruned."""
    flow = await flow_by_id(connection, flow_id)
    return None if flow is None else await story_of(connection, flow)


async def story_named(connection: Connection, name: str) -> tuple[Story, Sequence[Summary]]:
    """The story of the newest flow that `name` means, and its other flows. Raises `FlowNotFound`."""
    newest_flow, *others = await flows_named(connection, name)
    return await story_of(connection, newest_flow), others


def named(flows: Sequence[Summary]) -> str:
    """Flows in a sentence, each by its id and what tells it from the others."""
    return "; ".join(f"{flow.flow_id} ({flow.topic}, event {flow.event_id}, {flow.state})" for flow in flows)
