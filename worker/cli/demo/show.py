"""What `demo` shows: parts coming up, events going in, outcomes coming out, and what it took."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from worker.cli._output import console, printable, table
from worker.cli.demo.samples import Sample
from worker.cli.demo.verdict import Effect

_STYLES = {"succeeded": "green", "failed": "yellow", "pending": "cyan", "in_doubt": "magenta"}

_SHOWN = (
    ("user", "userId"),
    ("account", "accountName"),
    ("permission", "tradingPermissionId"),
    ("entitlement", "entitlementId"),
    ("request", "requestId"),
    ("is", "requestStatus"),
)
"""Fields of an outcome that are shown, and how they are called."""


def _name(topic: str, event_id: str) -> str:
    return f"{topic:<20}  {event_id:<8}"


class Show:
    """Lines with the seconds since the start; colours on a terminal alone."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._console = console()
        self._titles: dict[str, str] = {}
        self._shown = 0

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    def part(self, name: str, where: str) -> None:
        """A part is up."""
        self._line(("up   ", "bold blue"), (f"{name:<12}", "bold"), (printable(where), ""))

    def heading(self, text: str) -> None:
        """A part of the demonstration begins."""
        self._console.print()
        self._console.print(Text(text, style="bold"))

    def sent(self, sample: Sample) -> None:
        """An event went in."""
        self._titles[sample.event_id] = sample.title
        twice = f", sent {sample.times} times" if sample.times > 1 else ""
        self._event("in   ", sample.topic, sample.event_id, f"{sample.title}{twice}", "cyan")

    def signed(self, sample: Sample, made: str) -> None:
        """A trader signed at Tradovate, and the bridge makes an event of it."""
        self._event("sign ", sample.topic, sample.event_id, f"{sample.title}: the bridge makes {made} of it", "blue")

    def reviewed(self, sample: Sample, status: str) -> None:
        """Tradovate's desk decided; the time until the worker's next look is skipped."""
        text = f"Tradovate's desk says {status}; the half minute until the next look is skipped"
        self._event("desk ", sample.topic, sample.event_id, text, "blue")

    def load(self, count: int) -> None:
        """Many plain events went in."""
        self._line(("in   ", "cyan"), (f"{count} plain purchases", ""))

    def dead_letter(self, event_id: str, topic: str, reason: str) -> None:
        """A dead letter was written."""
        self._event("dead", topic, event_id, reason, "yellow")

    def outcome(self, event_id: str, body: Mapping[str, Any]) -> None:
        """An outcome came out."""
        status = str(body.get("status"))
        ids = [f"{name} {body[field]}" for name, field in _SHOWN if body.get(field) is not None]
        if body.get("tradingPermissionId") is None and (revoked := body.get("tradingPermissionIds")):
            ids.append(f"revoked {', '.join(map(str, revoked))}")
        codes = [code for code in (body.get("errorCode"),) if code]
        texts = [text for text in (body.get("errorText"), *(body.get("warnings") or ())) if text]
        self._line(
            ("out  ", _STYLES.get(status, "")),
            (_name(str(body.get("topic")), event_id), "bold"),
            (f"{status:<10}", _STYLES.get(status, "")),
            (printable("  ".join([*codes, ", ".join(ids), *texts])), ""),
        )

    def progress(self, done: int, total: int) -> None:
        """So many of the plain events are done: shown at every tenth."""
        if done * 10 // total > self._shown:
            self._shown = done * 10 // total
            self._line(("out  ", "green"), (f"{done} of {total} plain purchases are done", ""))

    def calls(self, by_path: Mapping[str, int], items: Mapping[str, int], names: Mapping[str, str]) -> None:
        """How many calls it took."""
        rows = [
            (names.get(path.rpartition("/")[2], path.strip("/")), calls, items.get(path) or "-")
            for path, calls in sorted(by_path.items(), key=lambda pair: -pair[1])
        ]
        table(("call", "calls", "items"), rows, empty="No call was made.")

    def effects(self, found: Sequence[Effect]) -> None:
        """What took effect at Tradovate, beside what should have."""
        rows = [(e.name.replace("_", " "), e.wanted, e.found, "yes" if e.right else "NO") for e in found]
        table(("made at Tradovate", "wanted", "found", "right"), rows, empty="Nothing took effect.")

    def say(self, text: str, style: str = "") -> None:
        """A line of its own."""
        self._console.print(Text(text, style=style))

    def _event(self, what: str, topic: str, event_id: str, text: str, style: str) -> None:
        self._line((what, style), (_name(topic, event_id), "bold"), (printable(text), ""))

    def _line(self, *parts: tuple[str, str]) -> None:
        text = Text(f"{self.seconds:6.2f} s  ", style="dim")
        for place, (part, style) in enumerate(parts):
            text.append(("  " if place else "") + part, style=style or "default")
        text.rstrip()
        self._console.print(text)
