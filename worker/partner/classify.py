"""What an HTTP status and a body mean: pure, total, and the only place where the partner's ways of saying no are known.

| status | body | reply |
|---|---|---|
| 3xx, 421 | any | `Misdirected`: a wrong host |
| 404, 405 | empty | `Misdirected`: a wrong host, or nothing there |
| 423, 429 | any | `Silence` |
| 401 | any | `Unauthorized`, and whether an errorText or violations say so |
| 408, 5xx, 1xx, 2xx other than 200 | any | `Unclear` |
| any other 4xx | an errorText, violations or a short plain text that names the access token | `Unauthorized` |
| any other 4xx | an object with an errorText or violations, and nothing granted in `results` | `Refusal` |
| 400, 409, 422 | a JSON string, or a short plain text | `Refusal` |
| 403 | nothing, a JSON string, or a short plain text | `Unauthorized` |
| any other 4xx | anything else: nothing, a page, `{"error": ...}`, `{"message": ...}` | `Unclear` |
| 200 | an object with a penalty ticket, or a captcha | `Ticket` |
| 200 | a penalty without a ticket | `Unclear` |
| 200 | an errorText or violations, and nothing granted in `results` | `Refusal` |
| 200 | an errorText that names the other domain | `Misdirected`: a wrong host |
| 200, any other 4xx | an errorText or a short plain text that says `Request Timeout` | `Unclear` |
| 200 | refused and granted in part; an errorText of another type; an errorCode without an errorText | `Unclear` |
| 200 | any other object; for reads also null, a list and an empty body | `Answer` |
| 200 | anything else | `Unclear` |

Nothing else is a refusal or an answer: what is not proven is unknown, never the event's fault. An `Answer` proves
nothing yet; the operation looks for the part that it promises. Every text of a reply is clean.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Any

from schemas.cleaning import clean
from worker.partner._json import NONSENSE, read_json
from worker.replies import Answer, Misdirected, Refusal, Reply, Silence, Ticket, Unauthorized, Unclear

__all__ = ["classify", "timed_out"]

_DEFAULT_WAIT = 60.0  # seconds: the vendor's example of `p-time`, for a ticket that has none
_LONGEST_WAIT = (
    86_400.0  # seconds; "repeated violations can lengthen the wait", a longer one than a day is not believed
)

_SAID_PLAINLY = 512
"""Characters of a plain text that may be a sentence about the request; a longer one is a page of something else."""

_WRONG_DOMAIN = "this endpoint should be called on"
"""How some endpoints answer a call that went to the other domain (vendor's API description)."""


_TIMED_OUT = "request timeout"
"""How calls end that take too long (vendor, maintenance windows): whether they took effect is not known."""


def timed_out(text: str) -> bool:
    """Whether an error text says that the call, or its item, took too long: then it refuses nothing."""
    return _TIMED_OUT in text.lower()


def classify(status: int, body: bytes, *, reading: bool, leads_to: str | None = None) -> Reply:
    """The reply that this status and body stand for; never raises.

    `reading`: the call changes nothing, so that null, an empty body and a list are answers too. An empty 404 is
    `Misdirected` for a read as well: the vendor documents it for an unknown id, and a wrong host answers the same.
    `leads_to`: the host that a redirect names.
    """
    if 300 <= status < 400 or status == 421 or (status in (404, 405) and not body.strip()):
        why = _NOT_EXECUTED.get(status, f"HTTP {status}: a redirect")
        return Misdirected(why, status, leads_to)
    if status in (423, 429):  # 423 warns that a 429 is near; both want no call from any replica
        return Silence(status)
    if status == 408:
        return Unclear("HTTP 408: the request timed out, or the session was closed", 408)
    if 400 <= status < 500:
        return _client_error(status, body)
    if status == 200:
        return _success(body, reading=reading)
    return Unclear(f"HTTP {status}", status)


_NOT_EXECUTED = {
    404: "HTTP 404 without a body: the wrong host, or nothing there",
    405: "HTTP 405 without a body",
    421: "HTTP 421: the wrong host",
}


def _client_error(status: int, body: bytes) -> Reply:
    value = read_json(body)
    said, plain = _said(value), _plain(body, value)
    text = said or plain
    if status == 401 or (status == 403 and said is None and (plain is not None or not body.strip())):
        return Unauthorized(text or "", said=said is not None)
    if text is not None and "access token" in text.lower():
        return Unauthorized(text)  # an expired token is answered with "400 or 401", says one of the vendor's pages
    if text is not None and timed_out(text):
        return Unclear(f"HTTP {status}: the request timed out", status)
    if isinstance(value, dict) and _partly_done(value.get("results")):
        return Unclear(f"HTTP {status} that grants a part", status)
    if said is not None or (plain is not None and status in _SPOKEN):
        return Refusal(text or "", status, _code(value), value if isinstance(value, dict) else {})
    return Unclear(f"HTTP {status} without an error text", status)


_SPOKEN = (400, 409, 422)
"""What a service says of a request that it has read; what stands in front of it says other numbers."""


def _said(value: Any) -> str | None:
    """What an object says in the partner's own form: its errorText, its violations; None when it says neither."""
    if not isinstance(value, dict):
        return None
    text = value.get("errorText")
    said = [text.strip()] if isinstance(text, str) else []
    said += _violations(value.get("violations"))
    return clean("; ".join(filter(None, said))) or None


def _violations(violations: Any) -> list[str]:
    """The descriptions. `constraint` is a rule's name on the vendor's older page and a field's on the newer one;
    `value` is what was sent, and may be personal.
    """
    if not violations or not isinstance(violations, list | dict | str):
        return []
    said = []
    for violation in violations if isinstance(violations, list) else [violations]:
        if isinstance(violation, dict):
            texts = (violation.get(key) for key in ("description", "constraint"))
            said += [text.strip() for text in texts if isinstance(text, str) and text.strip()][:1]
        elif isinstance(violation, str) and violation.strip():
            said.append(violation.strip())
    return said or ["Tradovate found fault with the request and did not say what"]


def _plain(body: bytes, value: Any) -> str | None:
    """A short sentence that is the whole body, as text or as a JSON string; None for a page, or for other JSON."""
    if isinstance(value, str):
        text = value
    elif value is NONSENSE and len(body) <= 4 * _SAID_PLAINLY:
        text = body.decode("utf-8", "replace")
    else:
        return None
    text = text.strip()
    if len(text) > _SAID_PLAINLY or _MARKUP.match(text):
        return None
    return clean(text) or None


_MARKUP = re.compile(r"\s*[<{\[]")
"""How pages begin, and JSON that was cut."""


def _code(value: Any) -> str | None:
    """The errorCode; `Success` is the vendor's way to say that there is none."""
    code = value.get("errorCode") if isinstance(value, dict) else None
    return code.strip() or None if isinstance(code, str) and code.strip().lower() != "success" else None


def _success(body: bytes, *, reading: bool) -> Reply:
    if not body.strip():
        return Answer(None) if reading else Unclear("an empty answer", 200)
    value = read_json(body)
    if value is NONSENSE:
        return Unclear("an answer that is not JSON", 200)
    if isinstance(value, dict):
        return _refused(value) or Answer(value)
    if reading and (value is None or isinstance(value, list)):
        return Answer(value)
    return Unclear("an answer that is JSON of another kind than expected", 200)


def _refused(body: dict[str, Any]) -> Reply | None:
    """The call-wide ways to say no in a body of HTTP 200; None when there is none of them."""
    if (penalty := _penalty(body)) is not None:
        return penalty
    if not all(isinstance(body.get(name), kinds) for name, kinds in _KINDS.items()):
        return Unclear("an answer whose errorText, errorCode or violations are of another type than theirs", 200)
    text, code = _said(body), _code(body)
    if text is None:
        return Unclear(f"an answer with the errorCode {code} and no errorText", 200) if code is not None else None
    if text.lower().startswith(_WRONG_DOMAIN):
        return Misdirected(text, 200)
    if timed_out(text):
        return Unclear("an answer that says that the request timed out", 200)
    if _partly_done(body.get("results")):
        # The whole says no, some items say yes. Taken for a refusal it would be sent again, and doubled.
        return Unclear("an answer that is refused as a whole and granted in part", 200)
    return Refusal(text, 200, code, body)


_KINDS = {"errorText": str | None, "errorCode": str | None, "violations": list | dict | str | None}


def _partly_done(results: Any) -> bool:
    if not isinstance(results, list):
        return False
    return any(isinstance(item, dict) and item and not item.get("errorText") for item in results)


def _penalty(body: dict[str, Any]) -> Reply | None:
    ticket, captcha = body.get("p-ticket"), str(body.get("p-captcha")).lower() == "true"
    if (isinstance(ticket, str) and ticket) or captcha:
        message = body.get("p-message")
        return Ticket(
            ticket if isinstance(ticket, str) else "",
            _wait(body.get("p-time")),
            captcha,
            message if isinstance(message, str) else "",
        )
    if any(body.get(name) is not None for name in ("p-ticket", "p-time", "p-message")):
        return Unclear("a penalty without a ticket", 200)
    return None


def _wait(seconds: Any) -> timedelta:
    try:
        wait = float(seconds)
    except (TypeError, ValueError, OverflowError):
        wait = _DEFAULT_WAIT
    if math.isnan(wait):
        wait = _DEFAULT_WAIT
    return timedelta(seconds=min(max(wait, 0.0), _LONGEST_WAIT))
