"""What a dead letter carries."""

from __future__ import annotations

from datetime import UTC, datetime

from worker.intake.dead_letter_headers import OURS, dead_letter_headers, own_headers
from worker.intake.parse import BadRecord, Headers, RawRecord

AT = datetime(2026, 11, 20, 23, 0, 0, 5000, tzinfo=UTC)
REJECTED = BadRecord("missing_field", "user.firstName is missing.", "e-1")
ORIGINAL: Headers = (("ce_id", b"e-1"), (b"\xff", b"\xfe"), ("empty", None), ("ce_id", b"again"))


def record(headers: Headers) -> RawRecord:
    """A record at a known place."""
    return RawRecord("trader.purchased", 3, 42, 0, None, b"{}", headers)


def test_original_headers_stay_as_they_were() -> None:
    """Names, values, order and repeats of the original headers are kept, ours stand behind them."""
    headers = dead_letter_headers(ORIGINAL, REJECTED, record(ORIGINAL), AT)
    assert tuple(headers[:4]) == ORIGINAL
    assert headers[4:] == [
        ("dlq-reason", b"missing_field"),
        ("dlq-error", b"user.firstName is missing."),
        ("dlq-topic", b"trader.purchased"),
        ("dlq-partition", b"3"),
        ("dlq-offset", b"42"),
        ("dlq-at", b"2026-11-20T23:00:00.005Z"),
    ]


def test_a_replay_that_fails_again_has_each_header_once() -> None:
    """The dlq-* headers of an earlier failure are replaced, a foreign header with a like name is not ours."""
    first = tuple(dead_letter_headers((*ORIGINAL, ("dlq-note", b"by hand")), REJECTED, record(ORIGINAL), AT))
    again = dead_letter_headers(first, BadRecord("no_id", "The event has no id."), record(first), AT)
    names = [name for name, _ in again]
    assert all(names.count(name) == 1 for name in OURS)
    assert ("dlq-reason", b"no_id") in again
    assert ("dlq-note", b"by hand") in again


def test_a_replay_sends_the_original_headers() -> None:
    """Taking the dlq-* headers off gives back what the record had."""
    assert tuple(own_headers(tuple(dead_letter_headers(ORIGINAL, REJECTED, record(ORIGINAL), AT)))) == ORIGINAL
