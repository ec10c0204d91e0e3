"""How many records are taken together, so that large ones do not take all memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka import ConsumerRecord

__all__ = ["MOST_BYTES", "Room"]

MOST_BYTES = 2 * 1024 * 1024
"""Bytes of records in one transaction, as far as that can be known before they are taken; one record may have more. A
replica with 256 MB of memory has room for some fifty times as much. While an event is written, it is in memory about
eight times: as a record, an event, JSON, a draft, encrypted, and in the statement."""

_LEAST = 1024
"""Bytes that a record counts for."""


class Room:
    """The records of one poll. Sizes are known only after a fetch: so the largest recent record is the estimate for
    those that are asked for next.
    """

    def __init__(self, max_records: int) -> None:
        self.max_records = max_records
        self._largest = 64 * 1024
        self._count = 0
        self._bytes = 0

    def begin(self) -> int:
        """A new poll; how many records to ask for first."""
        self._count = self._bytes = 0
        self._largest = max(self._largest // 2, _LEAST)
        return max(1, self.left)

    def add(self, found: Mapping[Any, Sequence[ConsumerRecord]]) -> None:
        """Counts records that were fetched."""
        sizes = [_size(record) for records in found.values() for record in records]
        self._count += len(sizes)
        self._bytes += sum(sizes)
        self._largest = max([self._largest, *sizes])

    @property
    def left(self) -> int:
        """How many more may be asked for; 0 if what has come is enough."""
        return max(0, min(self.max_records - self._count, (MOST_BYTES - self._bytes) // self._largest))


def _size(record: ConsumerRecord) -> int:
    headers: Iterable[tuple[str, bytes | None]] = record.headers
    return len(record.value or b"") + len(record.key or b"") + sum(len(value or b"") for _, value in headers)
