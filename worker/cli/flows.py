"""`flows`: see what became of events, and repair what an operator has to repair."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated
from uuid import UUID

import typer

from schemas.cleaning import clean
from worker.cli import _flows_export as export
from worker.cli._app import example, group
from worker.cli._complete import TopicOption, completing
from worker.cli._errors import OptionFault, OptionRefused, one_of
from worker.cli._flow_rows import COLUMNS, as_json, head, row, rows_of, story_json
from worker.cli._note import By, note_from
from worker.cli._output import print_json, printable, table, warn
from worker.cli._times import Local, clock_of
from worker.engine.operator import SETTABLE
from worker.errors import quoted
from worker.kafka.topics import INPUT_TOPICS
from worker.ledger import browse
from worker.ledger.browse import FlowState, Summary
from worker.ledger.rows import OutcomeRow
from worker.ledger.story import Story
from worker.operate.flow_reading import FlowFilter, flow_by_id, flow_named, named, newest, story_named
from worker.operate.flow_repair import FlowRepair, Resolution, SeenAtPartner, fact_of
from worker.telemetry.logging import configure
from worker.wiring.commands import flow_ledger, flow_repair

app = group(
    "What became of events: list, show, export; and repairing: retry, cancel, resolve.",
    "tradovate-worker flows list --state failed",
    "tradovate-worker flows show 100234",
)

Name = Annotated[str, typer.Argument(metavar="ID", help="A flow, event or order id.", show_default=False)]
Reason = Annotated[str | None, typer.Option("--reason", help="Why; it is kept.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


_CANCELLED = "Cancelled by a person."
"""The outcome's text when no reason is given."""


@app.command(
    "list",
    epilog=example(
        "tradovate-worker flows list",
        "tradovate-worker flows list --state in_doubt --topic trader.passed",
        "tradovate-worker flows list --trader cust-77 --json | jq '.[].state'",
    ),
)
def list_(
    *,
    state: Annotated[
        list[str] | None,
        typer.Option("--state", help=f"{', '.join(FlowState)}; may come again.", autocompletion=completing(FlowState)),
    ] = None,
    topic: TopicOption = None,
    trader: Annotated[str | None, typer.Option("--trader", help="Only this traderId's.")] = None,
    order: Annotated[str | None, typer.Option("--order", help="Only this orderId's.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most so many.")] = 50,
    local: Local = False,
    before: Annotated[UUID | None, typer.Option("--before", help="Only older than this flow: the next page.")] = None,
    as_json_: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> int:
    """Show flows, the newest first: where each stands, when its next step is due, what went wrong."""
    wanted = FlowFilter(
        states=[FlowState(one_of(name, list(FlowState), "state")) for name in state or FlowState],
        topics=[one_of(name, INPUT_TOPICS, "input topic") for name in topic or INPUT_TOPICS],
        trader_id=None if trader is None else clean(trader),
        order_id=None if order is None else clean(order),
        before=before,
    )
    found = asyncio.run(_list(wanted, limit))
    if as_json_:
        print_json([as_json(flow) for flow in found])
        return 0
    clock = clock_of(local=local)
    table(COLUMNS, [row(flow, clock) for flow in found], empty="There are no such flows.")
    if len(found) == limit:
        warn(f"There may be more: --limit shows more, --before {found[-1].flow_id} the next ones.")
    return 0


@app.command(epilog=example("tradovate-worker flows show 100234", "tradovate-worker flows show e-1 --json"))
def show(name: Name, *, local: Local = False, as_json_: Json = False) -> int:
    """Show a flow with every step, call, wait, outcome and note; of several that an id means the newest."""
    story, others = asyncio.run(_show(name))
    if others:
        warn(f"{quoted(name)} means {len(others) + 1} flows; this is the newest. The others: {named(others)}.")
    if as_json_:
        print_json(story_json(story))
        return 0
    clock = clock_of(local=local)
    lines = head(story, clock)
    for label, value in lines:
        print(f"{label.ljust(max(len(each) for each, _ in lines))}  {printable(value)}")
    print()
    table(("time", "what", "details"), rows_of(story, clock), empty="")
    return 0


@app.command(
    epilog=example(
        'tradovate-worker flows retry e-1 --reason "the name is free again"',
        'tradovate-worker flows retry e-9 --not-made --reason "no request at Tradovate"',
    )
)
def retry(
    name: Name,
    *,
    reason: Reason = None,
    by: By = None,
    not_made: Annotated[
        bool, typer.Option("--not-made", help="You saw at Tradovate that what is in doubt was not made.")
    ] = False,
    as_json_: Json = False,
) -> int:
    """Try a failed flow again, or one in doubt; what may have been made before is looked up first.

    The event of a failed flow is read again from its topic: the ledger keeps its place, not its personal data.
    """
    note = note_from(reason, by, "Retried by a person.")

    def change(repair: FlowRepair, flow: Summary) -> Awaitable[Sequence[OutcomeRow]]:
        return repair.retry(flow, note, not_made=not_made)

    return asyncio.run(_change(name, change, "planned again", as_json_=as_json_))


@app.command(epilog=example('tradovate-worker flows cancel e-1 --reason "the trader has withdrawn"'))
def cancel(name: Name, *, reason: Reason = None, by: By = None, as_json_: Json = False) -> int:
    """Stop what is not sent yet: the flow ends as failed (cancelled), with the reason as the outcome's text."""
    note = note_from(reason, by, _CANCELLED)

    def change(repair: FlowRepair, flow: Summary) -> Awaitable[Sequence[OutcomeRow]]:
        return repair.cancel(flow, note)

    return asyncio.run(_change(name, change, "cancelled", as_json_=as_json_))


@app.command(
    epilog=example(
        "tradovate-worker flows resolve e-9 --outcome succeeded --set accountId=98765 --reason seen",
        'tradovate-worker flows resolve e-9 --outcome failed --reason "no request at Tradovate"',
    )
)
def resolve(
    name: Name,
    *,
    outcome: Annotated[
        SeenAtPartner, typer.Option("--outcome", help="How it ended, as you saw it.", show_default=False)
    ],
    facts: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help=f"{', '.join(SETTABLE)}; may come again."),
    ] = None,
    reason: Reason = None,
    by: By = None,
    as_json_: Json = False,
) -> int:
    """End a flow in doubt as an operator saw it at Tradovate, with the ids that it got."""
    resolution = Resolution(outcome, dict(_fact(text) for text in facts or ()))
    note = note_from(reason, by, _CANCELLED if outcome is SeenAtPartner.FAILED else "Resolved by a person.")

    def change(repair: FlowRepair, flow: Summary) -> Awaitable[Sequence[OutcomeRow]]:
        return repair.resolve(flow, resolution, note)

    return asyncio.run(_change(name, change, f"resolved as {outcome}", as_json_=as_json_))


app.command("export", epilog=export.EXAMPLE)(export.export)


def _fact(text: str) -> tuple[str, int | str]:
    """`NAME=VALUE` as the outcome's field and its value. Raises `OptionRefused` or `FactRefused`."""
    name, separator, value = text.partition("=")
    if not separator:
        raise OptionRefused("--set", OptionFault.NO_FACT)
    name = one_of(name, list(SETTABLE), "name that --set takes")
    return name, fact_of(name, value)


async def _list(wanted: FlowFilter, limit: int) -> list[Summary]:
    async with flow_ledger() as database, database.connection() as connection:
        return await newest(connection, wanted, limit)


async def _show(name: str) -> tuple[Story, Sequence[Summary]]:
    async with flow_ledger() as database, database.connection() as connection:
        return await story_named(connection, name)


Change = Callable[[FlowRepair, Summary], Awaitable[Sequence[OutcomeRow]]]


async def _change(name: str, change: Change, done: str, *, as_json_: bool) -> int:
    """Makes a change to the one flow that is meant, and prints what has become of it."""
    configure("critical", "json")  # a command reports by itself what there is to report
    async with flow_repair() as repairing:
        async with repairing.database.connection() as connection:
            flow = await flow_named(connection, name)
        outcomes = await change(repairing.repair, flow)
        async with repairing.database.connection() as connection:
            now = await flow_by_id(connection, flow.flow_id)
            workers = await browse.workers(connection)
    if as_json_:
        outcome_id = outcomes[-1].headers["ce_id"] if outcomes else None
        print_json({**as_json(now or flow), "outcomeId": outcome_id, "workers": workers})
    else:
        what = f"Flow {flow.flow_id} ({flow.topic}, event {printable(flow.event_id)}) is {done}."
        print(f"{what} {_outcome_note(outcomes, workers)}")
    return 0


def _outcome_note(outcomes: Sequence[OutcomeRow], workers: int) -> str:
    """What becomes of the outcome that an operator's action has made."""
    if not outcomes:
        return "A worker takes it up within seconds." if workers else "No worker runs: it goes on when one does."
    last = outcomes[-1]
    when = "a worker publishes it within seconds" if workers else "no worker runs: it is published when one does"
    return f"Outcome {last.status}, outcomeId {last.headers['ce_id']}: {when}."
