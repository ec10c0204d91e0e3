"""Where a retry finds its event again: at the place where it stands now, and nowhere else."""

from __future__ import annotations

import pytest

from tests.e2e.test_flows_command import finals, flows, refused_by_the_partner
from tests.support import oracle
from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.stage import PURCHASED
from tests.support.waiting import eventually


@pytest.mark.timeout(120)
async def test_an_event_that_was_sent_again_is_retried_from_its_new_place(real_stage: Stages) -> None:
    """The topic was created again and the shop has sent the failed event once more: that is a repeat, and a retry reads
    it where it is now.
    """
    on = await real_stage(KAFKA_TOPIC_PARTITIONS="1")
    await on.replica()
    await refused_by_the_partner(on, purchase(1))
    await on.wire.create_again(PURCHASED, 1)
    await on.buy(purchase(2))
    await on.wire.send(purchase(1), partition=0)

    async def has_moved() -> bool:
        rows = await on.rows("""select "offset" from flow where event_id = 'e-1'""")
        return bool(rows[0]["offset"] == 1)

    await eventually(has_moved, 30)
    retried = await flows(on, "retry", "e-1")
    assert retried.code == 0, retried.stderr
    _, after = await finals(on, "e-1", 2)
    assert after["status"] == "succeeded"
    oracle.once_in_effect(on)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("there", "words"),
    [
        (purchase(2), "another event's now"),
        (purchase(1, orderId="777"), "other content"),
        (None, "no longer on its topic"),
    ],
    ids=["another id", "another content", "nothing"],
)
async def test_what_stands_in_an_events_place_is_not_taken_for_it(
    real_stage: Stages, there: dict[str, object] | None, words: str
) -> None:
    """The topic was created again, and where the failed event stood is another one, another content under its id, or
    nothing: a retry changes nothing and says so.
    """
    on = await real_stage(KAFKA_TOPIC_PARTITIONS="1")
    here = await on.replica()
    await refused_by_the_partner(on, purchase(1))
    await here.stop()
    await on.wire.create_again(PURCHASED, 1)
    if there is not None:
        await on.wire.send(there, partition=0)
    refused = await flows(on, "retry", "e-1")
    assert (refused.code, words in refused.refusal) == (1, True), refused.stderr
    assert [row["state"] for row in await on.rows("select state from flow")] == ["failed"]
