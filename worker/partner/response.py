"""What a reply to a call means for each of its items: read once, masked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, assert_never

from worker.partner.masking import mask_all, mask_each
from worker.partner.operation import Item, Operation
from worker.partner.permission_classes import access_of
from worker.partner.single_reads import is_id
from worker.replies import Answer, Misdirected, NotSent, Refusal, Reply, Silence, Ticket, Unauthorized, Unclear
from worker.results import CallEnd, CallResult, NotExecuted, Rejected, Result, Unknown

NOW = timedelta(0)

TOKEN_RETRY_WAIT = timedelta(milliseconds=200)
"""Before a step is sent again whose token was not accepted: nothing beside a call, and enough not to spin."""


def read_reply(
    operation: Operation, reply: Reply, items: Sequence[Item], *, denied: bool = False
) -> tuple[Reply, CallResult]:
    """The results, and the reply as the call log keeps it. `denied`: a 401 that another token would not cure.

    An answer that proves nothing of any item is unclear: it is no sign that the partner serves the operation. One that
    was carried out and has only to be verified (its items are unknown, and may be looked up at once) stands.
    """
    if isinstance(reply, Answer):
        results = [_meant(operation, result) for result in operation.response.read(reply.body, items)]
        unknown = [result for result in results if isinstance(result, Unknown) and result.wait is None]
        if len(unknown) < len(results):
            return reply, CallResult(CallEnd.ANSWERED, mask_each(results, items))
        reply = Unclear(unknown[0].text, 200)
    if isinstance(reply, Refusal) and (granted := _granted(operation, reply)) is not None:
        reply = Unclear(f"an answer that is refused and granted ({granted})", reply.status)
    end, result = _whole(operation, reply, denied=denied)
    if end is CallEnd.REJECTED and (len(items) == 1 or operation.batching.joined):
        end, result = CallEnd.ANSWERED, _meant(operation, result)
    return reply, CallResult(end, mask_all(result, items))


def _granted(operation: Operation, refusal: Refusal) -> str | None:
    """The part of a refusal that says that it took effect: a promised id, entity or `ok`, or a list with one of them.

    Taken for a refusal, it would be sent again, and doubled.
    """
    for name in operation.response.promises:
        value = refusal.body.get(name)
        if is_id(value):
            return f"{name} {value}"
        parts = value if isinstance(value, list) else [value]
        if value is True or any(is_id(part) or _is_made(part) for part in parts):
            return name
    return None


def _is_made(part: Any) -> bool:
    """Whether it is an entity, or an item's result with an entity."""
    if not isinstance(part, Mapping):
        return False
    entities = [part, *part.values()]
    return not part.get("errorText") and any(isinstance(each, Mapping) and is_id(each.get("id")) for each in entities)


def _whole(operation: Operation, reply: Reply, *, denied: bool) -> tuple[CallEnd, Result]:
    """What a reply says of all items alike."""
    if denied and isinstance(reply, Unauthorized) and reply.said:
        reply = Refusal(reply.text, 401)
    end: CallEnd = CallEnd.ANSWERED
    result: Result
    match reply:
        case Answer():
            raise AssertionError("an answer is read item by item")
        case Unclear(why=why):
            end, result = CallEnd.FAILED, Unknown(why)
        case Refusal(text=text):
            end, result = CallEnd.REJECTED, Rejected(text)
        case Unauthorized(text=text) if denied:
            end, result = CallEnd.FAILED, NotExecuted(_not_permitted(operation, text))
        case Unauthorized():
            result = NotExecuted(wait=TOKEN_RETRY_WAIT)  # the token is replaced first
        case Misdirected(why=why, status=status):
            end = CallEnd.EMPTY if status in (404, 405) else CallEnd.ANSWERED
            result = NotExecuted(f"{operation.vendor}: {why}")
        case NotSent():
            result = NotExecuted()
        case Silence(status=status):
            result = NotExecuted(f"HTTP {status}", NOW)
        case Ticket(captcha=captcha, wait=wait):
            end = CallEnd.CAPTCHA if captcha else CallEnd.TICKET
            result = NotExecuted(wait=wait)
        case _:
            assert_never(reply)
    return end, result


def _meant(operation: Operation, result: Result) -> Result:
    """What a rejection means, by the operation's declaration."""
    return operation.recovery.rejection(result.text) if isinstance(result, Rejected) else result


def _not_permitted(operation: Operation, text: str) -> str:
    """The text about a call that is answered 401 although the token is good."""
    said = f": {text}" if text else ""
    return (
        f"Tradovate does not permit {operation.vendor} to this API key (401 with a good token{said}). The key needs "
        f"{access_of(operation.path)}; a new device must be approved by e-mail."
    )
