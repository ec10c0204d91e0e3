"""`flows export`: what auditors get, from a real ledger."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import pytest

from schemas.events import TraderPurchased
from tests.support.events import personal
from tests.support.processes import KEPT, ROOT
from tests.support.work import ACCOUNTS, USERS, Work, purchases
from worker.cli._export_lines import COLUMNS
from worker.cli.main import main
from worker.engine.rows import Finish
from worker.ledger import audit, holds, replays
from worker.ledger.audit import Line
from worker.ledger.call_log import EndedCall
from worker.ledger.database import Database
from worker.ledger.operator_actions import OperatorActions
from worker.ledger.rows import Batch
from worker.operate.flow_export import export
from worker.replies import Answer
from worker.results import Succeeded

MANY = 2 * audit.PAGE + 500

OLD = """
insert into flow (id, topic, event_id, partition, "offset", state, asked_at, created_at, ended_at)
select (lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0') || '70008' || lpad(to_hex(i), 15, '0'))
    ::uuid,
    'md.signed', 'old-' || i, 0, i, 'succeeded', at, at, at
from (select i, date_trunc('milliseconds', now() - interval '1 day') + interval '1 ms' * i as at
    from generate_series(1, $n) i) as n;
insert into call (operation, endpoint, domain, kind, items, replica, at, finished_at, result, http_status)
select 'addEntitlementSubscription', 'addEntitlementSubscription', 'live', 'send', 1, 'old', at, at, 'answer', 200
from (select now() - interval '1 day' + interval '1 ms' * i as at from generate_series(1, $n) i) as n;
""".replace("$n", str(MANY))
"""Flows and calls of yesterday, some pages of each."""

FORMULA = '=HYPERLINK("x")'
"""The id of an event."""


async def a_day(database: Database) -> Batch:
    """Two purchases; one of them is cancelled, of the other a call is under way. Besides a lock-out, a pause and its
    end, and a dead letter that is dismissed and replayed.
    """
    work = Work(database)
    first, second = purchases(1, 2)
    await work.accept("trader.purchased", [{**second, "eventId": FORMULA}, first])
    await work.send(USERS, {"userId": 7_000_000})
    flow = await flow_of(database, FORMULA)
    await OperatorActions(work.ledger, lambda _: True).cancel(flow, "withdrawn", "+ann")
    (claimed,) = await work.claim(ACCOUNTS)
    async with database.transaction() as connection:
        await holds.put(connection, holds.ALL, "locked out: Tradovate answered 429", lasts=timedelta(hours=1))
        await holds.put(connection, holds.ALL, "locked out: Tradovate answered 429", lasts=timedelta(hours=2))
        await holds.end(connection, holds.ALL, "a test")
        await holds.pause(connection, USERS, "a look", "ann")
        await holds.resume(connection, USERS, by="bob")
        place = replays.Place(3, 17, 0)
        await replays.dismiss(connection, "md.signed", place, "a\ttest\nof ours", "ann")
        await replays.sent(connection, "md.signed", [place], "bob")
    return claimed


async def flow_of(database: Database, event_id: str) -> uuid.UUID:
    async with database.connection() as connection:
        found: uuid.UUID = await connection.fetchval("select id from flow where event_id = $1", event_id)
        return found


def on_ledger(url: str, work: Callable[[Database], Awaitable[None]]) -> None:
    """Runs something on a ledger, from beginning to end, beside whatever else runs."""

    async def run() -> None:
        database = Database(url)
        await work(database)
        await database.close()

    other = threading.Thread(target=lambda: asyncio.run(run()))
    other.start()
    other.join()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ledger_url: str) -> Callable[..., str]:
    """Runs the command on a ledger of the test's own; returns what it prints."""
    monkeypatch.setenv("DATABASE_URL", ledger_url)

    def export_(*more: str) -> str:
        code = main(["flows", "export", *more])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return export_


def test_everything_that_was_done_is_a_line(run: Callable[..., str], ledger_url: str) -> None:
    """Flows, calls, what operators did and holds of the program, in the order of time, with who, why and when; as CSV
    with nothing that a spreadsheet would run, and as JSON Lines the same; and nothing personal.
    """
    on_ledger(ledger_url, _a_day)
    text = run()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert text.splitlines()[0] == ",".join(COLUMNS)
    assert len(text.splitlines()) == len(rows) + 1
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row["time"]) for row in rows)
    flows = {row["eventId"]: row for row in rows if row["kind"] == "flow"}
    cancelled, open_ = flows[f"'{FORMULA}"], flows["e-1"]
    assert (cancelled["state"], cancelled["errorCode"]) == ("failed", "cancelled")
    assert (open_["state"], open_["endedAt"]) == ("working", "")
    users, accounts = (row for row in rows if row["kind"] == "call")
    assert (users["operation"], users["items"], users["by"], users["state"]) == (USERS, "2", "here", "answer")
    assert (accounts["operation"], accounts["items"], accounts["state"]) == (ACCOUNTS, "1", "")
    assert (cancelled["calls"], open_["calls"]) == (users["id"], f"{users['id']} {accounts['id']}")
    done = [[row[name] for name in ("kind", "action", "by", "reason", "subject")] for row in rows if row["action"]]
    assert [each for each in done if each[0] != "call"] == [
        ["operator", "cancel", "'+ann", "withdrawn", ""],
        ["hold", "hold", "worker", "locked out: Tradovate answered 429", "all"],
        ["hold", "release", "worker", "a test", "all"],
        ["operator", "pause", "ann", "a look", f"pause:{USERS}"],
        ["operator", "resume", "bob", "resumed", f"pause:{USERS}"],
        ["operator", "dismiss", "ann", "a\\ttest\\nof ours", "partition 3, offset 17"],
        ["operator", "replay", "bob", "", "partition 3, offset 17"],
    ]
    lines = [json.loads(line) for line in run("--format", "jsonl").splitlines()]
    assert [list(line) for line in lines] == [list(COLUMNS)] * len(rows)
    assert [line["id"] for line in lines] == [row["id"] for row in rows]
    assert {FORMULA, "e-1"} == {line["eventId"] for line in lines if line["kind"] == "flow"}
    assert not any(value in text for event in purchases(1, 2) for value in personal(event))
    assert run("--bom").startswith("\ufefftime,")


async def _a_day(database: Database) -> None:
    await a_day(database)


def test_a_time_and_a_trader_are_selected(run: Callable[..., str], ledger_url: str) -> None:
    """`--since` is in, `--until` is not, to the millisecond; of a trader there are the flows, their calls, and what
    operators did to them.
    """
    on_ledger(ledger_url, _a_day)
    on_ledger(ledger_url, _yesterday)
    rows = list(csv.DictReader(io.StringIO(run())))
    times = [row["time"] for row in rows]
    assert len(rows) == 2 * MANY + 11
    some = run("--since", times[100], "--until", times[2 * MANY - 200])
    within = [row for row in rows if times[100] <= row["time"] < times[2 * MANY - 200]]
    assert [row["id"] for row in csv.DictReader(io.StringIO(some))] == [row["id"] for row in within]
    trader = list(csv.DictReader(io.StringIO(run("--trader", "cust-2"))))
    assert [(row["kind"], row["action"]) for row in trader] == [("flow", ""), ("call", "send"), ("operator", "cancel")]
    assert run("--trader", "nobody").splitlines() == [",".join(COLUMNS)]


async def _yesterday(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(OLD)


async def test_what_happens_meanwhile_is_not_in_it(ledger_url: str) -> None:
    """An export shows the moment at which it began, however long it takes: what begins, ends or is reopened meanwhile
    is shown as it stood.
    """
    database = Database(ledger_url, 3, reading=True)
    await _yesterday(database)
    batch = await a_day(database)
    lines: list[Line] = []

    async def meanwhile(other: Database) -> None:
        again = Work(other)
        event = TraderPurchased.model_validate({**purchases(2, 1)[0], "eventId": FORMULA})
        await OperatorActions(again.ledger, lambda _: True).retry(await flow_of(other, FORMULA), event, "again", "bob")
        ended = Finish(Succeeded({"accountId": 1, "accountName": "EVAL1", "tradingPermissionId": 2}))
        await again.ledger.record(batch.lease, [(batch.steps[0], ended)], EndedCall(batch.call_id, Answer({})))
        await again.accept("trader.purchased", purchases(3, 1))
        await again.send(USERS, {"userId": 7_000_000})
        async with other.transaction() as connection:
            await holds.pause(connection, None, "later", "bob")

    def write(some: Sequence[Line]) -> None:
        if not lines:
            on_ledger(ledger_url, meanwhile)
        lines.extend(some)

    assert await export(database, write) == 2 * MANY + 11
    await database.close()
    assert len(lines) == 2 * MANY + 11
    flows = {line.event_id: line for line in lines if line.kind == "flow"}
    assert flows[FORMULA][14:16] == ("failed", "cancelled")
    assert (flows["e-1"].state, flows["e-1"].ended_at) == ("working", None)
    calls = [line for line in lines if line.kind == "call" and line.by == "here"]
    assert [line.state for line in calls] == ["answer", None]
    assert flows["e-1"].calls == [line.id for line in calls]


def test_a_reader_that_goes_and_ctrl_c_end_it_quietly(ledger_url: str) -> None:
    """When its reader has gone it ends with 0, and on Ctrl-C with 130, also while it waits for a reader; neither says
    a word. The server takes no writes.
    """
    on_ledger(ledger_url, _yesterday)
    on_ledger(ledger_url, _read_only)
    env = {name: os.environ[name] for name in KEPT if name in os.environ}
    for how, code in (("closed", 0), ("interrupted", 130)):
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "flows", "export"],
            cwd=ROOT,
            env={**env, "DATABASE_URL": ledger_url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        with process:
            assert process.stdout.readline().startswith(b"time,kind,")
            if how == "closed":
                process.stdout.close()
            else:
                process.send_signal(signal.SIGINT)
            assert (process.wait(60), process.stderr.read()) == (code, b"")


_IN_A_COLLECTOR = """
import signal
from worker.cli import _flows_export

class Collected:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

with _flows_export._interruptible():
    Collected()
"""


def test_ctrl_c_is_never_lost() -> None:
    """An exception that a signal raises while Python collects an object, or calls back, is only printed."""
    ended = subprocess.run([sys.executable, "-c", _IN_A_COLLECTOR], cwd=ROOT, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, b"")


async def _read_only(database: Database) -> None:
    async with database.connection() as connection:
        name = await connection.fetchval("select current_database()")
        await connection.execute(f"alter database {name} set default_transaction_read_only = on")
