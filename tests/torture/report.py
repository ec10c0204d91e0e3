"""What came of the runs: counted, printed, and written to a file while they go on."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path

from tests.torture.promises import Breach

MOST_BREACHES = 20
"""In the report; the run itself has said more."""

WRITE_EVERY = 5.0
"""Seconds between two versions of the file."""


@dataclass
class Report:
    """What came of one run, or of several. `seeds`: of runs that have begun."""

    seeds: list[int] = field(default_factory=list)
    seconds: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    freezes: Counter[str] = field(default_factory=Counter)
    """Both by the moment that was waited for."""
    long_freezes: int = 0
    others: Counter[str] = field(default_factory=Counter)
    """Other misfortunes by kind."""
    events: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    """By path, of the partner's own log."""
    breaches: list[Breach] = field(default_factory=list)
    found_after: float = 0.0
    """Seconds from the moment when everything was there to the end of a broken program's run."""

    @property
    def blows(self) -> int:
        """Kills and freezes."""
        return self.kills.total() + self.freezes.total()

    def __add__(self, other: Report) -> Report:
        return Report(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def lines(self) -> list[str]:
        """For people."""
        seeds = f"{self.seeds[0]} to {self.seeds[-1]}" if self.seeds else "none"
        return [
            f"runs          {len(self.seeds)}, seeds {seeds}, {self.seconds:.0f} s",
            f"kills         {self.kills.total()}: {_parts(self.kills)}",
            f"freezes       {self.freezes.total()}, {self.long_freezes} longer than a lease: {_parts(self.freezes)}",
            f"others        {self.others.total()}: {_parts(self.others)}",
            f"events        {self.events}",
            f"outcomes      {self.outcomes.total()}: {_parts(self.outcomes)}",
            f"calls         {self.calls.total()}: {_parts(self.calls)}",
            f"breaches      {len(self.breaches)}",
            *(f"  {breach.promise}: {breach.what}" for breach in self.breaches[:MOST_BREACHES]),
        ]


def _parts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


@dataclass
class ReportFile:
    """The report of all runs up to now, also of the one that goes on: a run that is cut short leaves its figures."""

    path: Path
    ended: Report = field(default_factory=Report)
    _written: float = 0.0

    def note(self, running: Report) -> None:
        """Writes it now and then, with what the present run has."""
        if time.monotonic() - self._written >= WRITE_EVERY:
            self._write(self.ended + running, "goes on")

    def end_run(self, report: Report) -> None:
        """Adds a run that has ended."""
        self.ended += report
        self._write(self.ended, "ended")

    def _write(self, report: Report, state: str) -> None:
        self._written = time.monotonic()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_text("\n".join([f"state         {state}", *report.lines(), ""]))
        new.replace(self.path)
