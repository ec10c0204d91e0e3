"""A flow's life as entries, the oldest first: accepted, steps, waits, calls, look-ups, outcomes, and what people did.

Pure. The partner's own words come from the outcomes, where they are masked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from worker.console.why import wait_key
from worker.console.words import count, span, when
from worker.ledger.browse import CallSeen, NoteSeen, OutcomeSeen, StepSeen, Story

RESULTS: Mapping[str, str] = {
    "answer": "answered",
    "refusal": "refused as a whole",
    "ticket": "penalty ticket",
    "silence": "locked out",
    "unauthorized": "token not accepted",
    "unclear": "unclear",
    "not_sent": "not sent",
    "none": "no answer yet",
}
"""What came of a call (`call.result`), in words; `none`: nothing, yet or ever."""

_ENDS: Mapping[str, str] = {
    "done": "took effect",
    "refused": "did not take effect",
    "parked": "is in doubt: a person must look",
}

_DID: Mapping[str, str] = {"retry": "retried it", "resolve": "resolved it", "cancel": "cancelled it"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. `said`: words of the partner or of a person, shown apart. `rank` orders one moment."""

    at: datetime
    kind: str
    title: str
    texts: Sequence[str] = ()
    said: str | None = None
    state: str = ""
    rank: int = 0


def timeline(story: Story) -> list[Entry]:
    """All of it."""
    flow = story.summary
    entries = [
        Entry(
            flow.created_at,
            "accepted",
            "Accepted",
            (f"Event {flow.event_id}, {flow.topic}, partition {flow.partition}, offset {flow.offset}.",),
        )
    ]
    last = flow.created_at
    for step in story.steps:
        # A step begins in the transaction that ends the one before: its time is that of the transaction's start.
        begun, *ended = _step(step)
        entries += [replace(begun, at=_after(begun.at, last)), *ended]
        last = ended[-1].at if ended else begun.at
    entries += [_call(call) for call in story.calls]
    ends = [entry.at for entry in entries if entry.kind == "step"]
    for outcome in story.outcomes:
        entry = _outcome(outcome)
        entries.append(replace(entry, at=max((_after(entry.at, end) for end in ends), default=entry.at)))
    entries += [_note(note) for note in story.notes]
    return sorted(entries, key=lambda entry: (entry.at, entry.rank))


_ONE_TRANSACTION = timedelta(seconds=1)
"""Two clocks, the database's and a replica's, tell the time within one transaction no further apart than this."""


def _after(at: datetime, other: datetime) -> datetime:
    """`at`, or `other` where that is a moment later and both are of one transaction."""
    return other if at < other < at + _ONE_TRANSACTION else at


def _step(step: StepSeen) -> list[Entry]:
    if step.waits:
        waited = " or ".join(wait_key(key) for key in step.waits_for) or "its time"
        ending = f"until {when(step.due)} at the latest" if step.ended_at is None else f"until {when(step.ended_at)}"
        return [Entry(step.created_at, "wait", f"Waits for {waited}", (f"{ending}.",), rank=4)]
    tried = f"Sent {count(step.attempts, 'time')}." if step.attempts else "Not sent yet."
    begun = Entry(step.created_at, "step", f"{step.operation} is next", (tried,), rank=4)
    ended = _ENDS.get(step.state)
    if ended is None:
        return [begun]
    texts = [", ".join(f"{name} {value}" for name, value in step.result.items())] if step.result else []
    at = step.ended_at or step.due
    return [begun, Entry(max(at, step.created_at), "step", f"{step.operation} {ended}", texts, rank=2)]


def _call(call: CallSeen) -> Entry:
    looks = call.kind == "look_up"
    title = f"Look-up {call.endpoint} for {call.operation}" if looks else f"Call {call.operation}"
    result = RESULTS.get(call.result or "none", call.result or "")
    took = f" after {span(call.finished_at - call.at)}" if call.finished_at is not None else ""
    status = f", HTTP {call.http_status}" if call.http_status not in (None, 200) else ""
    with_it = "" if looks else f", with {count(call.items, 'item')}"
    error = [f"{call.error}."] if call.error else []
    said = f"On {call.domain.upper()}{with_it}, by {call.replica}: {result}{took}{status}."
    return Entry(call.at, call.kind, title, (said, *error), rank=1)


def _outcome(outcome: OutcomeSeen) -> Entry:
    told = f"Published {when(outcome.published_at)}." if outcome.published_at else "Not published yet."
    code = [f"{outcome.error_code}."] if outcome.error_code not in (None, outcome.status) else []
    asked = [f"The request is {outcome.request_status}."] if outcome.request_status else []
    title = f"Outcome {outcome.outcome_id}"
    return Entry(
        outcome.created_at, "outcome", title, (*code, *asked, told), outcome.error_text, outcome.status, rank=5
    )


def _note(note: NoteSeen) -> Entry:
    return Entry(note.at, "note", f"{note.by} {_DID.get(note.action, note.action)}", (), note.reason, rank=3)


def ids(story: Story) -> list[tuple[str, Any]]:
    """Whom and what the flow is about, as far as it is known."""
    flow = story.summary
    shown: dict[str, Any] = {
        "flow": flow.flow_id,
        "event": flow.event_id,
        "order": flow.order_id,
        "trader": flow.trader_id,
        "userId": flow.user_id,
        "accountId": flow.account_id,
    }
    for name, value in story.facts.items():
        if name != "warnings":
            shown[name] = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
    shown |= {"attempts": flow.attempts, "round": flow.round or None}
    for place, warning in enumerate(story.facts.get("warnings", ()), 1):
        shown[f"warning {place}"] = warning
    return [(name, value) for name, value in shown.items() if value is not None and value != ""]
