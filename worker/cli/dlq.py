"""`dlq`: dead letters, to see and to put back."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from worker.cli import _dlq_store as store
from worker.cli._app import example, group
from worker.cli._complete import TopicArgument, completing
from worker.cli._dlq import COLUMNS, as_json, body, head, row, whole_json
from worker.cli._dlq_store import DLQ, TOO_LARGE, DlqSettings
from worker.cli._errors import WRONG_USAGE, CommandRefused, one_of
from worker.cli._kafka import sentence_of
from worker.cli._mend import given_by
from worker.cli._output import print_json, printable, table
from worker.cli._times import Local, clock_of
from worker.cli.holds import given_reason
from worker.intake.replay import PutBack, Stored
from worker.kafka.topics import INPUT_TOPICS
from worker.settings import load

app = group(
    "Dead letters, records that the worker could not accept: list, show, put back on their topic, dismiss.",
    "tradovate-worker dlq list",
    "tradovate-worker dlq replay trader.purchased",
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Where = Annotated[
    Stored | None,
    typer.Option(
        "--stored",
        help="Where it is, if `dlq list` shows two at the same position: on the dead-letter topic, or in the ledger at"
        " the position of its input record. The ledger's goes first.",
    ),
]


@app.command("list", epilog=example("tradovate-worker dlq list", "tradovate-worker dlq list trader.purchased --json"))
def list_(
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="[TOPIC]",
            help="One input topic, without prefix; all when left out.",
            autocompletion=completing(INPUT_TOPICS),
        ),
    ] = None,
    *,
    local: Local = False,
    as_json_: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> int:
    """Show dead letters: where each stands, what is wrong with it, whether it was put back."""
    topics = [_input_topic(topic)] if topic is not None else list(INPUT_TOPICS)
    found = asyncio.run(store.listed(load(DlqSettings), topics))
    if as_json_:
        print_json([as_json(letter, replayed) for letter, replayed in found])
    else:
        clock = clock_of(local=local)
        rows = [row(letter, replayed, clock) for letter, replayed in found]
        table(COLUMNS, rows, empty="There are no dead letters.")
    return 0


@app.command(
    epilog=example(
        "tradovate-worker dlq show trader.purchased --partition 3 --offset 17",
        "tradovate-worker dlq show trader.purchased --partition 3 --offset 17 --raw",
    )
)
def show(
    topic: TopicArgument,
    *,
    partition: Annotated[int, typer.Option("--partition", min=0, help="As `dlq list` shows it.", show_default=False)],
    offset: Annotated[int, typer.Option("--offset", min=0, help="As `dlq list` shows it.", show_default=False)],
    stored: Where = None,
    raw: Annotated[bool, typer.Option("--raw", help="Show personal values too.")] = False,
    local: Local = False,
    as_json_: Json = False,
) -> int:
    """Show a dead letter: its key, its headers, and its value with what is or may be personal masked."""
    name = _input_topic(topic)
    letter, record, replayed = asyncio.run(store.shown(load(DlqSettings), name, (partition, offset), stored))
    if as_json_:
        print_json(whole_json(letter, record, replayed, raw=raw))
        return 0
    lines = head(letter, record, replayed, raw=raw, clock=clock_of(local=local))
    for label, value in lines:
        print(f"{printable(label).ljust(max(len(each) for each, _ in lines))}  {printable(value)}")
    print()
    text = body(name, record, raw=raw)
    print("\n".join(map(printable, text.split("\n"))) if sys.stdout.isatty() else text)
    return 0


@app.command(
    epilog=example(
        "tradovate-worker dlq replay trader.purchased",
        "tradovate-worker dlq replay trader.purchased --partition 3 --offset 17",
    )
)
def replay(
    topic: TopicArgument,
    *,
    partition: Annotated[int | None, typer.Option("--partition", min=0, help="One dead letter's partition.")] = None,
    offset: Annotated[int | None, typer.Option("--offset", min=0, help="One dead letter's offset.")] = None,
    stored: Where = None,
    again: Annotated[bool, typer.Option("--again", help="Also what was put back before.")] = False,
    as_json_: Json = False,
) -> int:
    """Put a topic's dead letters, or one, back on it: key, value and headers as they were before they failed.

    Each goes back once, however often and from however many places this runs. The worker judges it again: what is
    still wrong becomes a new dead letter.
    """
    name = _input_topic(topic)
    if (partition is None) != (offset is None):
        raise CommandRefused(
            "--partition and --offset name one dead letter together; leave out both for all.", WRONG_USAGE
        )
    place = None if partition is None or offset is None else (partition, offset)
    settings = load(DlqSettings)
    done = asyncio.run(store.replayed(settings, name, place, stored, again=again))
    if as_json_:
        failed = [{"partition": each.partition, "offset": each.offset} for each, _ in done.failed]
        print_json({"topic": name, "replayed": done.sent, "replayedBefore": done.known, "failed": failed})
    else:
        print(_summary(name, done))
    if done.failed:
        raise CommandRefused(_failure(settings, done))
    return 0


@app.command(
    epilog=example('tradovate-worker dlq dismiss trader.purchased --partition 3 --offset 17 --reason "a test"')
)
def dismiss(
    topic: TopicArgument,
    *,
    partition: Annotated[int, typer.Option("--partition", min=0, help="As `dlq list` shows it.", show_default=False)],
    offset: Annotated[int, typer.Option("--offset", min=0, help="As `dlq list` shows it.", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", help="Why nothing has to be done about it.", show_default=False)],
    by: Annotated[
        str | None, typer.Option("--by", help="Who; it is kept. Your login name if left out.", show_default=False)
    ] = None,
    stored: Where = None,
    as_json_: Json = False,
) -> int:
    """Mark a dead letter as settled: it is not counted as open any longer, and no replay of all takes it.

    It stays where it is, and a replay that names it still puts it back.
    """
    name = _input_topic(topic)
    why, who = given_reason(reason), given_by(by)
    letter = asyncio.run(store.dismissed(load(DlqSettings), name, (partition, offset), stored, why, who))
    if as_json_:
        where = {"topic": name, "partition": partition, "offset": offset, "stored": letter.stored.value}
        print_json({**where, "dismissed": why, "dismissedBy": who})
    else:
        print(f"Dismissed the dead letter of {name} at partition {partition}, offset {offset}.")
    return 0


def _input_topic(given: str) -> str:
    return one_of(given.removesuffix(DLQ), INPUT_TOPICS, "input topic")


def _summary(topic: str, done: PutBack) -> str:
    if not done.sent and not done.known and not done.failed:
        return f"{topic} has no dead letters."
    what = f"Put {done.sent} dead letter{'' if done.sent == 1 else 's'} back on {topic}."
    return f"{what} {done.known} had been put back before; --again puts them back once more." if done.known else what


def _failure(settings: DlqSettings, done: PutBack) -> str:
    place, error = done.failed[0]
    why = (
        "the topic takes no record that large (max.message.bytes)."
        if isinstance(error, TOO_LARGE)
        else sentence_of(error, settings)
    )
    return (
        f"{len(done.failed)} could not be put back, the first at partition {place.partition}, offset {place.offset}:"
        f" {why} Run it again when that is mended: what was put back stays so."
    )
