"""Dead letters that their topic does not accept: kept whole, encrypted, at the position of their input record.

They are served like those on the topic, and are pruned when the topic would have dropped them.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson

from worker.ledger import notes
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection

__all__ = ["Content", "KeptLetter", "claim", "dismiss", "keep", "kept", "kept_at", "opened", "prune", "waiting"]

_BITE = 100
"""Rows of one deletion: a letter may have many megabytes."""

_COLUMNS = (
    'id, topic, partition, "offset", written_ms, reason, error, refusal, size, created_at, settled_at, dismissed,'
    " dismissed_by"
)


@dataclass(frozen=True, slots=True)
class Content:
    """What a record holds. A header's name may be no UTF-8: such bytes stand in it as lone surrogates."""

    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    headers: Sequence[tuple[str, bytes | None]] = field(repr=False)

    def packed(self) -> bytes:
        """As bytes: a line of JSON for all but the value, then the value as it is."""
        head = {
            "key": _text(self.key),
            "headers": [[_text(_raw(name)), _text(text)] for name, text in self.headers],
            "value": self.value is not None,
        }
        return orjson.dumps(head) + b"\n" + (self.value or b"")

    @classmethod
    def unpacked(cls, packed: bytes) -> Content:
        """What `packed` has made."""
        line, _, value = packed.partition(b"\n")
        head: dict[str, Any] = orjson.loads(line)
        headers = tuple(
            ((_bytes(name) or b"").decode("utf-8", "surrogateescape"), _bytes(text)) for name, text in head["headers"]
        )
        return cls(_bytes(head["key"]), value if head["value"] else None, headers)


@dataclass(frozen=True, slots=True)
class KeptLetter:
    """A kept dead letter without its content. `topic`: the input topic, without prefix; the position is there.

    `refusal`: why the dead-letter topic did not accept it. `size`: bytes of its value.
    """

    id: int
    topic: str
    partition: int
    offset: int
    written_ms: int
    reason: str
    error: str
    refusal: str
    size: int
    created_at: datetime
    settled_at: datetime | None
    dismissed: str | None
    dismissed_by: str | None

    @classmethod
    def of(cls, row: Any) -> KeptLetter:
        """Out of a row of the table."""
        return cls(*(row[name] for name in cls.__slots__))


async def keep(
    connection: Connection,
    vault: Vault,
    place: tuple[str, int, int, int],
    content: Content,
    *,
    reason: str,
    error: str,
    refusal: str,
) -> None:
    """Keeps a dead letter; one that is kept already is left as it is. `place`: topic, partition, offset and time (in
    milliseconds since 1970) of the input record.
    """
    await connection.execute(
        'insert into dead_letter (topic, partition, "offset", written_ms, reason, error, refusal, size, body)'
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict do nothing",
        *place,
        reason,
        error,
        refusal,
        len(content.value or b""),
        vault.seal(content.packed()),
    )


async def kept(connection: Connection, topics: Collection[str]) -> list[KeptLetter]:
    """Those of some input topics, the oldest first."""
    rows = await connection.fetch(
        f"select {_COLUMNS} from dead_letter where topic = any($1) order by id",  # noqa: S608 - a constant of ours
        list(topics),
    )
    return [KeptLetter.of(row) for row in rows]


async def kept_at(connection: Connection, topic: str, partition: int, offset: int) -> KeptLetter | None:
    """The one at a position; of several (the topic was created again) the newest."""
    row = await connection.fetchrow(
        f'select {_COLUMNS} from dead_letter where topic = $1 and partition = $2 and "offset" = $3'  # noqa: S608
        " order by id desc limit 1",
        topic,
        partition,
        offset,
    )
    return None if row is None else KeptLetter.of(row)


async def opened(connection: Connection, vault: Vault, letter_id: int) -> Content | None:
    """What a kept letter holds; None when it has been pruned. Raises `crypto.Sealed` when no key opens it."""
    body = await connection.fetchval("select body from dead_letter where id = $1", letter_id)
    return None if body is None else Content.unpacked(vault.open(body))


async def dismiss(connection: Connection, letter_id: int, reason: str, by: str) -> None:
    """Notes that a letter is settled."""
    row = await connection.fetchrow(
        "update dead_letter set settled_at = clock_timestamp(), dismissed = $2, dismissed_by = $3 where id = $1"
        ' returning topic, partition, "offset"',
        letter_id,
        reason,
        by,
    )
    if row is not None:
        place = (row["partition"], row["offset"])
        await notes.of_letters(connection, row["topic"], [place], "dismiss", by, reason, kept=True)


async def claim(connection: Connection, ids: Collection[int], by: str, *, again: bool, named: bool = False) -> set[int]:
    """Notes that these are replayed, and returns those that the caller may send: with `again` all but those that were
    dismissed, and with `named` these too.

    The row locks close the race of two operators: the second one waits until the first one's transaction has ended.
    """
    rows = await connection.fetch(
        "with mine as (select id from dead_letter where id = any($1) order by id for update)"
        " update dead_letter set settled_at = clock_timestamp(), dismissed = null, dismissed_by = null from mine"
        " where dead_letter.id = mine.id and (settled_at is null"
        " or case when dismissed is null then $2::boolean else $3::boolean end)"
        ' returning dead_letter.id, topic, partition, "offset"',
        list(ids),
        again,
        named,
    )
    for row in rows:
        place = (row["partition"], row["offset"])
        await notes.of_letters(connection, row["topic"], [place], "replay", by, kept=True)
    return {row["id"] for row in rows}


async def waiting(connection: Connection) -> Mapping[str, int]:
    """Kept letters that are not settled, by topic."""
    rows = await connection.fetch(
        "select topic, count(*) as letters from dead_letter where settled_at is null group by topic"
    )
    return {row["topic"]: row["letters"] for row in rows}


async def prune(connection: Connection, keep_for: timedelta) -> int:
    """Deletes some of those older than `keep_for`; returns how many."""
    rows = await connection.fetch(
        "delete from dead_letter where id in (select id from dead_letter"
        " where created_at < clock_timestamp() - $1::interval order by created_at limit $2) returning 1",
        keep_for,
        _BITE,
    )
    return len(rows)


def _raw(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
