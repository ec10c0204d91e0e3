"""`flows`: see what became of events, and mend what an operator has to mend."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import typer

from schemas.base import MAX_INT64
from schemas.cleaning import clean
from schemas.outcomes import Status
from worker.cli._app import example, group
from worker.cli._complete import TopicOption, completing
from worker.cli._errors import WRONG_USAGE, CommandRefused, one_of
from worker.cli._flows import COLUMNS, as_json, head, row, rows_of, story_json
from worker.cli._mend import (
    CANCELLED,
    Mending,
    MendSettings,
    SeeSettings,
    flows_of,
    given_by,
    mending,
    named,
    opened,
    outcome_note,
    shown,
)
from worker.cli._output import print_json, printable, table, warn
from worker.cli._times import Local, clock_of
from worker.cli.holds import given_reason
from worker.engine.operator import SETTABLE
from worker.kafka.topics import INPUT_TOPICS
from worker.ledger import browse
from worker.ledger.browse import FlowState, Summary
from worker.ledger.rows import OutcomeRow
from worker.ledger.story import Story, story_of
from worker.settings import load

app = group(
    "What became of events: list, show; and mending: retry, cancel, resolve.",
    "tradovate-worker flows list --state failed",
    "tradovate-worker flows show 100234",
)

Name = Annotated[str, typer.Argument(metavar="ID", help="A flow, event or order id.", show_default=False)]
Reason = Annotated[str | None, typer.Option("--reason", help="Why; it is kept.", show_default=False)]
By = Annotated[str | None, typer.Option("--by", help="Who; it is kept. Your login name if left out.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


class Resolution(StrEnum):
    """What an operator saw at Tradovate."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


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
    filters: dict[str, Any] = {
        "states": [FlowState(one_of(name, list(FlowState), "state")) for name in state or FlowState],
        "topics": [one_of(name, INPUT_TOPICS, "input topic") for name in topic or INPUT_TOPICS],
        "trader_id": None if trader is None else clean(trader),
        "order_id": None if order is None else clean(order),
        "before": before,
    }
    found = asyncio.run(_list(load(SeeSettings), filters, limit))
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
    found, story = asyncio.run(_show(load(SeeSettings), name))
    if len(found) > 1:
        warn(f"{shown(name)} means {len(found)} flows; this is the newest. The others: {named(found[1:])}.")
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
    who = _who(reason, by, "Retried by a person.")
    return asyncio.run(_retry(load(MendSettings), name, who, not_made=not_made, as_json_=as_json_))


@app.command(epilog=example('tradovate-worker flows cancel e-1 --reason "the trader has withdrawn"'))
def cancel(name: Name, *, reason: Reason = None, by: By = None, as_json_: Json = False) -> int:
    """Stop what is not sent yet: the flow ends as failed (cancelled), with the reason as the outcome's text."""
    return asyncio.run(_cancel(load(MendSettings), name, _who(reason, by, CANCELLED), as_json_=as_json_))


@app.command(
    epilog=example(
        "tradovate-worker flows resolve e-9 --outcome succeeded --set accountId=98765 --reason seen",
        'tradovate-worker flows resolve e-9 --outcome failed --reason "no request at Tradovate"',
    )
)
def resolve(
    name: Name,
    *,
    outcome: Annotated[Resolution, typer.Option("--outcome", help="How it ended, as you saw it.", show_default=False)],
    facts: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help=f"{', '.join(SETTABLE)}; may come again."),
    ] = None,
    reason: Reason = None,
    by: By = None,
    as_json_: Json = False,
) -> int:
    """End a flow in doubt as an operator saw it at Tradovate, with the ids that it got."""
    known = dict(_fact(text) for text in facts or ())
    who = _who(reason, by, CANCELLED if outcome is Resolution.FAILED else "Resolved by a person.")
    return asyncio.run(_resolve(load(MendSettings), name, Status(outcome.value), known, who, as_json_=as_json_))


@dataclass(frozen=True, slots=True)
class _Who:
    reason: str
    by: str


def _who(reason: str | None, by: str | None, otherwise: str) -> _Who:
    why = otherwise if reason is None else given_reason(reason)
    return _Who(clean(why), given_by(by))


def _fact(text: str) -> tuple[str, Any]:
    """`NAME=VALUE` as the outcome's field and its value."""
    name, separator, value = text.partition("=")
    if not separator:
        raise CommandRefused("--set has the form NAME=VALUE, for example --set accountId=98765.", WRONG_USAGE)
    kind = SETTABLE[one_of(name, list(SETTABLE), "name that --set takes")]
    if kind is int:
        if not (value.isascii() and value.isdigit() and 0 < int(value[:20]) <= MAX_INT64):
            raise CommandRefused(f"--set {name} is one of Tradovate's ids: a whole number, 1 or more.", WRONG_USAGE)
        return name, int(value)
    if not value.strip() or not value.isprintable():
        raise CommandRefused(f"--set {name} is empty or not readable: give it as Tradovate shows it.", WRONG_USAGE)
    return name, clean(value.strip())


async def _list(settings: SeeSettings, filters: dict[str, Any], limit: int) -> list[Summary]:
    async with opened(settings) as database, database.connection() as connection:
        return await browse.newest(connection, **filters, limit=limit)


async def _show(settings: SeeSettings, name: str) -> tuple[list[Summary], Story]:
    async with opened(settings) as database, database.connection() as connection:
        found = await flows_of(connection, name)
        return found, await story_of(connection, found[0])


async def _retry(settings: MendSettings, name: str, who: _Who, *, not_made: bool, as_json_: bool) -> int:
    async with mending(settings) as work:
        flow = await work.flow(name)
        dropped = flow.state in (FlowState.FAILED, FlowState.IN_DOUBT) and not flow.kept
        event = await work.event(flow) if dropped else None
        outcomes = await work.mender.retry(flow.flow_id, event, who.reason, who.by, not_made=not_made)
        return await _tell(work, flow, "planned again", outcomes, as_json_=as_json_)


async def _cancel(settings: MendSettings, name: str, who: _Who, *, as_json_: bool) -> int:
    async with mending(settings) as work:
        flow = await work.flow(name)
        outcomes = await work.mender.cancel(flow.flow_id, who.reason, who.by)
        return await _tell(work, flow, "cancelled", outcomes, as_json_=as_json_)


async def _resolve(
    settings: MendSettings, name: str, status: Status, facts: dict[str, Any], who: _Who, *, as_json_: bool
) -> int:
    async with mending(settings) as work:
        flow = await work.flow(name)
        outcomes = await work.mender.resolve(flow.flow_id, status, facts, who.reason, who.by)
        return await _tell(work, flow, f"resolved as {status}", outcomes, as_json_=as_json_)


async def _tell(work: Mending, flow: Summary, done: str, outcomes: Sequence[OutcomeRow], *, as_json_: bool) -> int:
    now, workers = await work.after(flow)
    if as_json_:
        outcome_id = outcomes[-1].headers["ce_id"] if outcomes else None
        print_json({**as_json(now), "outcomeId": outcome_id, "workers": workers})
    else:
        what = f"Flow {flow.flow_id} ({flow.topic}, event {printable(flow.event_id)}) is {done}."
        print(f"{what} {outcome_note(outcomes, workers)}")
    return 0
