"""`demo`: everything on this machine, with sample events through every flow, and a verdict."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from schemas.chicago import CHICAGO
from worker.cli._app import example, group
from worker.cli._errors import FAILED
from worker.cli.demo.others import others
from worker.cli.demo.parts import Stage, staged
from worker.cli.demo.play import play
from worker.cli.demo.purchases import plain_purchases, purchases
from worker.cli.demo.running_firm import running_firm
from worker.cli.demo.samples import Sample
from worker.cli.demo.show import Show
from worker.cli.demo.verdict import SeenRecords, effects, wrong_with
from worker.embedded import EmbeddedKafka, EmbeddedPostgres
from worker.kafka.topics import ALL_TOPICS
from worker.partner.operations import OPERATIONS

app = group()


@app.command(
    epilog=example("tradovate-worker demo", "tradovate-worker demo --events 1000", "tradovate-worker demo --keep")
)
def demo(
    events: Annotated[int, typer.Option("--events", min=0, help="So many plain purchases more.")] = 0,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")] = False,
) -> int:
    """Show the worker at work, with nothing installed but Python and this program's extra `demo`.

    Starts a PostgreSQL, a Kafka, a simulated Tradovate, a worker with its console and a bridge, sends sample events
    through every flow, and shows the outcomes and the calls that it took. Exits 0 only when every event got the outcome
    that it should. It reads no settings and no .env and takes free ports: it can touch nothing real.
    """
    # Until the event loop has its own: SIGTERM alone would leave the temporary directories behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(FAILED))
    return _with_servers(Show(), events, keep=keep)


def _with_servers(show: Show, events: int, *, keep: bool) -> int:
    with (
        tempfile.TemporaryDirectory(prefix="tradovate-demo-") as home,
        EmbeddedKafka() as kafka,
        EmbeddedPostgres() as postgres,
    ):
        kafka.touch_topics(ALL_TOPICS)
        show.part("Kafka", f"embedded, {kafka.bootstrap_servers}")
        show.part("PostgreSQL", "embedded")
        url = postgres.create_database("ledger")
        return asyncio.run(_demo(show, Path(home), kafka.bootstrap_servers, url, events, keep=keep))


async def _demo(show: Show, home: Path, servers: str, url: str, events: int, *, keep: bool) -> int:
    task = asyncio.current_task()
    assert task is not None
    terminated = False

    def end() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    code = FAILED
    try:
        async with staged(home, servers, url, show.part) as stage:
            users, accounts = stage.seeded["userIds"], stage.seeded["accountIds"]
            today = datetime.now(CHICAGO).date().isoformat()
            chosen = [*purchases(users), *others(users, accounts, today), *plain_purchases(events)]
            show.heading("Events in, outcomes out")
            seen = await play(stage, chosen, show)
            state = stage.partner.sandbox.control.state()
            differs = await running_firm(show, stage, home)
            code = _verdict(show, state, chosen, seen, differs)
            if keep:
                await _keep(show, stage)
    except asyncio.CancelledError:
        if not terminated:
            raise  # Ctrl-C
    return code


def _verdict(
    show: Show, state: Mapping[str, Any], chosen: Sequence[Sample], seen: SeenRecords, differs: Sequence[str]
) -> int:
    calls = state["calls"]
    names = {name.lower(): name for name in OPERATIONS}
    show.heading("What it took")
    show.calls(calls["by_path"], calls["items_by_path"], names)
    events = len(chosen)  # one that is sent twice is still one event
    show.say(f"{calls['total']} calls for {events} events: {calls['total'] * 100 / events:.1f} calls per 100.")
    show.heading("What took effect")
    found = effects(chosen, state["effects"])
    show.effects(found)
    problems = [f"{sample.event_id} ({sample.title}): {why}" for sample in chosen if (why := wrong_with(sample, seen))]
    problems += [f"{effect.name}: {effect.found}, not {effect.wanted}" for effect in found if not effect.right]
    problems += [f"made twice: {family}" for family in state["twice"]]
    problems += differs
    show.heading("Verdict")
    for problem in problems:
        show.say(problem, "red")
    right = f"all {events} events got the outcome that they should, each effect was made once"
    if problems:
        show.say(f"Failed: {len(problems)} things are not as they should be.", "red")
        return FAILED
    show.say(f"Done in {show.seconds:.1f} s: {right}.", "green")
    return 0


async def _keep(show: Show, stage: Stage) -> None:
    show.heading("Everything is left running. Use it in another shell with")
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL"):
        show.say(f"export {name}='{stage.settings[name]}'")
    show.say(f"The console: {stage.worker.address}/ (its token: {stage.settings['CONSOLE_TOKEN']})")
    for part in (stage.worker, stage.bridge):
        show.say(f"The {part.name}: {part.address}/health/ready and /metrics; its log: {part.log}")
    show.say(f"The simulated Tradovate: {stage.partner.url}/control/state")
    show.say("Ctrl-C ends it.", "bold")
    await stage.ends()
