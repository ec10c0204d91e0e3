"""What is shown of a flow's life, out of the rows that real work has left."""

from __future__ import annotations

from schemas.base import utc_text
from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.stage import Stage
from tests.support.waiting import eventually
from worker.cli._flow_rows import rows_of
from worker.ledger import browse, holds
from worker.ledger.database import Database
from worker.ledger.story import Story, story_of
from worker.operate.flow_timeline import timeline


async def life(on: Stage, event_id: str) -> Story:
    """The story of an event's flow."""
    database = Database(on.env["DATABASE_URL"], size=1)
    try:
        async with database.connection() as connection:
            (flow,) = await browse.matches(connection, event_id)
            return await story_of(connection, flow)
    finally:
        await database.close()


def lines(story: Story) -> list[str]:
    """Its entries, a line each."""
    return [f"{entry.title}. {' '.join(entry.texts)}" for entry in timeline(story)]


def in_order(shown: list[str], *words: str) -> None:
    """Each of the words stands in a later line than the one before."""
    left = iter(shown)
    for each in words:
        assert any(each in line for line in left), (each, shown)


async def test_each_look_up_and_each_wait_is_reported_as_it_was(stage: Stages) -> None:
    """A call that was cut before it took effect, one that was cut after, a wait for a trader, and a pause."""
    on = await stage(TRADOVATE_SETTLE_SECONDS="1")
    await on.replica()
    second = purchase(2)
    del second["user"]
    second["traderId"] = purchase(1)["traderId"]
    await on.buy(second)
    await eventually(lambda: on.steps("state = 'waiting' and lease is null"))
    database = Database(on.env["DATABASE_URL"], size=1)
    async with database.connection() as connection:
        await holds.pause(connection, "createEvaluationUsers", "the wrong template")
    on.fault("cut_before", "/user/createEvaluationUsers", times=1)
    on.fault("cut_after", "/user/createEvaluationAccounts", times=1)
    await on.buy(purchase(1))
    await eventually(lambda: on.steps("state = 'due' and due < clock_timestamp() - interval '1 second'"))
    async with database.connection() as connection:
        await holds.resume(connection, "createEvaluationUsers")
    await database.close()
    await on.all_ended()
    first = await life(on, "e-1")
    in_order(
        lines(first),
        "Accepted",
        "createEvaluationUsers planned",
        "for the end of a hold (the wrong template, since",
        "Whether createEvaluationUsers took effect is not known",
        "Look-up reads user/find",
        "Look-up for createEvaluationUsers found nothing. The call had not taken effect. It is sent again",
        "Call createEvaluationUsers",
        "createEvaluationUsers took effect",
        "createEvaluationAccounts planned",
        "Outcome",
    )
    assert sum("took effect." in line for line in lines(first)) == 2, lines(first)
    assert not any("is next" in line for line in lines(first))
    assert len({at for at, _, _ in rows_of(first, utc_text)}) > 5
    other = await life(on, "e-2")
    in_order(lines(other), "Accepted", "Waited for the user of trader", "createEvaluationAccounts planned", "Outcome")
    both = [*lines(first), *lines(other)]
    assert any("createEvaluationAccounts found it. The call had taken effect." in line for line in both), both


async def test_a_look_up_for_what_is_not_there_says_so(stage: Stages) -> None:
    """A revocation on an account that Tradovate does not know shows a look-up that found nothing, and no effect."""
    on = await stage()
    await on.replica()
    await on.buy(purchase(1))
    await on.all_ended()
    event = {"eventId": "f-1", "traderId": purchase(1)["traderId"], "accountId": 987654}
    await on.wire.send(event, topic="trader.failed")
    outcome = await on.outcome(event)
    assert outcome["errorCode"] == "not_found"
    shown = lines(await life(on, "f-1"))
    in_order(
        shown, "Look-up for revokeTradingPermissions planned", "Look-up for revokeTradingPermissions found: nothing"
    )
    assert not any("took effect" in line for line in shown), shown
