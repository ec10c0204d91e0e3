"""What a replica counts of its work."""

from __future__ import annotations

from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.stage import PATIENCE, Here, Stage
from tests.support.waiting import eventually


async def test_a_repeated_event_is_counted_as_known(stage: Stages) -> None:
    """An alarm on events without outcomes stays silent when a topic is read again: known events are counted apart."""
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


async def test_the_time_to_an_outcome_begins_with_the_acceptance_of_its_event(stage: Stages) -> None:
    """`outcome_seconds` has one value for each final outcome of an accepted event, whichever replica accepted it, and
    none for an outcome that is pending or of a record that was never accepted.
    """
    on = await stage()
    here = await on.replica()
    await on.buy(purchase(1), {**purchase(2), "orderId": 7})
    assert [each["status"] for each in await on.all_ended()] == ["succeeded", "failed"]
    count, total = await _outcome_seconds(here)
    assert count == 1
    assert 0 < total < PATIENCE
    await here.stop()
    # What a replica leaves behind that dies before it publishes, an hour after the acceptance.
    await on.rows("update flow set created_at = created_at - interval '1 hour'")
    await on.rows("update outcome set published_at = null, lease_until = now() where flow_id is not null")
    await on.rows(
        "insert into outcome (outcome_id, flow_id, topic, event_id, status, body, lease_until)"
        " select 'p', flow_id, topic, event_id, 'pending', body, now() from outcome where flow_id is not null"
    )
    here = await on.replica()
    await eventually(lambda: _all_published(on), PATIENCE)
    count, total = await _outcome_seconds(here)
    assert count == 1
    assert 3600 <= total < 3600 + 2 * PATIENCE


async def _outcome_seconds(here: Here) -> tuple[float, float]:
    """How many values on the topic of purchases, and their sum."""
    value, labels = here.replica.metrics.registry.get_sample_value, {"topic": "trader.purchased"}
    count = value("tradovate_worker_outcome_seconds_count", labels)
    total = value("tradovate_worker_outcome_seconds_sum", labels)
    assert count is not None
    assert total is not None
    return count, total


async def _all_published(on: Stage) -> bool:
    return not await on.rows("select 1 from outcome where published_at is null")
