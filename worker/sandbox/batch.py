"""Batches: one result per item in the items' order, and the ways in which one bad item is reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from worker.sandbox.fields import Malformed, Problems
from worker.sandbox.responses import Reply, ok, refusal, text, violations, with_success_text
from worker.sandbox.vendor_texts import message

if TYPE_CHECKING:
    from worker.sandbox.config import Refusal
    from worker.sandbox.operation import Call

__all__ = ["Bad", "batch_items", "malformed", "poisoned", "refused", "refused_whole", "run_batch"]


@dataclass(frozen=True, slots=True)
class Bad:
    """Why an item cannot be worked, and how that is reported. `atomic` None leaves it to the switch."""

    problems: Problems
    form: Refusal
    atomic: bool | None = None


def malformed(call: Call, problems: Problems) -> Bad:
    """An item that breaks a stated rule."""
    return Bad(problems, call.config.malformed_item)


def refused(call: Call, field: str, code: str) -> Bad:
    """A well-formed item that the partner does not accept."""
    return Bad([(field, message(call.config, code))], call.config.refused_item)


def batch_items(call: Call, name: str) -> list[dict[str, Any]]:
    """Return the batch's items.

    :raises Malformed: it is no list of objects.
    """
    items = call.body.get(name)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Malformed(name)
    return items


def run_batch(
    call: Call,
    items: list[dict[str, Any]],
    judge: Callable[[dict[str, Any]], Bad | None],
    make: Callable[[dict[str, Any]], dict[str, Any]],
) -> Reply:
    """Work the items. Every item is judged before the first is made, so that a refusal can leave nothing behind."""
    verdicts = [poisoned(call, item) or judge(item) for item in items]
    first_bad = next((at for at, bad in enumerate(verdicts) if bad is not None and bad.form != "item"), None)
    if first_bad is not None:
        bad = verdicts[first_bad]
        assert bad is not None
        atomic = call.config.batch_atomic if bad.atomic is None else bad.atomic
        if not atomic:
            for item, verdict in zip(items[:first_bad], verdicts, strict=False):
                if verdict is None:
                    make(item)
        return refused_whole(call, bad)
    results = [
        with_success_text(call.config, make(item)) if bad is None else {"errorText": bad.problems[0][1]}
        for item, bad in zip(items, verdicts, strict=True)
    ]
    reply = ok(call.config, results=results)
    failed = bool(results) and all(bad is not None for bad in verdicts)
    return Reply(data=reply.data, failed=failed)


def refused_whole(call: Call, bad: Bad) -> Reply:
    """Return the refusal of a whole batch because of one item."""
    sentence = bad.problems[0][1]
    if bad.form == "violations":
        return violations(call.config, bad.problems)
    if bad.form == "http_400":
        return text(400, sentence)
    return refusal(sentence, results=[])


def poisoned(call: Call, item: dict[str, Any]) -> Bad | None:
    """Return what a fault rule has against an item."""
    if not call.poison:
        return None
    written = orjson.dumps(item).lower()
    for rule in call.poison:
        if rule.contains.casefold().encode() in written:
            form: Any = rule.form
            return Bad([("item", rule.body or message(call.config, "poison"))], form, rule.atomic)
    return None
