"""What a call comes to when it proves nothing: looked up, asked about, or tried again, and never the event's fault."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.outcomes import ErrorCode
from tests.support.halving import FLOW, ITEM
from worker.backoff import Schedule
from worker.dispatch.operation_rules import rules_of, sent_steps
from worker.engine.memory import EMPTY, CheckingNeeds, Memory, Retrying, Splitting, Verifying
from worker.engine.rows import Claimed, Finish, Later, Move
from worker.engine.states import StepState
from worker.engine.steps.after_call import after_call
from worker.engine.steps.after_look_up import after_look_up
from worker.engine.steps.timing import Timing
from worker.partner.client import classify
from worker.partner.operation import Operation
from worker.partner.operations import OPERATIONS
from worker.partner.response import read_reply
from worker.replies import Answer, Domain, Misdirected, Refusal, Reply, Unauthorized, Unclear
from worker.results import NotExecuted, Rejected, Result, Succeeded, Unknown

ACCOUNTS = OPERATIONS["createEvaluationAccounts"]
REQUEST = OPERATIONS["createPartnerSubaccountRequest"]
TIMING = Timing(Schedule(1, 300, 86_400), timedelta(seconds=15), 0.5)

ITEMS: dict[str, dict[str, Any]] = {
    "revokeTradingPermissions": {"tradingPermissionIds": [5]},
    "createPartnerSubaccountRequest": {"ctaUserId": 7},
    "getPartnerSubaccountRequestStatus": {"subAccountRequestId": 7},
    "submitPartnerSubaccountDocument": {"subAccountRequestId": 7},
    "addEntitlementSubscription": {"userId": 7, "entitlementId": 31},
    "addEntitlementSubscription@again": {"userId": 7, "entitlementId": 31},
}


def item_of(operation: Operation) -> dict[str, Any]:
    return ITEMS.get(operation.name, {**ITEM, "accountId": 11, "email": "x@y", "ctaEmail": "x@y"})


def step_of(operation: Operation) -> Claimed:
    return Claimed(1, operation.name, StepState.IN_FLIGHT, 1, 0.0, EMPTY, None, FLOW)


def settled(operation: Operation, reply: Reply, step: Claimed | None = None, *, denied: bool = False) -> Move:
    step, item = step or step_of(operation), item_of(operation)
    _, result = read_reply(operation, reply, [item], denied=denied)
    sent = sent_steps(operation, [step], [item])
    (move,) = after_call(TIMING, rules_of(operation), result, sent, seconds=0.1, call_id=9)
    return move


def code_of(move: Move) -> ErrorCode | None:
    return move.result.code if isinstance(move, Finish) and not isinstance(move.result, Succeeded) else None


SENT = [operation for operation in OPERATIONS.values() if operation.response.promises]
EMPTY_404 = Misdirected("HTTP 404 without a body", 404)


@pytest.mark.parametrize("operation", SENT, ids=lambda operation: operation.name)
@pytest.mark.parametrize("status", [404, 405, 307, 421])
def test_what_was_not_executed_is_retried_by_the_schedule(operation: Operation, status: int) -> None:
    """Of every operation, also of the one that moves money: nothing was done."""
    move = settled(operation, Misdirected("not executed", status))
    assert isinstance(move, Later)
    assert move.state is StepState.DUE
    assert move.wait > timedelta(0)


@pytest.mark.parametrize("operation", SENT, ids=lambda operation: operation.name)
def test_the_second_empty_404_asks_whether_what_is_needed_is_there(operation: Operation) -> None:
    """Where the item needs something that can be read; then after the fourth, the eighth, less and less often."""
    step, asked = step_of(operation), []
    for times in range(1, 20):
        move = settled(operation, EMPTY_404, step)
        if isinstance(move, Finish):
            break  # its own time has passed before that
        if move.state is StepState.UNKNOWN:
            asked.append(times)
            step = Claimed(1, operation.name, StepState.UNKNOWN, times, move.spent, move.memory, None, FLOW)
            (move,) = after_look_up(TIMING, rules_of(operation), [(step, NotExecuted())], 0.1)
            assert isinstance(move, Later)
        assert move.state is StepState.DUE
        assert move.memory.why is None
        step = Claimed(1, operation.name, StepState.IN_FLIGHT, times, move.spent, move.memory, None, FLOW)
    assert asked == ([2, 4, 8, 16] if operation.recovery.needs(item_of(operation)) else [])[: len(asked)]
    assert bool(asked) == bool(operation.recovery.needs(item_of(operation)))


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (Rejected("Tradovate does not know user 7.", ErrorCode.NOT_FOUND), ErrorCode.NOT_FOUND),
        (NotExecuted(), None),
        (Unknown("HTTP 503"), None),
    ],
)
def test_only_what_is_proven_missing_is_not_found(found: Result, code: ErrorCode | None) -> None:
    """What is there, and what could not be read, is sent again; nothing of it is in doubt."""
    step = Claimed(
        1, REQUEST.name, StepState.UNKNOWN, 2, 0.0, Memory(Retrying(empty=2), why=CheckingNeeds()), None, FLOW
    )
    (move,) = after_look_up(TIMING, rules_of(REQUEST), [(step, found)], 0.1)
    assert code_of(move) is code
    assert code is not None or (isinstance(move, Later) and move.state is StepState.DUE)


def test_a_missing_permission_waits_and_says_what_the_key_needs() -> None:
    """A 401 with a good token is retried; when it is given up, the text names the permission class."""
    move = settled(ACCOUNTS, Unauthorized("Access is denied"), denied=True)
    assert isinstance(move, Later)
    step = Claimed(1, ACCOUNTS.name, StepState.IN_FLIGHT, 9, 90_000.0, EMPTY, None, FLOW)
    move = settled(ACCOUNTS, Unauthorized("Access is denied"), step, denied=True)
    assert code_of(move) is ErrorCode.GAVE_UP
    assert isinstance(move, Finish)
    assert isinstance(move.result, NotExecuted)
    assert "Users: FullAccess" in move.result.text


def test_a_401_with_an_error_text_is_a_refusal_once_the_token_is_good() -> None:
    """It says so in the partner's own form; before the token was renewed it is about the token."""
    said = Unauthorized("No such user in your organization", said=True)
    assert isinstance(settled(ACCOUNTS, said), Later)
    move = settled(ACCOUNTS, said, denied=True)
    assert isinstance(move, Later)
    assert move.memory.why == Verifying("No such user in your organization")


def test_an_answer_that_proves_nothing_is_recorded_as_unclear() -> None:
    """So that nobody takes it for a sign that the partner serves that operation."""
    assert isinstance(read_reply(ACCOUNTS, Answer({"error": "invalid_token"}), [ITEM])[0], Unclear)
    lists: dict[str, list[int]] = {name: [] for name in OPERATIONS["cancelEverything"].response.promises}
    assert isinstance(read_reply(OPERATIONS["cancelEverything"], Answer(lists), [ITEM])[0], Answer)


def test_needs_are_read_where_the_entity_is() -> None:
    """Users on LIVE; accounts and trading permissions on the domain of the operation."""
    for operation in SENT:
        for entity in operation.recovery.needs(item_of(operation)):
            own = entity.kind in ("account", "tradingPermission")
            assert entity.domain is (operation.domain if own else Domain.LIVE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "message", "results", "status", "id", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(
    st.sampled_from(SENT),
    st.sampled_from([200, 201, 302, 400, 402, 403, 404, 405, 408, 410, 418, 421, 422, 500, 503]),
    st.binary(max_size=80).map(lambda body: b"<html>" + body) | JSON.map(lambda value: str(value).encode()),
)
def test_no_response_without_an_error_text_rejects_an_event(operation: Operation, status: int, body: bytes) -> None:
    """Whatever comes back: without an errorText, violations or a sentence about the request, no event is rejected."""
    reply = classify(status, body, reading=False)
    if isinstance(reply, Refusal):
        return  # a sentence about the request
    assert code_of(settled(operation, reply)) in (None, ErrorCode.IN_DOUBT)


@pytest.mark.parametrize(("size", "proven"), [(2, True), (3, False), (1, False)])
def test_a_look_up_of_a_part_proves_nothing_of_the_batch(size: int, proven: bool) -> None:
    """Only if all of a rejected batch was looked up, and nothing found, is the next one of its steps not looked up."""
    memory = Memory(Retrying(), why=Splitting(batch_id=9, size=size))
    steps = [Claimed(number, REQUEST.name, StepState.UNKNOWN, 1, 0.0, memory, None, FLOW) for number in (1, 2)]
    moves = after_look_up(TIMING, rules_of(REQUEST), [(step, NotExecuted()) for step in steps], 0.1)
    for move in moves:
        assert isinstance(move, Later)
        assert move.memory.all_or_nothing is proven
