"""`dlq`: dead letters, to see and to replay."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import Annotated

import typer

from worker.cli._app import example, group
from worker.cli._complete import TopicArgument, completing
from worker.cli._dead_letter_rows import COLUMNS, as_json, body, head, row, whole_json
from worker.cli._errors import CommandRefused, OptionFault, OptionRefused, one_of
from worker.cli._note import By, name_from, note_from
from worker.cli._output import print_json, printable, table, warn
from worker.cli._progress import progress
from worker.cli._times import Local, clock_of
from worker.kafka.errors import KafkaCause
from worker.kafka.topics import INPUT_TOPICS, dead_letter_topic
from worker.operate.dead_letter_replay import ReplayResult
from worker.operate.dead_letters import DeadLetter, Listed, Shown, Stored, Where
from worker.operate.operator_note import Note
from worker.wiring.commands import dead_letters

app = group(
    "Dead letters, records that the worker could not accept: list, show, replay, dismiss.",
    "tradovate-worker dlq list",
    "tradovate-worker dlq replay trader.purchased",
)


class ReplayIncomplete(CommandRefused):
    """Kafka has not accepted some dead letters: `failed` of the result."""

    def __init__(self, done: ReplayResult) -> None:
        super().__init__(len(done.failed))
        self.failed = tuple(done.failed)

    @property
    def sentence(self) -> str:
        """With the first of them."""
        place, error = self.failed[0]
        too_large = "the topic takes no record that large (max.message.bytes)."
        why = too_large if error.cause is KafkaCause.TOO_LARGE else error.sentence
        return (
            f"{len(self.failed)} could not be replayed, the first at partition {place.partition}, offset"
            f" {place.offset}: {why} Run it again when that is corrected: what was replayed stays so."
        )


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
StoredOption = Annotated[
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
    """Show dead letters: where each stands, what is wrong with it, whether it was replayed."""
    topics = [_input_topic(topic)] if topic is not None else list(INPUT_TOPICS)
    found = asyncio.run(_all(topics))
    if found.ledger_error is not None:
        what = "whether they were replayed" if found.kept_known else _KEPT_UNKNOWN
        warn(f"{what[:1].upper()}{what[1:]} is not known: {found.ledger_error.sentence}")
    if as_json_:
        print_json([as_json(letter) for letter in found.letters])
    else:
        clock = clock_of(local=local)
        rows = [row(letter, clock) for letter in found.letters]
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
    stored: StoredOption = None,
    raw: Annotated[bool, typer.Option("--raw", help="Show personal values too.")] = False,
    local: Local = False,
    as_json_: Json = False,
) -> int:
    """Show a dead letter: its key, its headers, and its value with what is or may be personal masked."""
    name = _input_topic(topic)
    found = asyncio.run(_one(Where(name, partition, offset, stored)))
    if found.ledger_error is not None:
        warn(f"Whether they were replayed is not known: {found.ledger_error.sentence}")
    letter, record = found.letter, found.record
    if as_json_:
        print_json(whole_json(letter, record, raw=raw))
        return 0
    terminal = sys.stdout.isatty()
    lines = head(letter, record, raw=raw, whole=not terminal, clock=clock_of(local=local))
    for label, value in lines:
        print(f"{printable(label).ljust(max(len(each) for each, _ in lines))}  {printable(value)}")
    print()
    text = body(name, record, raw=raw, whole=not terminal)
    print("\n".join(map(printable, text.split("\n"))) if terminal else text)
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
    stored: StoredOption = None,
    again: Annotated[bool, typer.Option("--again", help="Also what was replayed before.")] = False,
    by: By = None,
    as_json_: Json = False,
) -> int:
    """Publish a topic's dead letters, or one, on it again: key, value and headers as they were before they failed.

    Each is replayed once, however often and from however many places this runs. The worker judges it again: what is
    still wrong becomes a new dead letter.
    """
    name = _input_topic(topic)
    if (partition is None) != (offset is None):
        raise OptionRefused("--partition", OptionFault.TOGETHER)
    if partition is None or offset is None:
        done = asyncio.run(_replay_all(name, name_from(by), stored, again=again))
    else:
        done = asyncio.run(_replay_one(Where(name, partition, offset, stored), name_from(by), again=again))
    if as_json_:
        failed = [{"partition": each.partition, "offset": each.offset} for each, _ in done.failed]
        print_json({"topic": name, "replayed": done.sent, "replayedBefore": done.known, "failed": failed})
    else:
        print(_summary(name, done))
    if done.stopped is not None:
        raise done.stopped
    if done.failed:
        raise ReplayIncomplete(done)
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
    by: By = None,
    stored: StoredOption = None,
    as_json_: Json = False,
) -> int:
    """Mark a dead letter as settled: it is not counted as open any longer, and no replay of all takes it.

    It stays where it is, and a replay that names it still publishes it.
    """
    name = _input_topic(topic)
    note = note_from(reason, by)
    letter = asyncio.run(_dismiss(Where(name, partition, offset, stored), note))
    if as_json_:
        where = {"topic": name, "partition": partition, "offset": offset, "stored": letter.stored.value}
        print_json({**where, "dismissed": note.reason, "dismissedBy": note.by})
    else:
        print(f"Dismissed the dead letter of {name} at partition {partition}, offset {offset}.")
    return 0


def _input_topic(given: str) -> str:
    return one_of(given.removesuffix(dead_letter_topic("")), INPUT_TOPICS, "input topic")


def _summary(topic: str, done: ReplayResult) -> str:
    if not done.sent and not done.known and not done.failed:
        return f"{topic} has no dead letters."
    what = f"Replayed {done.sent} dead letter{'' if done.sent == 1 else 's'} on {topic}."
    return f"{what} {done.known} had been replayed before; --again replays them once more." if done.known else what


_KEPT_UNKNOWN = "what the ledger keeps, and whether dead letters were replayed,"


async def _all(topics: list[str]) -> Listed:
    async with dead_letters() as settling:
        return await settling.reader.all(topics, partial(progress, "Reading"))


async def _one(where: Where) -> Shown:
    async with dead_letters() as settling:
        return await settling.reader.one(where)


async def _replay_one(where: Where, by: str, *, again: bool) -> ReplayResult:
    async with dead_letters() as settling:
        return await settling.replay_one(where, by, again=again)


async def _replay_all(topic: str, by: str, stored: Stored | None, *, again: bool) -> ReplayResult:
    async with dead_letters() as settling:
        return await settling.replay_all(topic, by, stored, again=again, progress=partial(progress, "Replaying"))


async def _dismiss(where: Where, note: Note) -> DeadLetter:
    async with dead_letters() as settling:
        return await settling.dismiss(where, note)
