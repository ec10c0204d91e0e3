"""`watch`: outcomes as they arrive."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from schemas.times import Clock, utc_text
from worker.cli._app import example, group
from worker.cli._complete import TopicOption
from worker.cli._errors import one_of
from worker.cli._outcome_reader import OutcomeArrival, reading
from worker.cli._output import console, printable, write
from worker.cli._times import Local, clock_of, text_of
from worker.kafka.topics import INPUT_TOPICS, outcome_topic
from worker.settings import KafkaSettings, load

app = group()

_COLUMNS: Mapping[str, int] = {
    "time": 24,
    "topic": 16,
    "status": 9,
    "event": 14,
    "order": 12,
    "trader": 14,
    "user": 8,
    "account": 12,
    "what": 0,
}
"""Columns and the width from which they are aligned; longer values are never cut."""

_STYLES = {"succeeded": "green", "failed": "red", "pending": "yellow", "in_doubt": "magenta"}

_AROUND = 4
"""Lines of the terminal that the live table leaves for its head, the counts and the prompt."""


@app.command(
    epilog=example(
        "tradovate-worker watch",
        "tradovate-worker watch --topic trader.purchased --order 100234 --from-start",
        "tradovate-worker watch --json | jq .errorText",
    )
)
def watch(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, exactly the outcome.")] = False,
    local: Local = False,
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin with the oldest, not with the next.")] = False,
    topic: TopicOption = None,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="End after so many.")] = None,
    order: Annotated[str | None, typer.Option("--order", help="Only this orderId's.")] = None,
    trader: Annotated[str | None, typer.Option("--trader", help="Only this traderId's.")] = None,
    event: Annotated[str | None, typer.Option("--event", help="Only this eventId's.")] = None,
) -> int:
    """Show outcomes as they arrive, from now on, until Ctrl-C.

    A live table on a terminal, aligned lines on a pipe. It joins no consumer group: the worker does not notice.
    """
    topics = [one_of(name, INPUT_TOPICS, "input topic") for name in topic or INPUT_TOPICS]
    wanted = {"orderId": order, "traderId": trader, "eventId": event}
    clock = clock_of(local=local)
    asyncio.run(_watch(load(KafkaSettings), topics, wanted, count, clock, from_start=from_start, as_json=as_json))
    return 0


def meets(outcome: Mapping[str, Any], wanted: Mapping[str, str | None]) -> bool:
    """Whether an outcome has every value that is wanted."""
    return all(value is None or outcome.get(name) == value for name, value in wanted.items())


def cells(outcome: Mapping[str, Any], clock: Clock = utc_text) -> dict[str, str]:
    """An outcome as a row: a cell for each column."""
    parts = [outcome.get("errorCode"), outcome.get("requestStatus"), outcome.get("errorText")]
    warnings = outcome.get("warnings")
    parts += warnings if isinstance(warnings, list) else []
    values = {
        "time": text_of(outcome.get("occurredAt"), clock),
        "topic": outcome.get("topic"),
        "status": outcome.get("status"),
        "event": outcome.get("eventId"),
        "order": outcome.get("orderId"),
        "trader": outcome.get("traderId"),
        "user": outcome.get("userId"),
        "account": outcome.get("accountName") or outcome.get("accountId"),
        "what": ": ".join(str(text) for text in parts if text),
    }
    return {name: printable(value) for name, value in values.items()}


def line(row: Mapping[str, str]) -> str:
    """A row as one line, aligned, nothing cut; an empty cell is a dash."""
    last = max((place for place, name in enumerate(_COLUMNS) if row[name]), default=0)
    shown = list(_COLUMNS.items())[: last + 1]
    return "  ".join((row[name] or "-").ljust(width) for name, width in shown).rstrip()


class WireJson:
    """Each outcome as it is on the wire, but on one line: no line break of JSON is inside a text."""

    def add(self, arrival: OutcomeArrival, _body: Mapping[str, Any]) -> None:
        write(b" ".join(line.strip() for line in arrival.value.splitlines()) + b"\n")
        sys.stdout.flush()


class _Lines:
    """Each outcome as a line."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        print(line({name: name.upper() for name in _COLUMNS}), flush=True)

    def add(self, _arrival: OutcomeArrival, body: Mapping[str, Any]) -> None:
        print(line(cells(body, self._clock)), flush=True)


class _LiveTable:
    """The last outcomes in a table that is drawn again, and how many there were of each status."""

    def __init__(self, live: Live, clock: Clock) -> None:
        self._live, self._clock = live, clock
        self._rows: deque[dict[str, str]] = deque(maxlen=500)
        self._counts: Counter[str] = Counter()
        self._draw()

    def add(self, _arrival: OutcomeArrival, body: Mapping[str, Any]) -> None:
        row = cells(body, self._clock)
        self._rows.append(row)
        self._counts[row["status"]] += 1
        self._draw()

    def _draw(self) -> None:
        shown = Table(box=None, header_style="bold", pad_edge=False, caption=self._caption(), caption_justify="left")
        room = max(1, self._live.console.height - _AROUND)
        rows = list(self._rows)[-room:]
        widths = {name: max(len(name), *(len(row[name]) for row in rows), 0) for name in _COLUMNS}
        # Ids are worth more than the end of a sentence: what a narrow terminal has no room for is cut from `what`.
        left = self._live.console.width - sum(widths.values()) + widths["what"] - 2 * len(_COLUMNS)
        for name in _COLUMNS:
            shown.add_column(name, overflow="ellipsis", no_wrap=True)
        for row in rows:
            texts = {name: Text(text, no_wrap=True) for name, text in row.items()}
            texts["status"].stylize(_STYLES.get(row["status"], ""))
            texts["what"].truncate(max(left, len("what")), overflow="ellipsis")
            shown.add_row(*texts.values())
        self._live.update(shown)

    def _caption(self) -> Text:
        counts = ", ".join(f"{count} {status}" for status, count in self._counts.items())
        return Text(f"{counts or 'no outcome yet'}; Ctrl-C ends", style="dim")


async def _watch(
    settings: KafkaSettings,
    topics: Sequence[str],
    wanted: Mapping[str, str | None],
    count: int | None,
    clock: Clock,
    *,
    from_start: bool,
    as_json: bool,
) -> None:
    async with reading(settings, [outcome_topic(name) for name in topics], from_start=from_start) as reader:
        with ExitStack() as stack:
            show: WireJson | _Lines | _LiveTable
            if as_json:
                show = WireJson()
            elif sys.stdout.isatty():
                show = _LiveTable(stack.enter_context(Live(console=console(), refresh_per_second=10)), clock)
            else:
                show = _Lines(clock)
            seen = 0
            while count is None or seen < count:
                arrival = await reader.next()
                if arrival.body is None:
                    place = f"{arrival.topic}, partition {arrival.partition}, offset {arrival.offset}"
                    print(f"Left out what is no outcome: {place}.", file=sys.stderr)
                elif meets(arrival.body, wanted):
                    seen += 1
                    show.add(arrival, arrival.body)
