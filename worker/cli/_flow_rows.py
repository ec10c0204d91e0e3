"""Flows as the commands print them: a line, a timeline, JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from schemas.times import Clock, utc_text
from worker.ledger.browse import Summary
from worker.ledger.story import CallSeen, Story
from worker.operate.flow_timeline import Entry, timeline
from worker.operate.wait_words import wait_keys

COLUMNS = ("flow", "topic", "event", "order", "trader", "state", "due", "attempts", "what")


def row(flow: Summary, clock: Clock = utc_text) -> Sequence[object]:
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
    """A flow by the names that `flows list --json` has, and those of its outcome."""
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
                "history": [_history(each) for each in step.history],
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


def head(story: Story, clock: Clock = utc_text) -> list[tuple[str, object]]:
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


def rows_of(story: Story, clock: Clock = utc_text) -> list[tuple[str, str, str]]:
    """All that happened, in the order of time: when, what kind of thing, what it was."""
    shown = [(clock(entry.at), _KINDS.get(entry.kind, entry.kind), _line(entry)) for entry in timeline(story, clock)]
    return [*shown, *(("now", "held", _hold(hold.reason, hold.until, clock)) for hold in story.holds)]


_KINDS = {"send": "call", "look_up": "look-up", "note": "operator"}


def _line(entry: Entry) -> str:
    """An entry in one line."""
    head = f"{entry.title}: {entry.state}." if entry.state else f"{entry.title}."
    return " ".join([head, *entry.texts, *([f'"{entry.said}"'] if entry.said else [])])


def _why(state: str, code: str | None, text: str | None) -> str:
    """What went wrong; a code that says no more than the state is left out."""
    return ": ".join(each for each in (None if code == state else code, text) if each)


def _what(flow: Summary) -> str:
    if flow.error_code:
        return _why(flow.state, flow.error_code, flow.error_text)
    if flow.waits_for:
        return f"waits for {wait_keys(flow.waits_for)}"
    return flow.operation or ""


def _hold(reason: str, until: datetime | None, clock: Clock) -> str:
    return f"{reason}, {f'until {clock(until)}' if until else 'until an operator clears it'}"


def _history(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of a step's history, its times in the one form."""
    moments = {name: utc_text(datetime.fromisoformat(entry[name])) for name in ("at", "due") if name in entry}
    return {**entry, **moments}


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
