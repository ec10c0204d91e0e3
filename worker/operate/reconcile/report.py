"""What a run found, as text, JSON and CSV, and the files of events that fix it. Streams: a run may find any number."""

from __future__ import annotations

import csv
import errno
import os
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import orjson

from schemas.times import utc_text
from worker.ledger import reconcile_results
from worker.ledger.database import Database
from worker.ledger.differences import Difference, Fix, Kind

EVENT_TOPICS = ("trader.failed", "trader.left", "md.signed")
"""Topics of which `--events` may write a file."""

COLUMNS = (
    "kind", "traderId", "userId", "orderId", "accountId", "accountName", "tradingPermissionId", "entitlementId",
    "cancelBefore", "text", "topic", "event",
)  # fmt: skip
"""Fields of a difference in JSON, and columns in CSV."""


async def found(database: Database, run_id: int) -> AsyncIterator[Difference]:
    """All differences of a run, kind by kind, the most urgent first."""
    for kind in Kind:
        after = 0
        while True:
            async with database.connection() as connection:
                page = await reconcile_results.differences(connection, run_id, kind, after)
            if not page:
                break
            for _, difference in page:
                yield difference
            after = page[-1][0]


def as_line(difference: Difference) -> str:
    """For an operator: one line."""
    fix = difference.fix
    event = "" if fix is None else f" Fixed by {fix.topic}: {_event(fix)}"
    return f"{difference.kind}: {difference.sentence}{event}"


def as_json(difference: Difference) -> dict[str, Any]:
    """By the names of the events' fields."""
    fix, before = difference.fix, difference.cancel_before
    return {
        "kind": difference.kind.value,
        "traderId": difference.trader_id,
        "userId": difference.user_id,
        "orderId": difference.order_id,
        "accountId": difference.account_id,
        "accountName": difference.account_name,
        "tradingPermissionId": difference.permission_id,
        "entitlementId": difference.entitlement_id,
        "cancelBefore": None if before is None else utc_text(before),
        "text": difference.sentence,
        "topic": None if fix is None else fix.topic,
        "event": None if fix is None else _ordered(fix),
    }


async def write_csv(file: Path, differences: AsyncIterator[Difference]) -> None:
    """A header and one line each (RFC 4180, UTF-8). The file appears when it is whole."""
    with whole_file(file) as text:
        lines = csv.writer(text)
        lines.writerow(COLUMNS)
        async for difference in differences:
            values = as_json(difference)
            event = values["event"]
            lines.writerow([*(values[name] for name in COLUMNS[:-1]), event and orjson.dumps(event).decode()])


async def write_events(database: Database, run_id: int, folder: Path) -> Mapping[str, int]:
    """One JSON Lines file for each topic, each event once; how many, by topic. A file appears when it is whole. What a
    former run wrote and this one does not is deleted: it must not be sent by mistake.
    """
    async with database.connection() as connection:
        counts = await reconcile_results.event_topics(connection, run_id)
    for topic in EVENT_TOPICS:
        file = event_file(folder, topic)
        if topic not in counts:
            file.unlink(missing_ok=True)
            continue
        with whole_file(file) as text:
            after = ""
            while True:
                async with database.connection() as connection:
                    page = await reconcile_results.events(connection, run_id, topic, after)
                if not page:
                    break
                text.writelines(_event(fix) + "\n" for fix in page)
                after = page[-1].event_id
    return counts


def event_file(folder: Path, topic: str) -> Path:
    """Where a topic's events are."""
    return folder / f"{topic}.jsonl"


@contextmanager
def whole_file(file: Path) -> Iterator[IO[str]]:
    """A file that takes its place when the block has ended well, on the disk; else nothing has changed.

    What a link leads to is replaced, not the link. A pipe, a terminal or a device is written to, as it is.
    """
    if _is_stream(file):
        with file.open("w", encoding="utf-8", newline="") as text:
            yield text
        return
    file = file.resolve()
    growing = _beside(file)
    try:
        with growing.open("x", encoding="utf-8", newline="") as text:
            yield text
            text.flush()
            os.fsync(text.fileno())
        growing.replace(file)
    except BaseException:
        growing.unlink(missing_ok=True)
        raise


def try_to_write(file: Path) -> None:
    """Raises `OSError` unless `file` could be written now; it is not touched."""
    if file.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
    if _is_stream(file):
        return
    probe = _beside(file.resolve())
    try:
        probe.touch(exist_ok=False)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from None
    probe.unlink()


def _is_stream(file: Path) -> bool:
    """`/dev/stdout` may lead to a file, which standard output then has in use."""
    return file.is_relative_to("/dev") or (file.exists() and not file.is_file())


def _beside(file: Path) -> Path:
    return file.with_name(f".{file.name}.{secrets.token_hex(4)}")


def _ordered(fix: Fix) -> dict[str, Any]:
    """The event with its id first: the ledger does not keep the order of fields."""
    return {"eventId": fix.event_id, **dict(sorted(fix.body.items()))}


def _event(fix: Fix) -> str:
    return orjson.dumps(_ordered(fix)).decode()
