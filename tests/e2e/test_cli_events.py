"""`send` and `watch` on an embedded Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ROOT, worker
from tests.support.waiting import eventually, eventually_sync
from worker.cli._outcome_reader import reading
from worker.embedded import EmbeddedKafka
from worker.kafka.producer import RecordProducer
from worker.settings import KafkaSettings, load

TOPIC = "md.signed"


def signed(number: int) -> dict[str, Any]:
    return {"eventId": f"e-{number}", "userId": 100 + number}


def outcome(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "outcomeId": f"o-{number}",
        "eventId": f"e-{number}",
        "topic": TOPIC,
        "status": "succeeded",
        "orderId": f"1{number:04}",
        "traderId": "cust-77",
        "errorText": None,
        "occurredAt": "2026-11-20T23:00:00.000Z",
        **fields,
    }


@pytest.fixture
def env(embedded_kafka: EmbeddedKafka, topic_prefix: str) -> Mapping[str, str]:
    """Settings of a broker with the topics of one flow."""
    embedded_kafka.touch_topics(topic_prefix + name for name in (TOPIC, f"{TOPIC}.outcome", f"{TOPIC}.dlq"))
    return {"KAFKA_BOOTSTRAP_SERVERS": embedded_kafka.bootstrap_servers, "KAFKA_TOPIC_PREFIX": topic_prefix}


async def records(env: Mapping[str, str], topic: str, count: int) -> list[Mapping[str, Any]]:
    """The first records of a topic."""
    async with reading(load(KafkaSettings, env), [topic], from_start=True) as reader, asyncio.timeout(20):
        return [(await reader.next()).body or {} for _ in range(count)]


async def publish(env: Mapping[str, str], *outcomes: dict[str, Any] | bytes) -> None:
    """Puts outcomes on their topic, as the worker does."""
    settings = load(KafkaSettings, env)
    async with RecordProducer(settings) as producer:
        for one in outcomes:
            value = one if isinstance(one, bytes) else json.dumps(one).encode()
            await producer.send(f"{settings.kafka_topic_prefix}{TOPIC}.outcome", value=value, key=b"k")


@pytest.mark.parametrize("form", ["lines", "array", "pretty"])
async def test_events_are_sent_from_a_file_or_a_pipe(env: Mapping[str, str], tmp_path: Path, form: str) -> None:
    """Each event of a file, whatever its layout, or of standard input is on the topic once."""
    events = [signed(1), signed(2)]
    text = {
        "lines": "\n".join(map(json.dumps, events)),
        "array": json.dumps(events),
        "pretty": "\n".join(json.dumps(one, indent=1) for one in events),
    }[form]
    (tmp_path / "events").write_text(text)
    for arguments, stdin in (([str(tmp_path / "events")], ""), (["-"], text), ([], text)):
        with worker("send", TOPIC, *arguments, "--verbose", env=env, stdin=stdin) as process:
            assert process.wait() == 0, process.stderr
            lines = process.stdout.splitlines()
            assert "Sent 2 events to md.signed" in lines[-1]
            assert "e-1 is at partition" in lines[0]
    found = await records(env, TOPIC, 6)
    assert sorted(one["eventId"] for one in found) == ["e-1"] * 3 + ["e-2"] * 3


def test_of_bad_events_none_is_sent(env: Mapping[str, str]) -> None:
    """When any event is bad each bad one is named with its line, no value is repeated, and nothing is sent."""
    lines = [json.dumps(signed(1)), '{"userId": 7}', '{"eventId": "e-3", "userId": "hush"}', "{hush"]
    with worker("send", TOPIC, env=env, stdin="\n".join(lines)) as process:
        assert process.wait() == 1
        lines = process.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["line 2", "line 3", "line 4", "Error"]
    assert "eventId" in lines[0]
    assert "none was sent" in lines[3]
    assert "hush" not in "".join(lines)
    with worker("send", TOPIC, env=env, stdin="{}") as process:
        assert process.wait() == 1
        assert process.stderr.count("\n") == 1
        assert "Nothing was sent" in process.stderr


def test_the_catalogue_is_asked_for_by_purchases_alone(env: Mapping[str, str], embedded_kafka: EmbeddedKafka) -> None:
    """Other events are sent whatever `PRODUCTS_FILE` is; for a purchase it is named, with what it should be."""
    embedded_kafka.touch_topics([env["KAFKA_TOPIC_PREFIX"] + "trader.failed"])
    wrong = {**env, "PRODUCTS_FILE": "/no/such/products.toml"}
    event = json.dumps({"eventId": "e", "traderId": "cust-77", "orderId": "1"})
    with worker("send", "trader.failed", env=wrong, stdin=event) as process:
        assert process.wait() == 0, process.stderr
    with worker("send", "trader.purchased", env={**wrong, "KAFKA_TOPIC_PARTITIONS": "x"}, stdin=event) as process:
        assert process.wait() == 2
        assert "KAFKA_TOPIC_PARTITIONS" in process.stderr
        assert "a TOML file that can be read, for example /etc/tradovate/products.toml" in process.stderr
        assert process.stderr.count("\n") == 1


def test_each_of_many_bad_events_is_named(env: Mapping[str, str]) -> None:
    """However many events are bad, each is a line, and none is left out."""
    with worker("send", TOPIC, env=env, stdin="\n".join(["{}"] * 30)) as process:
        assert process.wait() == 1
        lines = process.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines] == [*(f"line {number}" for number in range(1, 31)), "Error"]


def test_a_missing_topic_names_its_fix(env: Mapping[str, str]) -> None:
    """An event for a topic that the broker does not have is refused with the command that makes it."""
    event = json.dumps({"eventId": "e", "accountId": 1, "userId": 2})
    for arguments in (("send", "account.assigned"), ("watch", "--topic", "account.assigned")):
        with worker(*arguments, env=env, stdin=event) as process:
            assert process.wait() == 1
            assert "tradovate-worker topics create" in process.stderr
            assert process.stderr.count("\n") == 1


async def test_outcomes_are_watched_line_by_line(env: Mapping[str, str]) -> None:
    """On a pipe each outcome is a line at once and whole, from now on; Ctrl-C ends it with 130 and without a word."""
    await publish(env, outcome(1))
    with worker("watch", env=env) as process:
        await eventually(lambda: "STATUS" in process.stdout, 20)
        await publish(env, outcome(2, errorText="x" * 300), b"no outcome", outcome(3))
        await eventually(lambda: process.stdout.count("\n") == 3, 20)
        process.interrupt()
        assert await asyncio.to_thread(process.wait) == 130
        assert "e-1 " not in process.stdout
        assert "x" * 300 in process.stdout
        assert "\x1b" not in process.stdout
        assert process.stderr.startswith("Left out what is no outcome: md.signed.outcome, partition")
        assert process.stderr.count("\n") == 1


async def test_a_laid_out_outcome_is_one_line_of_json(env: Mapping[str, str]) -> None:
    """With --json an outcome over several lines becomes one, however deeply what else is in it may be nested."""
    one = outcome(1, other="two  spaces")
    deep = json.dumps(one, indent=2)[:-2] + f',\r\n  "deep": {"[" * 300}{"]" * 300}\n}}'
    await publish(env, deep.encode())
    with worker("watch", "--json", "--from-start", "-n", "1", env=env) as process:
        assert await asyncio.to_thread(process.wait) == 0, process.stderr
        assert process.stdout.count("\n") == 1
        assert json.loads(process.stdout) == json.loads(deep)


async def test_outcomes_are_filtered_and_counted(env: Mapping[str, str]) -> None:
    """With --json a line is the outcome as it is on the wire, of those that fit the filters, so many as asked for."""
    wanted = [outcome(1), outcome(2, traderId="cust-78"), outcome(3)]
    await publish(env, *wanted)
    for arguments, found in (
        (["--trader", "cust-77", "--count", "2"], [wanted[0], wanted[2]]),
        (["--order", "10002", "--count", "1"], [wanted[1]]),
        (["--event", "e-3", "--topic", TOPIC, "-n", "1"], [wanted[2]]),
    ):
        with worker("watch", "--json", "--from-start", *arguments, env=env) as process:
            assert await asyncio.to_thread(process.wait) == 0, process.stderr
            assert [json.loads(line) for line in process.stdout.splitlines()] == found


@pytest.mark.parametrize("moment", ["maps", "fd"])
def test_ctrl_c_is_130_at_any_moment(env: Mapping[str, str], moment: str) -> None:
    """Ctrl-C ends a command with 130 and without a word, while its code is read and while it connects."""
    with worker("watch", "--json", env=env, cold=True) as process:
        eventually_sync(lambda: _reads_code(process.pid) if moment == "maps" else _has_socket(process.pid), 20)
        process.interrupt()
        assert process.wait() == 130
        assert process.stdout + process.stderr == ""


def test_ctrl_c_in_compiled_text_is_130(tmp_path: Path) -> None:
    """Ctrl-C while Python runs text that a library made (a dataclass does) ends a command with 130 like any other."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED_IN_TEXT)
    with worker("watch", env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}) as process:
        assert process.wait() == 130
        assert process.stdout + process.stderr == ""


INTERRUPTED_IN_TEXT = """
import signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "worker.cli.application":
            exec("signal.raise_signal(signal.SIGINT)")

sys.meta_path.insert(0, Interrupt())
"""
"""What Python reads before the program: the signal comes in the middle of an `exec`."""


def _reads_code(pid: int) -> bool:
    """Whether the process has read the first large library that a command uses."""
    return "pydantic_core" in Path(f"/proc/{pid}/maps").read_text()


def _has_socket(pid: int) -> bool:
    """Whether the process is past its imports: an event loop has sockets."""
    with contextlib.suppress(FileNotFoundError):  # closed while it is looked at
        return any(str(one.readlink()).startswith("socket:") for one in Path(f"/proc/{pid}/fd").iterdir())
    return False
