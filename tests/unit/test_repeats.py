"""A library that says the same seventy times a second is heard once a minute."""

from __future__ import annotations

import logging

from worker.telemetry.repeated_lines import EVERY, Repeats


def line(name: str, message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "", 0, message, arguments, None)


def test_a_librarys_line_is_written_once_a_minute() -> None:
    """The first line is written at once, its repeats are counted, and the next one after a minute tells how many."""
    now = [100.0]
    repeats = Repeats(["aiokafka"], lambda: now[0])
    written = []
    for _ in range(5):
        again = line("aiokafka.consumer.fetcher", "Failed fetch messages from %s", 1)
        if repeats.filter(again):
            written.append(getattr(again, "repeated", 0))
        now[0] += EVERY / 4
    assert written == [0, 3]


def test_other_lines_are_all_written() -> None:
    """What differs in logger or words, and what the program itself says, is never dropped."""
    repeats = Repeats(["aiokafka"], lambda: 1.0)
    for name, words in (("aiokafka", "a"), ("aiokafka", "b"), ("aiokafka.conn", "a")):
        assert repeats.filter(line(name, words))
        assert not repeats.filter(line(name, words))
    assert all(repeats.filter(line("worker.intake.consumer_watch", "x")) for _ in range(3))


def test_memory_stays_small() -> None:
    """However many different lines there are, only the latest are kept in mind."""
    repeats = Repeats(["aiokafka"], lambda: 1.0)
    assert all(repeats.filter(line("aiokafka", "record %d", number)) for number in range(5000))
    assert len(repeats._seen) == 500
