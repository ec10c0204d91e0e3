"""What an HTTP status and a body mean: pure, total, and the only place where the partner's ways of saying no are known.

The vendor says no inside HTTP 200 in four ways: a top-level `errorText`, an `errorText` in each item of `results`
(left to the operation), `violations`, and a penalty ticket. What makes no sense is `Unclear`, never a refusal: a
refused call may be sent again, one that may have taken effect may not.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import orjson

from worker.replies import Answer, NotExecuted, Refusal, Reply, Silence, Ticket, Unauthorized, Unclear

__all__ = ["TEXT_LIMIT", "classify", "clean"]

TEXT_LIMIT = 8192
"""Characters; the vendor's endpoint pages give it as the longest `errorText`."""

_DEFAULT_WAIT = 60.0  # seconds: the vendor's example of `p-time`, for a ticket that has none
_LONGEST_WAIT = 86_400.0  # seconds; "repeated violations can lengthen the wait", but a day is beyond belief


def clean(text: str) -> str:
    """The partner's text as it may be stored and printed: no NUL (PostgreSQL refuses it), no lone surrogates, at
    most `TEXT_LIMIT` characters.
    """
    text = text[:TEXT_LIMIT].replace("\x00", "").strip()
    return text.encode("utf-8", "replace").decode()


def classify(status: int, body: bytes, *, reading: bool, leads_to: str | None = None) -> Reply:
    """The reply that this status and body stand for; never raises.

    `reading`: the call changes nothing, so that null, an empty body and a list are answers too. An empty 404 is
    `NotExecuted` for a read as well: the vendor documents it for an unknown id, and a wrong host answers the same.
    `leads_to`: the host that a redirect names.
    """
    if 300 <= status < 400 or status == 421 or (status in (404, 405) and not body.strip()):
        return NotExecuted(_NOT_EXECUTED.get(status, f"HTTP {status}: a redirect"), status, leads_to)
    if 400 <= status < 500:
        return _client_error(status, body)
    if 200 <= status <= 204:
        return _success(status, body, reading=reading)
    return Unclear(f"HTTP {status}", status)


_NOT_EXECUTED = {
    404: "HTTP 404 without a body: the wrong host, or nothing there",
    405: "HTTP 405 without a body",
    421: "HTTP 421: the wrong host",
}


def _client_error(status: int, body: bytes) -> Reply:
    if status in (423, 429):  # 423 warns that a 429 is near; both want silence from everybody
        return Silence(status)
    if status in (401, 403):
        return Unauthorized(_text_of(body))
    if status == 408:
        return Unclear("HTTP 408: the request timed out, or the session was closed", 408)
    text = _text_of(body)
    if status == 400 and "access token" in text.lower():
        return Unauthorized(text)  # an expired token is answered with "400 or 401", says one of the vendor's pages
    return Refusal(text or f"Tradovate answered HTTP {status} without a text", status, _code_of(body))


def _success(status: int, body: bytes, *, reading: bool) -> Reply:
    if not body.strip():
        return Answer(None) if reading else Unclear("an empty answer", status)
    try:
        value = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        return Unclear("an answer that is not JSON", status)
    if isinstance(value, dict):
        return _refused(status, value) or Answer(value)
    if reading and (value is None or isinstance(value, list)):
        return Answer(value)
    return Unclear("an answer that is JSON of another kind than expected", status)


def _refused(status: int, body: dict[str, Any]) -> Reply | None:
    """The call-wide ways to say no in a body of HTTP 200; None when there is none of them."""
    if (ticket := _ticket(body)) is not None:
        return ticket
    text, code = body.get("errorText"), body.get("errorCode")
    if not isinstance(text, str | None) or not isinstance(code, str | None):
        return Unclear("an answer whose errorText or errorCode is not a text", status)
    text, code = clean(text or ""), clean(code or "") or None
    if code is not None and code.lower() == "success":
        code = None  # the vendor's way to say that there is no error
    if violations := body.get("violations"):
        said = "; ".join(filter(None, (text, _violations(violations))))
        return Refusal(said or "Tradovate found fault with the request and did not say what", 200, code)
    if not text and code is None and body.get("ok") is not False:
        return None
    if text and _partly_done(body.get("results")):
        # The whole says no, some items say yes. Taken for a refusal it would be sent again, and doubled.
        return Unclear("an answer that is refused as a whole and granted in part", status)
    return Refusal(text or code or "Tradovate refused without a text (ok: false)", 200, code)


def _partly_done(results: Any) -> bool:
    if not isinstance(results, list):
        return False
    return any(isinstance(item, dict) and item and not item.get("errorText") for item in results)


def _ticket(body: dict[str, Any]) -> Ticket | None:
    ticket, captcha = body.get("p-ticket"), body.get("p-captcha") is True
    ticket = ticket.replace("\x00", "") if isinstance(ticket, str) else ""
    if not ticket and not captcha:
        return None
    message = body.get("p-message")
    return Ticket(ticket, _wait(body.get("p-time")), captcha, clean(message) if isinstance(message, str) else "")


def _wait(seconds: Any) -> timedelta:
    try:
        wait = float(seconds)
    except (TypeError, ValueError, OverflowError):
        wait = _DEFAULT_WAIT
    if math.isnan(wait):
        wait = _DEFAULT_WAIT
    return timedelta(seconds=min(max(wait, 0.0), _LONGEST_WAIT))


def _violations(violations: Any) -> str:
    """The descriptions, one after the other. `constraint` is a rule's name on the vendor's older page and a field's
    on the newer one; `value` is what was sent, and may be personal.
    """
    said = []
    for violation in violations if isinstance(violations, list) else [violations]:
        if isinstance(violation, dict):
            for key in ("description", "constraint"):
                if isinstance(violation.get(key), str) and violation[key]:
                    said.append(violation[key])
                    break
        elif isinstance(violation, str):
            said.append(violation)
    return clean("; ".join(said))


def _object(body: bytes) -> Any:
    try:
        return orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        return None


def _text_of(body: bytes) -> str:
    """The readable part of an error's body: its errorText or violations, a JSON string, or the bytes as text."""
    value = _object(body)
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        for key in ("errorText", "message", "error"):
            if isinstance(value.get(key), str) and value[key]:
                return clean(value[key])
        if violations := value.get("violations"):
            return _violations(violations)
    return clean(body[: TEXT_LIMIT * 4].decode("utf-8", "replace"))


def _code_of(body: bytes) -> str | None:
    value = _object(body)
    code = value.get("errorCode") if isinstance(value, dict) else None
    return clean(code) or None if isinstance(code, str) else None
