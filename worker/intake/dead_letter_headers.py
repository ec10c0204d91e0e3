"""What a dead letter carries beside the record as it was. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from schemas.base import utc_text
from worker.intake.parse import BadRecord, HeaderName, Headers, RawRecord

REASON: Final = "dlq-reason"
ERROR: Final = "dlq-error"
TOPIC: Final = "dlq-topic"
PARTITION: Final = "dlq-partition"
OFFSET: Final = "dlq-offset"
AT: Final = "dlq-at"

OURS: Final = frozenset({REASON, ERROR, TOPIC, PARTITION, OFFSET, AT})


def dead_letter_headers(
    original_headers: Headers, rejected: BadRecord, record: RawRecord, at: datetime
) -> list[tuple[HeaderName, bytes | None]]:
    """The original headers, as they were and in their order, then ours. All values are UTF-8 text.

    `at`: an aware time. A record that failed before and was replayed has the older `dlq-*` headers replaced.
    """
    return [
        *own_headers(original_headers),
        (REASON, rejected.code.encode()),
        (ERROR, rejected.sentence.encode()),
        (TOPIC, record.topic.encode()),
        (PARTITION, str(record.partition).encode()),
        (OFFSET, str(record.offset).encode()),
        (AT, utc_text(at).encode()),
    ]


def own_headers(headers: Headers) -> list[tuple[HeaderName, bytes | None]]:
    """The headers without those of a dead letter: what a replay sends."""
    return [(name, value) for name, value in headers if name not in OURS]
