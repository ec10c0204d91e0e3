"""Answers gone wrong: what the fault rules put in the place of a good answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.sandbox.responses import CUT, HANG, Reply, html, raw, refusal, text

if TYPE_CHECKING:
    from worker.sandbox.fault_rules import FaultRule

__all__ = ["instead", "mangled", "stopped"]


def with_status(rule: FaultRule) -> Reply:
    """Return the rule's status; without a body it has Content-Length 0, as the partner's 429 has."""
    return text(rule.status, rule.body) if rule.body else raw(rule.status)


def instead(rule: FaultRule) -> Reply:
    """Return what a caller gets whose effect comes late."""
    if rule.answer == "cut":
        return CUT
    return HANG if rule.answer == "hang" else raw(int(rule.answer))


_NONSENSE = {
    "not_json": raw(200, b"Service is warming up..."),
    "wrong_types": Reply(data={"results": "ok", "errorText": 7, "accessToken": False, "accountId": "many"}),
    "html": html(200),
    "null": Reply(data=None),
    "array": Reply(data=[1, "two", None]),
    "empty": raw(200),
    "object": Reply(data={}),
    "nulls": Reply(data=[None]),
    "hollow": Reply(data=[{}]),
    "error": Reply(data={"error": "invalid_token"}),
    "failure": Reply(data={"failureReason": "UnknownReason", "failureText": "Access is denied"}),
    "penalty": Reply(data={"p-time": 60, "p-message": "wait"}),
}


def garbage(form: str, reply: Reply) -> Reply:
    """Return an answer that makes no sense, with HTTP 200; `truncated` is half of the good one."""
    if form == "truncated":
        body = reply.encode()
        return raw(200, body[: max(1, len(body) // 2)])
    return _NONSENSE[form]


def stopped(rule: FaultRule, sentence: str) -> Reply | None:
    """Return what the caller gets under a rule that keeps the effect away, None under any other."""
    match rule.action:
        case "cut_before":
            return CUT
        case "status_before":
            return with_status(rule)
        case "error_text":
            return refusal(rule.body or sentence)
        case "hang" if not rule.effect:
            return HANG
        case "garbage" if rule.effect is False:
            return garbage(rule.form, Reply(data={"results": []}))
        case _:
            return None


def mangled(rule: FaultRule, reply: Reply) -> Reply:
    """Return what the caller sees of `reply` under a rule that applies after the effect."""
    match rule.action:
        case "cut_after":
            return CUT
        case "status_after":
            return with_status(rule)
        case "hang":
            return HANG
        case "garbage":
            return garbage(rule.form, reply)
        case "short_results" | "long_results" | "swapped_results" | "same_results":
            return _with_results(rule, reply)
        case _:
            return reply


def _with_results(rule: FaultRule, reply: Reply) -> Reply:
    data = reply.data
    results = data.get("results") if isinstance(data, dict) else None
    if not isinstance(results, list) or not results:
        return reply
    if rule.action == "short_results":
        results = results[: max(0, len(results) - rule.count)]
    elif rule.action == "long_results":
        results = results + [results[-1]] * rule.count
    elif rule.action == "same_results":
        results = [results[0]] * len(results)
    else:
        results = results[::-1]
    return Reply(status=reply.status, data={**data, "results": results}, failed=reply.failed)
