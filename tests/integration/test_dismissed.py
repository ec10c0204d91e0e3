"""A dead letter that needs no replay is dismissed: recorded with who and why, and no longer counted as open."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import httpx

from tests.integration.test_console import TOKEN, console
from tests.integration.test_kept_letters import DLQ, dlq, kept, on_topic, too_large
from tests.support.spine import Stages
from tests.support.stage import PURCHASED
from tests.support.waiting import eventually
from worker.ledger import replays
from worker.ledger.database import Database
from worker.ledger.replays import Place

WHY = "a test of the shop"


async def test_a_dismissed_letter_is_settled(stage: Stages) -> None:
    """A dead letter that is dismissed, on its topic or in the ledger, is not counted as open, no replay of all takes
    it, also with `--again`, and one that names it still does.
    """
    on = await stage(KAFKA_TOPIC_PARTITIONS="1")
    await on.wire.takes_at_most(DLQ, 20_000)
    here = await on.replica(CONSOLE_TOKEN=TOKEN)
    await on.wire.send(too_large(77), key=b"large")
    await on.wire.send(b"no json", key=b"small")
    await kept(on)
    await eventually(lambda: on.wire.dead_letters)
    one = [PURCHASED, "--partition", "0", "--offset", "0"]
    for stored in ("ledger", "topic"):
        done = await dlq(on, "dismiss", *one, "--stored", stored, "--reason", WHY, "--by", "Ada", "--json")
        assert (done.code, done.json["stored"], done.json["dismissedBy"]) == (0, stored, "Ada"), done.stderr
    listed = (await dlq(on, "list", "--json")).json
    assert [(each["dismissed"], each["dismissedBy"], each["replayed"]) for each in listed] == [(WHY, "Ada", False)] * 2
    assert (await dlq(on, "list")).stdout.count("dismissed") == 2
    assert f"by Ada: {WHY}" in (await dlq(on, "show", *one)).stdout
    async with console(here) as client:
        page = (await client.get("/dead-letters", params={"topic": PURCHASED})).text
        assert page.count(">dismissed<") == 2
        assert "(1)" not in page
        assert "(2)" not in page
    for again in ([], ["--again"]):
        assert (await dlq(on, "replay", PURCHASED, *again, "--json")).json["replayed"] == 0
    assert len(await on_topic(on)) == 2
    assert (await dlq(on, "replay", *one, "--stored", "topic", "--json")).json["replayed"] == 1
    assert (await dlq(on, "replay", *one, "--stored", "ledger", "--json")).json["replayed"] == 1
    none = await dlq(on, "dismiss", PURCHASED, "--partition", "0", "--offset", "99", "--reason", "x")
    assert (none.code, "dlq list" in none.refusal) == (1, True)
    assert (await dlq(on, "dismiss", *one, "--reason", " ")).code == 2
    assert (await dlq(on, "dismiss", *one, "--reason", WHY, "--by", " ")).code == 2


async def test_the_console_dismisses_a_letter_and_counts_only_open_ones(stage: Stages) -> None:
    """The overview counts an open dead letter until an operator dismisses it on its page, which asks for a reason and
    keeps it with their name; then nothing is wrong.
    """
    on = await stage(KAFKA_TOPIC_PARTITIONS="1")
    await on.wire.takes_at_most(DLQ, 20_000)
    here = await on.replica(CONSOLE_TOKEN=TOKEN)
    await on.wire.send(too_large(77))
    await on.wire.send(b"no json")
    await kept(on)
    await eventually(lambda: on.wire.dead_letters)
    letter = f"/dead-letters/{PURCHASED}/0/0"
    async with console(here) as client:
        await eventually(lambda: _says(client, "2 dead letters wait to be looked at."), 20)
        assert "Say why" in (refused := await client.post(f"{letter}/dismiss", data={"reason": " "})).text
        assert refused.status_code == 422
        for stored in ("", "?stored=ledger"):
            done = await client.post(f"{letter}/dismiss{stored}", data={"reason": WHY, "by": "Ada"})
            assert (done.status_code, done.headers["location"]) == (303, f"{letter}{stored}")
            page = (await client.get(f"{letter}{stored}")).text
            assert f"by Ada: {WHY}" in page
            assert 'id="dismiss"' not in page
            left = {"": "1 dead letter waits to be looked at.", "?stored=ledger": "Nothing is wrong."}[stored]
            await eventually(partial(_says, client, left), 20)
        assert (await client.post(f"/dead-letters/{PURCHASED}/0/99/dismiss", data={"reason": WHY})).status_code == 404
    for table in ("replay", "dead_letter"):
        (row,) = await on.rows(f"select dismissed, dismissed_by from {table}")  # noqa: S608 - the test's own words
        assert tuple(row) == (WHY, "Ada")


async def test_a_replay_that_fails_leaves_a_letter_dismissed(ledgers: Callable[[], str]) -> None:
    """A dismissed dead letter that is named for a replay stays dismissed, by the same operator, until it was sent."""
    database, place = Database(ledgers(), size=1), Place(0, 7, int(time.time() * 1000))
    async with database.connection() as connection:
        await replays.dismiss(connection, PURCHASED, place, WHY, "Ada")
        assert await replays.claim(connection, PURCHASED, [place], again=True) == set()
        before = await replays.settled(connection, PURCHASED, [place])
        assert await replays.claim(connection, PURCHASED, [place], again=False, named=True) == {place}
        await replays.release(connection, PURCHASED, [place])
        assert await replays.settled(connection, PURCHASED, [place]) == before
        assert await replays.claim(connection, PURCHASED, [place], again=False, named=True) == {place}
        await replays.sent(connection, PURCHASED, [place], "Ada")
        assert (await replays.settled(connection, PURCHASED, [place]))[place].dismissed is None
        assert await replays.claim(connection, PURCHASED, [place], again=False, named=True) == set()
    await database.close()


async def _says(client: httpx.AsyncClient, words: str) -> bool:
    page = (await client.get("/")).text
    assert words in page, page
    return True
