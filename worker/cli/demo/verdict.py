"""Whether `demo` went as it should: pure comparisons of what was expected with what came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.cli.demo.samples import Sample, filled

_IDS = ("orderId", "userId", "accountId", "accountName", "tradingPermissionId")
_WRITTEN_AGAIN = {"contact_updates"}
"""Effects that are harmless when they come again: an answer was cut, the data are written once more."""


@dataclass(slots=True)
class SeenRecords:
    """What came out, by event id and in the order in which it came: final outcomes, those before, dead letters.

    `names`: what an event that the bridge made is called among the samples.
    """

    outcomes: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    dead_letters: dict[str, str] = field(default_factory=dict)
    pending: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    @property
    def final(self) -> Mapping[str, Mapping[str, Any]]:
        """The first final outcome of each event."""
        return {event_id: outcomes[0] for event_id, outcomes in self.outcomes.items()}

    def has(self, sample: Sample) -> bool:
        """Whether all that this sample waits for is there."""
        dead = sample.expect.dead_letter is None or sample.event_id in self.dead_letters
        return dead and sample.event_id in self.outcomes


@dataclass(frozen=True, slots=True)
class Effect:
    """How often something took effect at Tradovate, and how often it should have."""

    name: str
    wanted: int
    found: int

    @property
    def right(self) -> bool:
        """Whether the two fit."""
        return self.found == self.wanted or (self.name in _WRITTEN_AGAIN and self.found > self.wanted > 0)


def wrong_with(sample: Sample, seen: SeenRecords) -> str | None:
    """What is not as it should be with the outcomes of a sample; None when all is."""
    outcomes, expect = seen.outcomes.get(sample.event_id, []), sample.expect
    if not outcomes:
        return "no outcome came"
    if len(outcomes) > 1:
        return f"{len(outcomes)} final outcomes came, not one"
    outcome = outcomes[0]
    found = outcome.get("status"), outcome.get("errorCode")
    if found != (expect.status, expect.error_code):
        return f"{_pair(*found)}, not {_pair(expect.status, expect.error_code)}"
    if len(outcome.get("warnings") or ()) != expect.warnings:
        return f"{len(outcome.get('warnings') or ())} warnings, not {expect.warnings}"
    if seen.dead_letters.get(sample.event_id) != expect.dead_letter:
        return f"dead letter {seen.dead_letters.get(sample.event_id)}, not {expect.dead_letter}"
    before = [each.get("requestStatus") for each in seen.pending.get(sample.event_id, ())]
    if before != list(expect.pending):
        return f"pending outcomes {_listed(before)}, not {_listed(expect.pending)}"
    return _wrong_values(sample, seen, outcome)


def _wrong_values(sample: Sample, seen: SeenRecords, outcome: Mapping[str, Any]) -> str | None:
    expect = sample.expect
    if expect.like is not None:
        like = seen.final.get(expect.like, {})
        if differing := [name for name in _IDS if outcome.get(name) != like.get(name)]:
            return f"other ids than {expect.like}: {', '.join(differing)}"
    for name, wanted in filled(expect.values, seen.final).items():
        if wanted in (None, [None]) or outcome.get(name) != wanted:
            return f"{name} {outcome.get(name)}, not {wanted}"
    return None


def effects(samples: Sequence[Sample], totals: Mapping[str, int]) -> list[Effect]:
    """Effects at Tradovate, as the samples want them and as the simulator counted them."""
    wanted: Counter[str] = Counter()
    for sample in samples:
        wanted.update(sample.effects)
    return [
        Effect(name, wanted[name], totals.get(name, 0))
        for name in dict.fromkeys((*totals, *wanted))
        if wanted[name] or totals.get(name, 0)
    ]


def _pair(status: object, code: object) -> str:
    return f"{status} ({code})" if code else str(status)


def _listed(statuses: Sequence[object]) -> str:
    return ", ".join(str(status) for status in statuses) or "none"
