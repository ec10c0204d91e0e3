"""A flow's life as entries, the oldest first: accepted, waits, steps, calls, look-ups, outcomes, what operators did.

Pure; console and command line show the same entries. Tradovate's own words come from the outcomes, where they are
masked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from schemas.times import Clock, utc_text
from worker.engine.rows import Found
from worker.ledger.story import CallSeen, NoteSeen, OutcomeSeen, StepSeen, Story
from worker.operate.quantities import count, span
from worker.operate.wait_words import wait_keys, waited
from worker.partner.operations import OPERATIONS

RESULTS: Mapping[str, str] = {
    "answer": "answered",
    "refusal": "refused as a whole",
    "ticket": "penalty ticket",
    "silence": "locked out",
    "unauthorized": "token not accepted",
    "not_executed": "not executed",
    "unclear": "unknown",
    "not_sent": "not sent",
    "none": "no answer yet",
}
"""What came of a call (`call.result`), in words; `none`: nothing, yet or ever."""

NOTHING_THERE = "nothing there"
"""What a 404 to a read of a look-up means: it is an answer, and no error."""

FOUND: Mapping[Found, tuple[str, str]] = {
    Found.THERE: ("found it", "It was there before, and is ours."),
    Found.NOTHING: ("found nothing", "It is not there yet, and is sent now."),
    Found.OTHERS: ("found what belongs to another", ""),
    Found.NEEDED_THERE: ("found what it needs", "It is sent again."),
    Found.NEEDED_MISSING: ("did not find what it needs", ""),
    Found.UNCLEAR: ("found out nothing", "An operator must look."),
    Found.NOT_MADE: ("could not be made", ""),
}
"""What a look-up found, of a step that was not sent before."""

_DID: Mapping[str, str] = {
    "retry": "retried it", "resolve": "resolved it", "cancel": "cancelled it", "learn": "imported its outcome",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. `said`: words of Tradovate or of an operator, shown apart. `rank` orders one moment."""

    at: datetime
    kind: str
    title: str
    texts: Sequence[str] = ()
    said: str | None = None
    state: str = ""
    rank: int = 0


def timeline(story: Story, clock: Clock = utc_text) -> list[Entry]:
    """All of it, with times as `clock` writes them."""
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
        begun, *others = _Telling(step, story, clock).entries()
        entries += [replace(begun, at=_after(begun.at, last)), *others]
        last = step.ended_at or begun.at
    ends = [step.ended_at for step in story.steps if step.ended_at is not None]
    for outcome in story.outcomes:
        entry = _outcome(outcome, clock)
        entries.append(replace(entry, at=max((_after(entry.at, end) for end in ends), default=entry.at)))
    entries += [_note(note) for note in story.notes]
    return sorted(entries, key=lambda entry: (entry.at, entry.rank))


_ONE_TRANSACTION = timedelta(seconds=1)
"""Two clocks, the database's and a replica's, tell the time within one transaction no further apart than this."""


def _after(at: datetime, other: datetime) -> datetime:
    """`at`, or `other` where that is a moment later and both are of one transaction."""
    return other if at < other < at + _ONE_TRANSACTION else at


class _Telling:
    """One step: what it waited for, its calls, what look-ups found, and how it ended."""

    def __init__(self, step: StepSeen, story: Story, clock: Clock) -> None:
        self.step, self.story, self.clock = step, story, clock
        self.name = step.operation.partition("@")[0]
        known = OPERATIONS.get(step.operation)
        self.in_words = None if known is None else known.response.in_words
        self.only_looks = known is not None and known.only_looks
        own = set(step.call_ids)
        self.calls = sorted((call for call in story.calls if call.id in own), key=lambda call: (call.at, call.id))

    def entries(self) -> Iterator[Entry]:
        """In no order."""
        step, since = self.step, self.step.created_at
        history = [(datetime.fromisoformat(each["at"]), each) for each in step.history]
        ready = [since]  # moments from which on the step could be sent or looked up
        for at, each in history:
            if "waited" in each:
                yield _waited(since, at, each["waited"], self.clock)
                since = at
                ready.append(at)
        if step.waits:
            if step.ended_at is None:
                until = f"Until {self.clock(step.due)} at the latest."
                yield Entry(since, "wait", f"Waits for {wait_keys(step.waits_for)}", (until,), rank=5)
            elif not step.history:
                yield _waited(since, step.ended_at, step.waits_for, self.clock)
            return
        yield self._begun(since)
        for at, each in history:
            if "waited" not in each:
                yield self._moved(at, each)
                ready.append(datetime.fromisoformat(each["due"]) if "due" in each else at)
        for call in self.calls:
            before = max((at for at in ready if at <= call.at), default=call.at)
            # What was ready again only later (its back-off was still under way) did not wait for its turn.
            why = waited(step.operation, before, call.at, self.story.held, call.items, self.clock)
            yield _call(call, why)
            ready.append(call.finished_at or call.at)
        yield from self._ended()

    def _begun(self, at: datetime) -> Entry:
        step = self.step
        if self.only_looks:
            return Entry(at, "look_up", f"Look-up for {self.name} planned", rank=5)
        if self.step.ended_at is not None or step.attempts or step.state == "parked":
            sent = f"Sent {count(step.attempts, 'time')}." if step.attempts else "Never sent."
            return Entry(at, "step", f"{self.name} planned", (sent,), rank=5)
        later = f"Not before {self.clock(step.due)}." if step.due > at else "Not sent yet."
        return Entry(at, "step", f"{self.name} is next", (later,), rank=5)

    def _moved(self, at: datetime, entry: Mapping[str, Any]) -> Entry:
        """What a look-up found, or that the step is back in a queue."""
        due = datetime.fromisoformat(entry["due"]) if "due" in entry else None
        wait = span(due - at) if due is not None and due > at else ""
        if "found" in entry:
            return self._found(at, Found(entry["found"]), entry.get("state"), f" {wait} later" if wait else "")
        if entry.get("lost"):
            texts = (f"The replica that sent it ended in the middle of the call. It is looked up {wait} later.",)
            return Entry(at, "step", f"Whether {self.name} took effect is not known", texts, rank=2)
        if entry["state"] == "unknown":
            texts = (f"It is looked up {wait or 'a moment'} later, when it has settled.",)
            return Entry(at, "step", f"Whether {self.name} took effect is not known", texts, rank=2)
        text = "It is sent as soon as calls may be made."
        if due is not None and wait:
            text = f"Back-off: not before {self.clock(due)}, {wait} later."
        return Entry(at, "step", f"{self.name} is to be sent again", (text,), rank=2)

    def _found(self, at: datetime, found: Found, state: str | None, later: str) -> Entry:
        sent = any(call.kind == "send" and call.at < at for call in self.calls)
        if found is Found.THERE and self.in_words is not None:
            title, text = f"found: {self.in_words(self.step.result)}", ""
        elif found is Found.NOTHING and sent:
            title = "found nothing"
            text = f"The call had not taken effect. It is sent again{later}." if state else "The call had no effect."
        else:
            title, text = FOUND[found]
            if found is Found.THERE and sent:
                text = "The call had taken effect."
            elif state == "unknown":
                text = f"It is looked up again{later}."
        return Entry(at, "look_up", f"Look-up for {self.name} {title}", (text,) if text else (), rank=2)

    def _ended(self) -> Iterator[Entry]:
        step = self.step
        looked = any(each.get("found") == Found.THERE for each in step.history)
        at = max(step.ended_at or self.story.summary.ended_at or step.due, step.created_at)
        match step.state:
            case "done" if self.in_words is not None:
                if not looked:
                    yield Entry(at, "step", f"{self.name} found: {self.in_words(step.result)}", rank=3)
            case "done":
                ids = ", ".join(f"{name} {value}" for name, value in step.result.items())
                what = "took effect" if step.attempts else "was there already"
                yield Entry(at, "step", f"{self.name} {what}", (ids,) if ids else (), rank=3)
            case "refused":
                what = "was refused" if self.in_words else "did not take effect" if step.attempts else "is not sent"
                yield Entry(at, "step", f"{self.name} {what}", rank=3)
            case "parked":
                yield Entry(at, "step", f"{self.name} is in doubt: an operator must look", rank=3)
            case _:
                pass


def _waited(since: datetime, until: datetime, keys: Sequence[str], clock: Clock) -> Entry:
    text = f"Until {clock(until)}, for {span(until - since)}."
    return Entry(since, "wait", f"Waited for {wait_keys(keys)}", (text,), rank=5)


def result_words(call: CallSeen) -> str:
    """What came of a call."""
    if call.kind == "look_up" and call.http_status == 404:
        return NOTHING_THERE
    return RESULTS.get(call.result or "none", call.result or "")


def _call(call: CallSeen, why: str) -> Entry:
    looks = call.kind == "look_up"
    title = f"Look-up reads {call.endpoint}" if looks else f"Call {call.endpoint}"
    took = f" after {span(call.finished_at - call.at)}" if call.finished_at is not None else ""
    status = f", HTTP {call.http_status}" if call.http_status not in (None, 200) else ""
    with_it = "" if looks else f", with {count(call.items, 'item')}"
    error = [f"{call.error}."] if call.error and result_words(call) != NOTHING_THERE else []
    said = f"On {call.domain.upper()}{with_it}, by {call.replica}: {result_words(call)}{took}{status}."
    return Entry(call.at, call.kind, title, (*([why] if why else []), said, *error), rank=1)


def _outcome(outcome: OutcomeSeen, clock: Clock) -> Entry:
    published = f"Published {clock(outcome.published_at)}." if outcome.published_at else "Not published yet."
    code = [f"{outcome.error_code}."] if outcome.error_code not in (None, outcome.status) else []
    asked = [f"The request is {outcome.request_status}."] if outcome.request_status else []
    title = f"Outcome {outcome.outcome_id}"
    return Entry(
        outcome.created_at, "outcome", title, (*code, *asked, published), outcome.error_text, outcome.status, rank=6
    )


def _note(note: NoteSeen) -> Entry:
    return Entry(note.at, "note", f"{note.by} {_DID.get(note.action, note.action)}", (), note.reason, rank=4)


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
