"""A replica as a container runs it: 140 MB of memory and half a core, and more to do than fits into either."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.events import EVENTS
from tests.support.container import Container, why_no_container
from tests.support.events import purchase
from tests.support.lacking import lacks
from tests.support.replicas import ReplicaProcess
from tests.support.spine import Stages
from tests.support.usage import MOST, Usage
from tests.support.waiting import eventually

PURCHASES = 1_000

DOCUMENTS, BAD = 16, 90
"""Records of nearly a megabyte: events with documents, and bad input."""


@pytest.fixture
def container(request: pytest.FixtureRequest) -> Iterator[Container]:
    """With less memory than the 256 MB of the manifests, so that the test need not bring as much."""
    if reason := why_no_container():
        lacks(request, f"The tests of a replica in a container did not run: {reason}")
    with Container(memory=140_000_000) as made:
        yield made


@pytest.mark.timeout(120)
async def test_a_backlog_fits_into_a_container(real_stage: Stages, container: Container) -> None:
    """Whatever waits, also documents of a megabyte, a replica stays within its memory, its connections, descriptors and
    threads, and its liveness probe stays green.
    """
    on = await real_stage(TRADOVATE_HOURLY_BUDGET="40", CONSOLE_TOKEN="a token of the tests")  # next to nothing leaves
    await asyncio.gather(*(on.wire.send(purchase(number), key=b"%d" % number) for number in range(PURCHASES)))
    for number in range(DOCUMENTS):
        await on.wire.send(_with_documents(number), topic="trader.passed", key=b"%d" % number)
    for number in range(BAD):
        await on.wire.send({"eventId": f"bad-{number}", "padding": "x" * 950_000}, key=b"%d" % number)
    replica = ReplicaProcess(on.env, within=container)
    on.processes.append(replica)
    await replica.ready()
    async with Usage.watched(replica, on.database_url) as usage:

        async def done() -> bool:
            assert replica.returncode is None, f"ended with {replica.returncode}: {container.kills} kills"
            flows = (await on.rows("select count(*) from flow"))[0][0]
            dead = sum(each.topic == "trader.purchased.dlq" for each in on.wire.heard)
            assert (flows, dead) >= (PURCHASES + DOCUMENTS, BAD), (flows, dead)
            return True

        await eventually(done, 90)
    assert (container.kills, usage.failed, usage.above) == (0, 0, {}), (usage.most, MOST)
    replica.terminate()
    assert await replica.ended() == 0


def _with_documents(number: int) -> dict[str, Any]:
    example = dict(EVENTS["trader.passed"].examples[0])
    document = "data:application/pdf;base64," + base64.b64encode(os.urandom(230_000)).decode()
    named = {"eventId": f"p-{number}", "orderId": f"{number}", "userId": 5_000 + number}
    return {**example, **named, "documents": [document] * 3}
