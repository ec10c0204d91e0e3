"""What a replica counts of its work."""

from __future__ import annotations

from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.waiting import eventually


async def test_a_repeated_event_is_counted_as_known(stage: Stages) -> None:
    """An alarm on events without outcomes stays silent when a topic is read again: what is known is told apart."""
    on = await stage()
    here = await on.replica()
    event = purchase(1)
    await on.buy(event)
    await on.outcome(event)
    await on.buy(event, event)
    count = here.replica.metrics.registry.get_sample_value
    labels = {"topic": "trader.purchased", "result": "known"}
    await eventually(lambda: count("tradovate_worker_events_total", labels) == 2)
    assert count("tradovate_worker_events_total", {**labels, "result": "accepted"}) == 1


async def test_a_login_is_counted_like_any_other_call(stage: Stages) -> None:
    """Every call to Tradovate is in the metrics, that which opens the session too."""
    on = await stage()
    here = await on.replica()
    event = purchase(1)
    await on.buy(event)
    await on.outcome(event)
    labels = {"operation": "accessTokenRequest", "result": "answer"}
    assert here.replica.metrics.registry.get_sample_value("tradovate_worker_calls_total", labels) == 1
