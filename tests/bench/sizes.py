"""How often, and how much is sent: each number can be given on the command line."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import dataclass, field, fields
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The targets are meant for these numbers."""

    rounds: int = field(default=5, metadata={"help": "rounds of each measurement; the median counts"})
    lone: int = field(default=60, metadata={"help": "lone events in a round"})
    burst: int = field(default=5000, metadata={"help": "purchases in a burst"})
    naive: int = field(default=80, metadata={"help": "purchases for the naive worker's rate"})
    calls: int = field(default=1000, metadata={"help": "purchases for the count of calls"})
    backlog: int = field(default=200_000, metadata={"help": "events that wait, for the memory"})
    scaled: int = field(default=1500, metadata={"help": "purchases with contact data, for one replica and for four"})
    slow_ms: int = field(
        default=200, metadata={"help": "milliseconds of a partner's call, for one replica and for four"}
    )
    flows: int = field(
        default=5_000_000,
        metadata={
            "help": "ended flows in the full ledger; 5,000,000 take 25 GB of disk and a quarter of an hour to write"
        },
    )
    seconds: int = field(default=3600, metadata={"help": "what the week is compressed into"})

    @classmethod
    def add_options(cls, parser: ArgumentParser) -> None:
        """An option for each."""
        for each in fields(cls):
            name = f"--{each.name.replace('_', '-')}"
            parser.add_argument(
                name, type=_positive, default=each.default, help=f"{each.metadata['help']} (%(default)s)"
            )

    @classmethod
    def of(cls, options: Namespace) -> Self:
        """As given."""
        return cls(**{each.name: getattr(options, each.name) for each in fields(cls)})


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise ArgumentTypeError("a whole number, 1 or more")
    return int(text)
