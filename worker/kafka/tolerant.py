"""Lets a consumer read records whose header names are not UTF-8.

Kafka never looks into a header's name, so any producer can put any bytes there. aiokafka decodes names as strict UTF-8
while it unpacks what it fetched. So each poll would raise the error again, for ever, and nothing behind that record
would be read. The worker has to read such a record, for it belongs on the dead-letter topic as it was. So its names
come through with the undecodable bytes as lone surrogates (`surrogateescape`), from which `producer.py` makes the same
bytes again.

aiokafka's fast parser does all the work until it trips; only the batch that it tripped over is read again, by
aiokafka's own parser in Python. This leans on two inner seams of aiokafka (`consumer.fetcher.MemoryRecords` and
`_DefaultRecordBatchPy`); `tests/integration/test_kafka_odd_records.py` tells when an upgrade moves them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

__all__ = ["TolerantRecords", "install"]

_LENGTH = struct.Struct(">i")
_LENGTH_AT = 8  # after the base offset, in every version of the format
_OVERHEAD = 12  # base offset and length, which the length does not count


def install() -> None:
    """Makes every consumer of this process tolerant. Doing so again changes nothing."""
    fetcher.MemoryRecords = TolerantRecords


class TolerantRecords:
    """What the fetcher makes of the bytes of one partition: the same as aiokafka's `MemoryRecords`, batch by batch."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._records = MemoryRecords(data)

    def size_in_bytes(self) -> int:
        """Bytes of all batches, one that is cut off at the end included."""
        return len(self._data)

    def has_next(self) -> bool:
        """Whether a whole batch is left."""
        return bool(self._records.has_next())

    def next_batch(self) -> Any:
        """The next batch, or None."""
        batch = self._records.next_batch()
        if batch is None:
            return None
        start = self._at
        self._at += _OVERHEAD + _LENGTH.unpack_from(self._data, start + _LENGTH_AT)[0]
        if batch.magic < 2 or batch.is_control_batch:  # the older formats have no headers
            return batch
        return _TolerantBatch(batch, memoryview(self._data)[start : self._at])


class _TolerantBatch:
    """One batch of the fast parser, and its bytes in case it trips."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        done = 0
        try:
            for record in self._batch:
                done += 1
                yield record
        except (UnicodeDecodeError, CorruptRecordException):
            # The parsers disagree whether a bad name is a decoding error or a corrupt record. A record that is corrupt
            # indeed fails below just the same.
            yield from islice(_read_again(self._raw), done, None)


def _read_again(raw: memoryview) -> Iterator[Any]:
    batch = _DefaultRecordBatchPy(raw)
    records: Iterator[Any] = iter(batch)  # decompresses
    batch._buffer = _Lenient(batch._buffer)  # noqa: SLF001, the seam
    return records


class _Lenient(bytearray):
    """Bytes whose slices are decoded whatever they hold: aiokafka reads a name as `buffer[a:b].decode("utf-8")`."""

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return _Lenient(found) if isinstance(key, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> str:
        return super().decode(encoding, errors)
