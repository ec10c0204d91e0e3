"""Changes of limits, locks and unlocks decide: what is sent, what is proven by what is read, and when to give up."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from schemas.outcomes import ErrorCode, Status
from tests.support.reader import FakeReader, look
from tests.support.views import NOW, RULES, known, learn, order, plan, sent, view
from worker.engine.flows import FLOWS, locked, risk
from worker.engine.flows.base import SUCCEEDED, End, Planned, Queue, TurnView, turn_key
from worker.operate.wait_words import wait_key
from worker.partner.operations import OPERATIONS
from worker.partner.operations import risk as operations
from worker.partner.permission_classes import access_of
from worker.results import NotExecuted, Rejected, Succeeded, Unknown

RISK, LOCKED, UNLOCKED = "risk.changed", "account.locked", "account.unlocked"
CHANGE = {"accountId": 11, "postTradeRisk": {"dailyLossAutoLiq": 900, "weeklyLossAutoLiq": None}}
LOCK = {"accountId": 11, "action": "lock", "reason": "r"}
SET, READ_ACTION = "setAdminAutoLiqAction", "setAdminAutoLiqAction@read"
UPDATE, READ = "updateUserAutoLiqs", "updateUserAutoLiqs@read"
BEGUN = Queue(1, "action", begun=True)
ANSWERED = {"accountId": 11, "answered": {"timestamp": "2026-11-18T16:00:00.000Z"}, "rounds": 1}


def end_of(planned: Planned) -> End:
    assert isinstance(planned.decision, End), planned.decision
    return planned.decision


def seen(shown: bool, **limits: Any) -> Succeeded:
    return Succeeded({"shown": shown, "limits": limits})


def test_flows_and_operations_agree_on_how_long_what_was_read_is_good() -> None:
    """The flow reads again what the ledger does not send any more; a step gives up before."""
    assert timedelta(seconds=operations.FRESH) == risk.FRESH
    assert timedelta(seconds=operations.RETRY_FOR) == risk.RETRY_FOR < risk.FRESH


# -- what is sent


def test_a_change_reads_then_sends_all_that_the_account_has() -> None:
    """Null is as good as absent; a flattening is asked for again only if its time has not come."""
    first = plan(RISK, CHANGE)
    assert (sent(first).operation, sent(first).look_first) == (READ, True)
    past, later = "2026-11-18T15:00:00.000Z", "2026-11-18T17:00:00Z"
    for flatten in (past, later):
        limits = {"trailingMaxDrawdown": 2500, "weeklyLossAutoLiq": 7, "flattenTimestamp": flatten}
        ready = learn(RISK, CHANGE, first.facts, READ, seen(False, **limits))
        assert sent(ready).operation == UPDATE
        item = FLOWS[RISK].item(view(RISK, CHANGE, ready.facts), UPDATE, RULES)
        body = OPERATIONS[UPDATE].request([item])["items"][0]
        kept = limits if flatten == later else {name: limits[name] for name in limits if name != "flattenTimestamp"}
        assert body == {"accountId": 11, **kept, "dailyLossAutoLiq": 900}


def test_what_was_read_long_ago_is_read_again() -> None:
    """When the step was held back, and when it was tried for its time; after a day of that it is given up."""
    facts = learn(RISK, CHANGE, {}, READ, seen(False)).facts
    assert sent(plan(RISK, CHANGE, facts, after=risk.FRESH)).operation == READ
    tries = 0
    planned = plan(RISK, CHANGE, facts)
    while not isinstance(planned.decision, End):
        operation = sent(planned).operation
        tries += operation == UPDATE
        end: Any = NotExecuted("silent") if operation == UPDATE else seen(False)
        planned = learn(RISK, CHANGE, planned.facts, operation, end)
    assert (tries, end_of(planned).error_code) == (720, ErrorCode.GAVE_UP)  # two minutes each


def test_a_lock_is_sent_with_its_reason_and_the_order_says_which_account() -> None:
    """An account that is given beside an order has to be the order's."""
    asked = {"orderId": "100", "action": "close_only", "reason": "r"}
    planned = plan(LOCKED, asked, known=[order()])
    assert sent(planned).operation == SET
    assert (known(planned)["accountId"], known(planned)["userId"]) == (11, 5)
    item = FLOWS[LOCKED].item(view(LOCKED, asked, planned.facts), SET, RULES)
    assert OPERATIONS[SET].request([item]) == {
        "accountId": 11, "adminAction": "LiquidateOnlyModeImmediately", "adminActionReasonCode": "Other",
        "adminActionReason": "r",
    }  # fmt: skip
    other = plan(LOCKED, {**asked, "accountId": 12}, known=[order()])
    assert end_of(other).error_code is ErrorCode.CONFLICT


# -- what is proven


def test_what_is_shown_ends_it_and_what_is_not_is_read_then_made_again() -> None:
    """Six reads in half a minute, three rounds; then an operator must look."""
    for topic, event, operation, read, late in (
        (LOCKED, LOCK, SET, READ_ACTION, Succeeded({"shown": False, "adminAction": "Normal", "adminTimestamp": None})),
        (RISK, CHANGE, UPDATE, READ, seen(False, dailyLossAutoLiq=1000)),
    ):
        start = learn(RISK, CHANGE, {}, READ, late) if topic == RISK else plan(topic, event)
        answered = learn(topic, event, start.facts, operation, Succeeded({"adminTimestamp": None}))
        assert (sent(answered).operation, sent(answered).look_first) == (read, True)
        shown = learn(topic, event, answered.facts, read, Succeeded({"shown": True}))
        assert shown.decision == SUCCEEDED
        counts = {operation: 1, read: 0}
        planned = answered
        while not isinstance(planned.decision, End):
            name = sent(planned).operation
            counts[name] += 1
            planned = learn(topic, event, planned.facts, name, late if name == read else Succeeded({}))
        assert end_of(planned).status is Status.IN_DOUBT
        assert counts[operation] == locked.ROUNDS
        assert counts[read] == locked.ROUNDS * locked.READS + (2 if topic == RISK else 0)


def test_what_somebody_did_after_the_answer_stands() -> None:
    """The partner's own time says so: the event was executed, and ends with a warning."""
    later = Succeeded({"shown": False, "adminAction": "Normal", "adminTimestamp": "2026-11-18T16:00:01.000Z"})
    planned = learn(LOCKED, LOCK, ANSWERED, READ_ACTION, later)
    assert planned.decision == SUCCEEDED
    assert len(known(planned)["warnings"]) == 1
    before = Succeeded({"shown": False, "adminAction": "Normal", "adminTimestamp": "2026-11-18T15:59:59.000Z"})
    assert sent(learn(LOCKED, LOCK, ANSWERED, READ_ACTION, before)).operation == READ_ACTION


def test_a_third_value_is_not_overwritten() -> None:
    """Neither what was asked for nor what was there: somebody has set it, or Tradovate has changed it."""
    read = known(learn(RISK, CHANGE, {}, READ, seen(False, dailyLossAutoLiq=1000)))
    facts = {**read, "answered": {"reads": locked.READS - 1}, "rounds": 1}
    planned = learn(RISK, CHANGE, facts, READ, seen(False, dailyLossAutoLiq=950))
    assert end_of(planned).status is Status.IN_DOUBT
    assert "dailyLossAutoLiq 950" in (end_of(planned).error_text or "")
    assert sent(learn(RISK, CHANGE, facts, READ, seen(False, dailyLossAutoLiq=1000))).operation == READ


def test_what_was_accepted_and_cannot_be_read_is_in_doubt() -> None:
    """Only an operator can find out; a rejection is one."""
    unread = learn(LOCKED, LOCK, ANSWERED, READ_ACTION, NotExecuted("not permitted"))
    assert end_of(unread).status is Status.IN_DOUBT
    refused = learn(LOCKED, LOCK, {"accountId": 11}, SET, Rejected("Access is denied"))
    assert (end_of(refused).error_code, end_of(refused).error_text) == (ErrorCode.REJECTED, "Access is denied")


def test_who_gives_way_to_a_newer_event_says_what_is_known() -> None:
    """What was answered has taken effect; anything else has no result."""
    ousted = BEGUN._replace(ousted=True)
    answered = plan(UNLOCKED, {"accountId": 11, "reason": "r"}, ANSWERED, queue=ousted)
    assert answered.decision == SUCCEEDED
    assert len(known(answered)["warnings"]) == 1
    unknown = plan(UNLOCKED, {"accountId": 11, "reason": "r"}, {"accountId": 11}, queue=ousted)
    assert end_of(unknown).error_code is ErrorCode.CANCELLED


def test_a_new_round_waits_for_its_turn_again() -> None:
    """An operator's retry comes after what was accepted meanwhile, and begins again."""
    facts = {**ANSWERED, "ended": True}
    behind = Queue(5, "action", begun=False, others=(TurnView(view(LOCKED, LOCK).flow_id, 4, "action", NOW, False),))
    assert not isinstance(plan(LOCKED, LOCK, facts, queue=behind).decision, End)
    assert sent(plan(LOCKED, LOCK, facts, queue=behind._replace(others=()))).operation == SET


def test_texts_name_the_permission_class_and_the_event_before() -> None:
    """What the API key needs; what a flow waits for."""
    assert {access_of(each.path) for each in OPERATIONS.values() if each.limits.rank == 55} == {"Risks: FullAccess"}
    assert access_of("/userAccountAutoLiq/ldeps") == access_of("/accountRiskStatus/deps") == "Risks: Read"
    assert wait_key(turn_key(uuid.UUID(int=9))).startswith("its turn: an earlier event of the account")


# -- what the reads say


@pytest.mark.parametrize(
    ("asked", "found", "shown"),
    [
        ({"dailyLossAutoLiq": 900}, {"dailyLossAutoLiq": 900.0}, True),
        ({"dailyLossAutoLiq": 900}, {}, False),
        ({"doNotUnlock": False}, {}, True),
        ({"doNotUnlock": True}, {"doNotUnlock": None}, False),
        ({"trailingMaxDrawdownMode": "EOD"}, {"trailingMaxDrawdownMode": "RealTime"}, False),
        ({"flattenTimestamp": "2026-11-20T23:00:00Z"}, {"flattenTimestamp": "2026-11-20T23:00:00.000Z"}, True),
        ({"flattenTimestamp": "2026-11-20T23:00:00Z"}, {"flattenTimestamp": "2026-11-20T22:00:00Z"}, False),
        ({"flattenTimestamp": "2026-11-01T23:00:00Z"}, {}, True),
    ],
)
async def test_limits_are_compared_by_what_they_mean(asked: Any, found: Any, shown: bool) -> None:
    """A number, a time in another form, a false that is left out; a flattening that has passed is done."""
    reader = FakeReader({"/userAccountAutoLiq/deps": [{"id": 11, "more": [1], **found}]}, at=NOW)
    (result,) = await look(OPERATIONS[READ], reader, {"accountId": 11, "_asked": asked})
    assert isinstance(result, Succeeded)
    assert result.value["shown"] is shown
    assert "more" not in result.value["limits"]
    (after,) = await look(OPERATIONS[UPDATE], reader, {"accountId": 11, "_asked": asked})
    assert isinstance(after, Succeeded if shown else NotExecuted)


@pytest.mark.parametrize("limit", [{"trailingMaxDrawdown": "2500"}, {"doNotUnlock": 1}, {"weeklyLossAutoLiq": True}])
async def test_a_limit_that_cannot_be_read_is_not_taken_for_none(limit: dict[str, Any]) -> None:
    """Left out of what is sent, it would be gone where an update replaces all limits."""
    reader = FakeReader({"/userAccountAutoLiq/deps": [{"id": 11, "dailyLossAutoLiq": 900, **limit}]}, at=NOW)
    for name in (READ, UPDATE):
        (result,) = await look(OPERATIONS[name], reader, {"accountId": 11, "_asked": {"dailyLossAutoLiq": 900}})
        assert isinstance(result, Unknown)


async def test_nothing_is_set_on_an_account_that_does_not_exist() -> None:
    """It has no row, as an account on which nothing was ever set: that it is unlocked is no success."""
    for item, name in (
        ({"accountId": 11, "adminAction": "Normal"}, "setAdminAutoLiqAction@unlock"),
        ({"accountId": 11, "_asked": {"doNotUnlock": False}}, READ),
    ):
        rows: dict[str, Any] = {"/accountRiskStatus/deps": [], "/userAccountAutoLiq/deps": []}
        (result,) = await look(OPERATIONS[name], FakeReader(rows), item)
        assert isinstance(result, Rejected)
        assert result.code is ErrorCode.NOT_FOUND
        (result,) = await look(OPERATIONS[name], FakeReader({**rows, "/account/item": {"id": 11}}), item)
        assert isinstance(result, Succeeded)


@pytest.mark.parametrize(
    ("asked", "action", "answered", "unknown"),
    [
        ("LiquidateImmediately", "LiquidateImmediately", True, True),
        ("LiquidateImmediately", "LockTradingImmediately", True, False),
        ("LiquidateImmediately", "Normal", False, False),
        ("LockTradingImmediately", "LiquidateImmediately", False, False),
        ("LiquidateImmediately", "AgreedOnLiquidationByAutoLiq", True, True),
        ("LiquidateOnlyModeImmediately", "AgreedOnLiqOnlyModeByAutoLiq", True, True),
        ("Normal", None, True, True),
    ],
)
async def test_a_lock_that_is_there_proves_a_liquidation_only_after_an_answer(
    asked: str, action: str | None, answered: bool, unknown: bool
) -> None:
    """It may be an older one, so that it is sent again; what comes of nothing but a liquidation is no older lock."""
    reader = FakeReader({"/accountRiskStatus/deps": [{"id": 11, "adminAction": action}]})
    item = {"accountId": 11, "adminAction": asked}
    (read,) = await look(OPERATIONS[READ_ACTION], reader, item)
    assert isinstance(read, Succeeded)
    assert read.value["shown"] is answered
    (looked,) = await look(OPERATIONS[SET], reader, item)
    assert isinstance(looked, Succeeded if unknown else NotExecuted)


def test_a_result_belongs_to_the_account_that_it_names() -> None:
    """Results in another order, without their rows or of another number prove nothing."""
    items = [{"accountId": 11}, {"accountId": 12}]
    rows = [{"userAccountAutoLiq": {"id": account}} for account in (11, 12)]
    read = OPERATIONS[UPDATE].response.read
    assert read({"userAutoLiqs": rows}, items) == [Succeeded(), Succeeded()]
    unproven: list[Any] = [rows[::-1], [{}, {}], rows[:1]]
    for others in unproven:
        assert all(isinstance(each, Unknown) for each in read({"userAutoLiqs": others}, items))


async def test_a_hundred_accounts_are_read_at_once_and_a_missing_row_has_no_limits() -> None:
    """By one bulk read, once three more have shown that its answer is not cut; an account without a row has none."""
    rows = [{"id": account, "dailyLossAutoLiq": 1} for account in range(1, 100)]

    def read(query: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [row for row in rows if str(row["id"]) in query["masterids"].split(",")]

    reader = FakeReader({"/userAccountAutoLiq/ldeps": read})
    items = [{"accountId": account, "_asked": {"dailyLossAutoLiq": 1}} for account in range(1, 101)]
    for some, reads in ((items, 4), (items[1:], 1)):
        reader.asked.clear()
        found = await look(OPERATIONS[READ], reader, *some)
        assert reader.paths == ["/userAccountAutoLiq/ldeps"] * reads
        assert [result.value["shown"] for result in found][-2:] == [True, False]


def test_a_step_that_gives_up_early_is_no_end() -> None:
    """Where RETRY_FOR_SECONDS is shorter than a reading's time, it is the limit."""
    short = replace(RULES, retry_for=timedelta(seconds=30))
    facts = {**known(learn(RISK, CHANGE, {}, READ, seen(False))), "tries": 1, "said": "silent"}
    planned = FLOWS[RISK].plan(view(RISK, CHANGE, facts), short)
    assert end_of(planned).error_code is ErrorCode.GAVE_UP
