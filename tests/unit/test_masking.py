"""Texts of the partner are masked once, where a response is read, and in no other place."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import worker
from schemas.events import EVENTS
from tests.support.reader import FakeReader
from tests.unit.test_settle_proofs import SENT, TIMING, item_of, step_of
from worker.dispatch.operation_rules import rules_of, sent_steps
from worker.engine.event_flow import item_of as item_of_flow
from worker.engine.facts import changed
from worker.engine.flows import FLOWS
from worker.engine.flows.base import Rules
from worker.engine.flows.failed_facts import FailedFacts, Revoking, State
from worker.engine.flows.risk import LimitsRead, RiskFacts
from worker.engine.memory import Verifying
from worker.engine.rows import FlowRow, Later, Move
from worker.engine.states import StepState
from worker.engine.steps.after_call import after_call
from worker.engine.steps.after_look_up import after_look_up
from worker.partner.look_up import look, unread
from worker.partner.operation import Item, Operation, Reader
from worker.partner.read_errors import ReadFault, Unreadable
from worker.partner.response import read_reply
from worker.replies import Answer, Misdirected, Refusal, Reply, Unauthorized, Unclear
from worker.results import Rejected, Result, Succeeded

HOUSE = Path(worker.__file__).parent
NAME = "Zaphod"
SAID = f"No such user {NAME}, or zaphod***"

REPLIES: Sequence[Reply] = (
    Refusal(SAID),
    Unauthorized(SAID, said=True),
    Unauthorized(SAID),
    Misdirected(SAID, 200),
    Misdirected(SAID, 404),
    Unclear(SAID, 503),
    Answer({"results": [{"errorText": SAID}]}),
)


def personal(item: Item) -> dict[str, Any]:
    return {**item, "_personal": lambda: frozenset({NAME})}


def texts(move: Move) -> list[str]:
    """What is kept or published of a move."""
    if isinstance(move, Later):
        return [str(move.memory.to_json())]
    return [str(move.result.value) if isinstance(move.result, Succeeded) else move.result.text]


def after(operation: Operation, reply: Reply, spent: float, *, denied: bool) -> Move:
    item = personal(item_of(operation))
    step = replace(step_of(operation), spent=spent)
    _, result = read_reply(operation, reply, [item], denied=denied)
    sent = sent_steps(operation, [step], [item])
    (move,) = after_call(TIMING, rules_of(operation), result, sent, seconds=0.1, call_id=9)
    return move


@pytest.mark.parametrize("operation", SENT, ids=lambda operation: operation.name)
@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: type(reply).__name__)
@pytest.mark.parametrize("spent", [0.0, 90_000.0], ids=["first", "last"])
@pytest.mark.parametrize("denied", [False, True])
def test_no_text_of_a_call_has_a_personal_value(operation: Operation, reply: Reply, spent: float, denied: bool) -> None:
    """Whatever a call is answered with, neither the outcome nor what the step remembers names the trader."""
    kept = texts(after(operation, reply, spent, denied=denied))
    assert not [text for text in kept if NAME.lower() in text.lower()]


def test_a_rejection_of_a_whole_call_names_none_of_its_items() -> None:
    """Its text may be about any of them; what remains after the masking is the partner's own text."""
    operation = next(each for each in SENT if each.batching.joined)
    others = [personal(item_of(operation)), {**item_of(operation), "_personal": lambda: frozenset({"Marvin"})}]
    _, result = read_reply(operation, Refusal("Zaphod and Marvin are not known"), others)
    assert [each.text for each in result.results if isinstance(each, Rejected)] == ["*** and *** are not known"] * 2


async def test_no_text_of_a_look_up_has_a_personal_value() -> None:
    """Its results are masked likewise, before the engine gets them."""

    async def look_up(_reader: Reader, _items: Sequence[Item]) -> Sequence[Result]:
        return [Rejected(SAID), Succeeded({"message": SAID})]

    operation = next(each for each in SENT if each.recovery.look_up is not None)
    looked = replace(operation, recovery=replace(operation.recovery, look_up=look_up))
    items = [personal(item_of(operation))] * 2
    found = await look(looked, FakeReader({}), items)
    found = [*found, *unread(Unreadable(ReadFault.NO_ANSWER, "user/find", SAID), items[:1])]
    steps = [replace(step_of(operation), state=StepState.UNKNOWN, spent=90_000.0) for _ in found]
    moves = after_look_up(TIMING, rules_of(looked), list(zip(steps, found, strict=True)), 0.1)
    assert not [text for move in moves for text in texts(move) if NAME.lower() in text.lower()]


def test_what_is_verified_is_kept_as_it_was_masked() -> None:
    """What a step remembers of a rejection is what its outcome will say."""
    operation = next(each for each in SENT if each.recovery.rejection("no") == Rejected("no", verify=True))
    move = after(operation, Refusal(SAID), 0.0, denied=False)
    assert isinstance(move, Later)
    assert move.memory.why == Verifying("No such user ***, or ******")


@pytest.mark.parametrize("topic", sorted(EVENTS))
def test_every_item_knows_what_is_personal_of_its_event(topic: str) -> None:
    """Of every topic: nothing that is called or looked up is without the values that its texts are masked by."""
    event = EVENTS[topic].model_validate(EVENTS[topic].examples[0])
    now = datetime.now(UTC)
    kind = FLOWS[topic].facts
    facts = changed(kind(), user_id=5, account_id=11, request_id=3)
    if isinstance(facts, FailedFacts):
        facts = changed(facts, situation=Revoking(State.REVOKING, (21,)))
    if isinstance(facts, RiskFacts):
        facts = changed(facts, reading=LimitsRead(now, {}))
    flow = FlowRow(UUID(int=1), topic, event, "e-1", None, 0, 0, None, "t", 5, "1", 11, now, now, facts)
    operations = {
        "trader.purchased": "updateContactInfo" if getattr(event, "contact_info", None) else "createTradingPermission",
        "trader.passed": "getPartnerSubaccountRequestStatus",
        "trader.failed": "revokeTradingPermissions",
    }
    item = item_of_flow(flow, operations.get(topic, "the only one"), Rules("EVAL", 1), now)
    assert set(item["_personal"]()) == set(event.personal_values())


def test_texts_are_masked_in_one_place() -> None:
    """`mask` is called where a result is made of a response: a text is never masked twice, and none is left out."""
    users = {
        str(path.relative_to(HOUSE))
        for path in HOUSE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "schemas.privacy"
        if "mask" in {each.name for each in node.names}
    }
    assert users == {"partner/masking.py"}
    callers = {
        str(path.relative_to(HOUSE))
        for path in HOUSE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "worker.partner.masking"
    }
    assert callers == {"partner/response.py", "partner/look_up.py"}
