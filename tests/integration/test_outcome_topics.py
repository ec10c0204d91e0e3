"""An outcome topic that accepts nothing is reported, and holds up no other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.integration.test_reading import FAILED, SLACK, SOON
from tests.support import oracle
from tests.support.acls import Acls
from tests.support.events import purchase
from tests.support.kafka import KafkaServer
from tests.support.spine import Stages
from tests.support.stage import Here, Stage
from tests.support.waiting import eventually
from worker.kafka.admin import ensure_topics
from worker.kafka.topics import outcome_topic

BROKEN = outcome_topic(FAILED)


async def deleted(on: Stage, _acls: Acls) -> Callable[[], Awaitable[None]]:
    """The topic is deleted; returns what creates it again."""
    await on.wire.delete([BROKEN])

    async def create() -> None:
        await ensure_topics(on.settings(), [BROKEN])

    return create


async def not_writable(on: Stage, acls: Acls) -> Callable[[], Awaitable[None]]:
    """The worker loses the right to write to the topic; returns what gives it back."""
    name = on.env["KAFKA_TOPIC_PREFIX"] + BROKEN
    acls.deny(name, "WRITE")

    async def restore() -> None:
        acls.restore(name)

    return restore


@pytest.mark.kafka
@pytest.mark.timeout(200)
@pytest.mark.parametrize("breaks", [deleted, not_writable])
async def test_an_outcome_topic_that_accepts_nothing_holds_up_no_other(
    restartable_stage: Stages,
    own_kafka: KafkaServer,
    breaks: Callable[[Stage, Acls], Awaitable[Callable[[], Awaitable[None]]]],
) -> None:
    """An outcome topic is deleted, or may not be written to any more, while outcomes wait for it: readiness names it,
    the outcomes of every other topic are published, also those that a dead replica left; when it accepts outcomes
    again, those that waited are published and the replica is ready.
    """
    acls = Acls(own_kafka)
    on = await restartable_stage()
    acls.all_of(on.env["KAFKA_TOPIC_PREFIX"])
    here = await on.replica(**acls.settings)
    await on.buy(purchase(1))
    await on.all_ended()
    await _failed(on, "f-1")
    await eventually(lambda: _published(on, "f-1"), SOON)
    restore = await breaks(on, acls)
    await _failed(on, "f-2")
    await eventually(lambda: _names_the_topic(here), SOON + SLACK)
    await on.buy(purchase(2))
    await on.all_ended()
    await on.rows("update outcome set published_at = null, lease_until = clock_timestamp() where event_id = 'e-1'")
    await eventually(lambda: _published(on, "e-1"), SOON)
    assert not await _published(on, "f-2")
    await restore()
    await eventually(lambda: _published(on, "f-2"), SOON + SLACK)
    await here.ready()
    await oracle.nothing_stuck(on)


async def _failed(on: Stage, event_id: str) -> None:
    await on.wire.send({"eventId": event_id, "traderId": "cust-1", "orderId": "100001"}, topic=FAILED)


async def _published(on: Stage, event_id: str) -> bool:
    found = await on.rows("select published_at from outcome where event_id = $1", event_id)
    return bool(found) and all(row["published_at"] is not None for row in found)


async def _names_the_topic(here: Here) -> bool:
    why = (await here.replica.health.ready())["outbox"] or ""
    assert BROKEN in why, why
    return True
