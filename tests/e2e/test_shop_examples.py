"""The README's examples for the shop's developer, run as they stand there."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from schemas.outcomes import OUTCOME_EXAMPLES
from tests.support.events import purchase
from tests.support.node import furnish
from tests.support.processes import ROOT, Process
from tests.support.spine import Stages
from tests.support.stage import PURCHASED, Stage
from tests.support.waiting import eventually
from worker.ledger import holds
from worker.ledger.database import Database

LINES = 20
"""Of an example, without imports and empty lines."""

CALLS = {
    "python": "import sys\nprint('final', json.dumps(asyncio.run(ask(*sys.argv[1:3], json.loads(sys.argv[3])))))\n",
    "js": "const [servers, topic, event] = process.argv.slice(2);\n"
    "console.log('final', JSON.stringify(await ask([servers], topic, JSON.parse(event))));\n",
}
"""What the test adds to an example: its call, with the arguments of the command line."""


def example(language: str) -> str:
    """The README's example of a language."""
    section = (ROOT / "README.md").read_text().split("## From the shop", 1)[1].split("\n## ", 1)[0]
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.mark.parametrize("language", CALLS)
def test_an_example_has_twenty_lines(language: str) -> None:
    """What a shop needs to send an event and wait for its outcome fits in twenty lines."""
    code = [line for line in example(language).splitlines() if line and not line.startswith(("import ", "from "))]
    assert len(code) <= LINES


@pytest.mark.usefixtures("node")
async def test_the_examples_wait_for_the_final_outcome(real_stage: Stages, tmp_path: Path) -> None:
    """Each of the README's examples sends a purchase to a broker with a worker, passes over other events' outcomes and
    repeats, does not take `pending` for the end, and returns the final outcome.
    """
    on = await real_stage()
    database = Database(on.database_url, size=1)
    async with database.transaction() as connection:
        await holds.pause(connection, None, "a test")
    await on.replica()
    furnish(tmp_path)
    topic = on.env["KAFKA_TOPIC_PREFIX"] + PURCHASED
    runs = {}
    for number, (language, runner) in enumerate({"python": sys.executable, "js": "node"}.items()):
        script = tmp_path / f"shop.{'py' if language == 'python' else 'mjs'}"
        script.write_text(example(language) + CALLS[language])
        runs[f"e-{number}"] = Process([runner, str(script), on.servers, topic, json.dumps(purchase(number))])
    try:
        await eventually(lambda: _accepted(on, len(runs)), 40)
        await _publish(on, topic, list(runs))
        async with database.transaction() as connection:
            await holds.resume(connection, None)
        for event_id, process in runs.items():
            assert await asyncio.to_thread(process.wait) == 0, process.stderr
            lines = [line.strip() for line in process.stdout.splitlines() if not line.startswith("{")]
            *seen, final = lines
            assert seen == ["pending", "succeeded"]
            assert json.loads(final.removeprefix("final ")) == on.final(event_id)
    finally:
        for process in runs.values():
            process.close()
        await database.close()


async def _accepted(on: Stage, count: int) -> bool:
    return len(await on.rows("select 1 from flow")) == count


async def _publish(on: Stage, topic: str, event_ids: Sequence[str]) -> None:
    """What the outcome topic might hold besides: another event's outcome; `pending`, twice."""
    pending: dict[str, Any] = {**OUTCOME_EXAMPLES[0], "status": "pending", "errorCode": None, "errorText": None}
    async with AIOKafkaProducer(bootstrap_servers=on.servers) as producer:
        for body in (
            {**OUTCOME_EXAMPLES[0], "eventId": "another's"},
            *({**pending, "eventId": event_id, "outcomeId": f"p-{event_id}"} for event_id in (*event_ids, *event_ids)),
        ):
            await producer.send_and_wait(f"{topic}.outcome", json.dumps(body).encode(), key=b"k")
