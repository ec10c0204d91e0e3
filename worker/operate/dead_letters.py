"""What an operator sees of a dead letter, which is on its topic, or in the ledger if its topic does not accept it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from schemas.times import utc_text
from worker.errors import OperatorError
from worker.intake.dead_letter_headers import AT, ERROR, OFFSET, PARTITION, REASON
from worker.kafka.read import Record
from worker.ledger.errors import DatabaseError
from worker.ledger.kept_dead_letters import KeptLetter
from worker.ledger.replays import Place, Settled

__all__ = [
    "DeadLetter",
    "DeadLetterNotFound",
    "LetterSealed",
    "LettersPage",
    "Listed",
    "SecretKeyMissing",
    "Shown",
    "Stored",
    "Where",
    "kept_place",
    "place_of",
]


class Stored(StrEnum):
    """Where a dead letter is: on the dead-letter topic, or in the ledger at the position of its input record."""

    TOPIC = "topic"
    LEDGER = "ledger"


@dataclass(frozen=True, slots=True)
class Where:
    """The position of a dead letter of an input topic. `stored` None: in the ledger if there is one at that position,
    else on the dead-letter topic.
    """

    topic: str
    partition: int
    offset: int
    stored: Stored | None = None


class DeadLetterNotFound(OperatorError):
    """There is no dead letter at this position."""

    def __init__(self, where: Where) -> None:
        super().__init__(where)
        self.where = where

    @property
    def sentence(self) -> str:
        """For an operator."""
        where = self.where
        at = f"partition {where.partition}, offset {where.offset}"
        return f"{where.topic} has no dead letter at {at}: `tradovate-worker dlq list {where.topic}` shows them."


class LetterSealed(OperatorError):
    """No part of SECRET_KEY decrypts a dead letter of `topic` that the ledger keeps."""

    def __init__(self, topic: str) -> None:
        super().__init__(topic)
        self.topic = topic

    @property
    def sentence(self) -> str:
        """For an operator."""
        return "No part of SECRET_KEY opens this dead letter: add the key that `run` had when it was kept."


class SecretKeyMissing(OperatorError):
    """The ledger keeps the dead letter encrypted, and there is no SECRET_KEY."""

    code = 2

    @property
    def sentence(self) -> str:
        """For an operator."""
        return "SECRET_KEY is missing: the ledger keeps this dead letter encrypted. Set it as `run` has it."


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter without its content. `topic`: the input topic that it came from.

    `at`: when it failed, as its header says, else when it was written. `kept`: its row, if it is in the ledger; then
    `place` is that of its input record. `settled`: when it was replayed or dismissed; None with `settled_known` false:
    the ledger could not be asked.
    """

    topic: str
    place: Place
    reason: str | None
    error: str | None
    at: str
    written_at: datetime
    from_partition: int | None
    from_offset: int | None
    kept: KeptLetter | None = None
    settled: Settled | None = None
    settled_known: bool = True

    @property
    def stored(self) -> Stored:
        """Where it is."""
        return Stored.TOPIC if self.kept is None else Stored.LEDGER

    @property
    def refusal(self) -> str | None:
        """Why its topic does not accept it, if it is in the ledger."""
        return None if self.kept is None else self.kept.refusal

    @classmethod
    def of(cls, topic: str, record: Record) -> DeadLetter:
        """From a record of the dead-letter topic."""
        headers = dict(record.headers)
        written = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
        return cls(
            topic,
            place_of(record),
            _text(headers.get(REASON)),
            _text(headers.get(ERROR)),
            _text(headers.get(AT)) or utc_text(written),
            written,
            _number(headers.get(PARTITION)),
            _number(headers.get(OFFSET)),
        )

    @classmethod
    def of_kept(cls, kept: KeptLetter) -> DeadLetter:
        """From a row of the ledger."""
        settled = None if kept.settled_at is None else Settled(kept.settled_at, kept.dismissed, kept.dismissed_by)
        at = kept.created_at
        place = kept_place(kept)
        return cls(
            kept.topic, place, kept.reason, kept.error, utc_text(at), at, kept.partition, kept.offset, kept, settled
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """All dead letters of some topics, by topic and time. `ledger_error`: why the ledger could not be asked; then with
    `kept_known` false those that the ledger keeps are not among them.
    """

    letters: Sequence[DeadLetter]
    ledger_error: DatabaseError | None = None
    kept_known: bool = True


@dataclass(frozen=True, slots=True)
class LettersPage:
    """Dead letters of one topic, the newest first. `older`: where the next page begins, by partition; None: no more."""

    letters: Sequence[DeadLetter]
    older: Mapping[int, int] | None


@dataclass(frozen=True, slots=True)
class Shown:
    """One dead letter with its content. `ledger_error`: why the ledger could not be asked."""

    letter: DeadLetter
    record: Record
    ledger_error: DatabaseError | None = None


def kept_place(kept: KeptLetter) -> Place:
    """The position of a kept dead letter: its input record's."""
    return Place(kept.partition, kept.offset, kept.written_ms)


def place_of(letter: Record) -> Place:
    """Where a dead letter stands on its topic."""
    return Place(letter.partition, letter.offset, letter.timestamp_ms)


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "replace")


def _number(data: bytes | None) -> int | None:
    return int(data) if data is not None and data.isdigit() and len(data) < 20 else None
