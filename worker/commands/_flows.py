"""Flows as the commands print them: a line, a timeline, JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from schemas.base import utc_text
from worker.ledger.browse import CallSeen, NoteSeen, OutcomeSeen, StepSeen, Story, Summary
from worker.ledger.rows import StepState

COLUMNS = ("flow", "topic", "event", "order", "trader", "state", "due", "attempts", "what")


def row(flow: Summary) -> Sequence[object]:
    """A flow as a row of `COLUMNS`."""
    return (
        flow.flow_id,
        flow.topic,
        flow.event_id,
        flow.order_id or "-",
        flow.trader_id or "-",
        flow.state,
        clock(flow.due) if flow.due else "-",
        flow.attempts,
        _what(flow),
    )


def as_json(flow: Summary) -> dict[str, Any]:
    """A flow by the contract's names and those of its outcome."""
    return {
        "flowId": str(flow.flow_id),
        "eventId": flow.event_id,
        "topic": flow.topic,
        "state": flow.state.value,
        "due": _utc(flow.due),
        "attempts": flow.attempts,
        "orderId": flow.order_id,
        "traderId": flow.trader_id,
        "userId": flow.user_id,
        "accountId": flow.account_id,
        "operation": flow.operation,
        "waitsFor": list(flow.waits_for),
        "round": flow.round,
        "errorCode": flow.error_code,
        "errorText": flow.error_text,
        "createdAt": _utc(flow.created_at),
        "endedAt": _utc(flow.ended_at),
    }


def story_json(story: Story) -> dict[str, Any]:
    """A flow with everything that happened to it."""
    calls = {call.id: call for call in story.calls}
    return {
        **as_json(story.summary),
        "partition": story.summary.partition,
        "offset": story.summary.offset,
        "facts": dict(story.facts),
        "steps": [
            {
                "operation": step.operation,
                "state": step.state,
                "attempts": step.attempts,
                "due": _utc(step.due),
                "waitsFor": list(step.waits_for),
                "createdAt": _utc(step.created_at),
                "endedAt": _utc(step.ended_at),
                "result": dict(step.result),
                "calls": [_call_json(calls[call]) for call in step.call_ids if call in calls],
            }
            for step in story.steps
        ],
        "outcomes": [
            {
                "outcomeId": outcome.outcome_id,
                "status": outcome.status,
                "errorCode": outcome.error_code,
                "errorText": outcome.error_text,
                "requestStatus": outcome.request_status,
                "createdAt": _utc(outcome.created_at),
                "publishedAt": _utc(outcome.published_at),
            }
            for outcome in story.outcomes
        ],
        "notes": [
            {"at": _utc(note.at), "action": note.action, "by": note.by, "reason": note.reason} for note in story.notes
        ],
        "heldBack": [{"reason": hold.reason, "until": _utc(hold.until)} for hold in story.holds],
    }


def head(story: Story) -> list[tuple[str, object]]:
    """What a flow is, as names and values; what is not known is left out."""
    flow, facts = story.summary, story.facts
    error = _why(flow.state, flow.error_code, flow.error_text)
    lines: list[tuple[str, object]] = [
        ("flow", flow.flow_id),
        ("topic", flow.topic),
        ("event", flow.event_id),
        ("order", flow.order_id),
        ("trader", flow.trader_id),
        ("user", flow.user_id),
        ("account", " ".join(str(each) for each in (flow.account_id, facts.get("accountName")) if each) or None),
        ("permission", facts.get("tradingPermissionId")),
        ("request", " ".join(str(facts[name]) for name in ("requestId", "requestStatus") if name in facts) or None),
        ("entitlement", facts.get("entitlementId")),
        ("state", f"{flow.state} ({error})" if error else flow.state.value),
        ("due", clock(flow.due) if flow.due else None),
        ("attempts", flow.attempts),
        ("round", flow.round),
        ("record", f"partition {flow.partition}, offset {flow.offset}"),
        *(("warning", text) for text in facts.get("warnings", ())),
    ]
    return [(name, value) for name, value in lines if value is not None]


def timeline(story: Story) -> list[tuple[str, str, str]]:
    """All that happened, in the order of time: when, what kind of thing, what it was."""
    flow = story.summary
    # A transaction is told by the database's clock from its beginning, and by the replica's from some moment within:
    # what is written together is put in the order in which it came about.
    entries: list[_Entry] = []
    before = flow.created_at
    for step in story.steps:
        entries += _step(step, flow, before)
        before = max(before, step.ended_at or before)
    entries += [(call.at, 4, "look-up" if call.kind == "look_up" else "call", _call(call)) for call in story.calls]
    entries += [(note.at, 1, "person", _note(note)) for note in story.notes]
    for outcome in story.outcomes:
        ends = [step.ended_at for step in story.steps if step.ended_at and _together(step.ended_at, outcome.created_at)]
        entries.append((max([outcome.created_at, *ends]), 5, "outcome", _outcome(outcome)))
    first = (_precise(flow.created_at), "accepted", f"event {flow.event_id} of {flow.topic}")
    told = [first, *((_precise(at), kind, text) for at, _, kind, text in sorted(entries, key=lambda entry: entry[:2]))]
    return [*told, *(("now", "held", _hold(hold.reason, hold.until)) for hold in story.holds)]


_Entry = tuple[datetime, int, str, str]
"""When, its rank among what came about in the same moment, what kind of thing, what it was."""


def _together(one: datetime, other: datetime) -> bool:
    """Whether two moments are those of one transaction, told by two clocks."""
    return abs((one - other).total_seconds()) < 0.2


def clock(moment: datetime) -> str:
    """A time on this machine's clock, to the second."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _precise(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3]


def _why(state: str, code: str | None, text: str | None) -> str:
    """What went wrong; a code that says no more than the state is left out."""
    return ": ".join(each for each in (None if code == state else code, text) if each)


def _what(flow: Summary) -> str:
    if flow.error_code:
        return _why(flow.state, flow.error_code, flow.error_text)
    if flow.waits_for:
        return f"waits for {_keys(flow.waits_for)}"
    return flow.operation or ""


def _keys(waits_for: Sequence[str]) -> str:
    """What a wait is for, in words: wake keys are `order:<kind>:<id>` and `trader:<id>`."""
    return " or ".join(_key(key) for key in waits_for)


def _key(key: str) -> str:
    kind, _, rest = key.partition(":")
    return f"order {rest.partition(':')[2]}" if kind == "order" else f"{kind} {rest}"


def _step(step: StepSeen, flow: Summary, before: datetime) -> list[_Entry]:
    begun = max(step.created_at, before) if _together(step.created_at, before) else step.created_at
    if step.waits:
        over = step.ended_at is not None
        what = _keys(step.waits_for) or "its time"
        text = f"for {what}" + (", over" if over else f", until {clock(step.due)} at the latest")
        return [(begun, 3, "wait", text)]
    later = f", not before {clock(step.due)}" if step.state == StepState.DUE and step.due > step.created_at else ""
    entries: list[_Entry] = [(begun, 3, "step", f"{step.operation} planned")]
    match step.state:
        case StepState.DONE | StepState.REFUSED:
            ids = ", ".join(f"{name} {value}" for name, value in step.result.items())
            entries.append((step.ended_at or step.due, 2, "step", f"{step.operation} {step.state} {ids}".rstrip()))
        case StepState.PARKED:
            ended = flow.ended_at or step.due
            entries.append((ended, 2, "step", f"{step.operation} parked: a person must look"))
        case _:
            words = {StepState.IN_FLIGHT: "is being sent", StepState.UNKNOWN: "is looked up before it is sent"}
            if step.attempts and step.state == StepState.UNKNOWN:
                words[StepState.UNKNOWN] = "may have taken effect and is looked up"
            text = words.get(StepState(step.state), f"is due{later}")
            entries.append((step.due, 4, "step", f"{step.operation} {text}"))
    return entries


def _call(call: CallSeen) -> str:
    what = f"{call.operation} on {call.domain}, {call.items} item{'' if call.items == 1 else 's'}"
    if call.kind == "look_up":
        what = f"{call.endpoint} on {call.domain} for {call.operation}"
    if call.finished_at is None:
        return f"{what}: no answer noted"
    seconds = (call.finished_at - call.at).total_seconds()
    told = ", ".join(str(each) for each in (call.result, call.http_status, call.error) if each is not None)
    return f"{what}: {told} after {seconds:.2f} s"


def _outcome(outcome: OutcomeSeen) -> str:
    what = _why(outcome.status, outcome.error_code or outcome.request_status, outcome.error_text)
    published = "published" if outcome.published_at else "not published yet"
    return f"{outcome.status}{f' ({what})' if what else ''}, {published}, outcomeId {outcome.outcome_id}"


def _note(note: NoteSeen) -> str:
    return f"{note.action} by {note.by}: {note.reason}"


def _hold(reason: str, until: datetime | None) -> str:
    return f"{reason}, {f'until {clock(until)}' if until else 'until a person clears it'}"


def _call_json(call: CallSeen) -> Mapping[str, Any]:
    seconds = None if call.finished_at is None else round((call.finished_at - call.at).total_seconds(), 3)
    return {
        "operation": call.operation,
        "endpoint": call.endpoint,
        "domain": call.domain,
        "kind": call.kind,
        "items": call.items,
        "replica": call.replica,
        "at": _utc(call.at),
        "seconds": seconds,
        "result": call.result,
        "httpStatus": call.http_status,
        "error": call.error,
    }


def _utc(moment: datetime | None) -> str | None:
    return None if moment is None else utc_text(moment)
