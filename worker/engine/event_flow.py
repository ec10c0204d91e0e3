"""A flow and its event: made when the event is accepted, whom it names, what it asks of Tradovate. Pure."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from worker.engine.flows import FLOWS
from worker.engine.flows.base import Item, Names, Rules, TraderView, View, widened
from worker.engine.rows import FlowRow, IncomingEvent


def named_by(flow: FlowRow) -> Names:
    """Whom and what the flow's event names.

    What asks for an order of its own without giving it an id has its event's id for one.
    """
    names = flow.named
    if names is None:
        names = flow.named = _identified(FLOWS[flow.topic].names(flow.event), flow.event_id)
    return names


def _identified(names: Names, event_id: str) -> Names:
    if names.owns_order and names.order_id is None:
        return names._replace(order_kind=f"{names.order_kind}/event", order_id=event_id)
    return names


def touched_by(flow: FlowRow) -> Names:
    """Whom and what a flow names, and what it has come across at Tradovate: what the ledger must lock and load."""
    names = flow.named or named_by(flow)
    return widened(names, flow.facts)


def item_of(flow: FlowRow, operation: str, rules: Rules, now: datetime) -> Item:
    """What the operation is asked to do for this flow, in the partner's field names.

    `_personal` gives the event's personal values: what the partner says of the item is masked where it is read.
    """
    trader = TraderView(flow.trader_id)
    view = View(flow.id, flow.event, flow.facts, trader, None, (), flow.created_at, now)
    return {**FLOWS[flow.topic].item(view, operation, rules), "_personal": flow.event.personal_values}


def draft(accepted: IncomingEvent, rules: Rules, content: bytes) -> FlowRow:
    """The flow of an event, without its id and its times; `content`: a keyed hash of what the event says."""
    kind = FLOWS[accepted.topic]
    event = kind.freeze(accepted.event, rules)
    names = kind.names(event)
    kept = event.keep()
    return FlowRow(
        _NO_ID,
        accepted.topic,
        event,
        accepted.event_id,
        accepted.record_key,
        accepted.partition,
        accepted.offset,
        accepted.trace,
        names.trader_id,
        names.user_id,
        names.order_id,
        names.account_id,
        _NO_TIME,
        _NO_TIME,
        kind.facts.at_start(),
        content=content,
        kept=kept,
        size=len(kept),
        named=_identified(names, accepted.event_id),
    )


def new_flow(drafted: FlowRow, flow_id: uuid.UUID, now: datetime, came: datetime | None) -> FlowRow:
    """A flow that is accepted now. `came`: when its event was published, if that is known."""
    flow = drafted.copy()
    flow.id, flow.created_at = flow_id, now
    # The producer's clock may be wrong: what is asked for cannot have been asked for later than now.
    flow.asked_at = now if came is None else min(came, now)
    return flow


_NO_ID = uuid.UUID(int=0)
_NO_TIME = datetime.fromtimestamp(0, UTC)
