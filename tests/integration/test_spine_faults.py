"""The partner at its worst: calls that are cut, come late, lie or are refused; and what it costs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support import oracle
from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.waiting import eventually, together
from worker.sandbox import SandboxConfig

USERS = "/user/createevaluationusers"
ACCOUNTS = "/user/createevaluationaccounts"
CONTACT = "/contactinfo/updatecontactinfo"

AFTER = ("cut_after", "status_after", "late", "short_results", "long_results", "same_results")
"""Faults that leave the effect."""

UNCLEAR: list[dict[str, Any]] = [
    {"action": "cut_before"},
    {"action": "cut_after"},
    {"action": "status_before", "status": 503},
    {"action": "status_after", "status": 502},
    {"action": "status_after", "status": 408},
    {"action": "hang"},
    {"action": "hang", "effect": True},
    {"action": "late", "seconds": 0.2},
    {"action": "late", "seconds": 0.2, "answer": "504"},
    *({"action": "garbage", "form": form} for form in ("not_json", "wrong_types", "empty", "truncated", "html")),
    *({"action": "garbage", "form": form} for form in ("object", "error", "failure", "penalty")),
    *({"action": "garbage", "form": form, "effect": False} for form in ("null", "object", "error", "penalty")),
    {"action": "same_results"},
    {"action": "short_results"},
    {"action": "long_results"},
]


def name(fault: dict[str, Any]) -> str:
    return "-".join(str(value) for value in fault.values())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("part", range(6))
async def test_an_unclear_call_is_looked_up_before_it_is_sent_again(stage: Stages, part: int) -> None:
    """Whatever way each of the three calls goes wrong, it takes effect once, and is sent again only if it had not."""
    await together({name(fault): _unclear(stage, fault) for fault in UNCLEAR[part::6]})


async def _unclear(stage: Stages, fault: dict[str, Any]) -> None:
    on = await stage()
    await on.replica()
    for path in (USERS, ACCOUNTS, CONTACT):
        on.fault(operation=path, times=1, **fault)
    async with on.gathered("createEvaluationUsers", "createEvaluationAccounts"):
        await on.buy(*(purchase(number, contact=number == 0) for number in range(3)))
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    assert outcomes[0]["warnings"] == []
    took_effect = fault["action"] in (
        "cut_after",
        "status_after",
        "late",
        "short_results",
        "long_results",
        "same_results",
    ) or (fault.get("effect", fault["action"] == "garbage"))
    for path in (USERS, ACCOUNTS):
        assert on.count(path) == (1 if took_effect else 2), path
    await oracle.holds_all(on)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("form", ["item", "error_text", "violations", "http_400"])
async def test_a_bad_item_is_found_and_its_neighbours_succeed(stage: Stages, form: str) -> None:
    """One bad item among a hundred fails alone, with its own text, at the cost of some fifteen to twenty calls."""
    trials = {
        f"{path} {atomic=}": _bad_item(stage, path, form, atomic=atomic)
        for path in (USERS, ACCOUNTS)
        for atomic in (True, False)
    }
    await together(trials)


async def _bad_item(stage: Stages, path: str, form: str, *, atomic: bool) -> None:
    on = await stage(SandboxConfig(batch_atomic=atomic))
    await on.replica()
    wanted = "login42x" if path == USERS else "EVAL100042"
    on.fault("poison", path, contains=f'"{wanted}"', form=form, body="This one cannot be")
    async with on.gathered("createEvaluationUsers" if path == USERS else "createEvaluationAccounts"):
        await on.buy(*(purchase(number) for number in range(100)))
    outcomes = await on.all_ended()
    failed = [outcome for outcome in outcomes if outcome["status"] != "succeeded"]
    assert [outcome["eventId"] for outcome in failed] == ["e-42"]
    assert failed[0]["errorCode"] == "rejected"
    assert "This one cannot be" in failed[0]["errorText"]
    other = ACCOUNTS if path == USERS else USERS
    calls = [call for call in on.calls() if not call["path"].startswith("/auth/") and call["path"] != other]
    # 3 to 19; on a busy machine parts of the batch are sent at other times, and cost a call or two more.
    assert len(calls) <= 24, [f"{call['path']} {call['items']}" for call in calls]
    assert on.count(path) <= 16
    await oracle.holds_all(on)


async def test_several_bad_items_are_found(stage: Stages) -> None:
    """Three bad items in one call each fail alone."""
    on = await stage()
    await on.replica()
    bad = (7, 40, 41)
    for number in bad:
        on.fault("poison", ACCOUNTS, contains=f'"EVAL{100_000 + number}"', form="violations")
    async with on.gathered("createEvaluationAccounts"):
        await on.buy(*(purchase(number) for number in range(100)))
    outcomes = await on.all_ended()
    assert [outcome["eventId"] for outcome in outcomes if outcome["status"] == "failed"] == [f"e-{n}" for n in bad]
    await oracle.holds_all(on)


async def test_a_penalty_ticket_goes_with_the_same_body(stage: Stages) -> None:
    """After a ticket's wait the same bytes are sent again with it, and the partner takes them."""
    on = await stage()
    sent = on.record_requests()
    await on.replica()
    for path in (USERS, ACCOUNTS, CONTACT):
        on.fault("ticket", path, times=1, seconds=1)
    async with on.gathered("createEvaluationUsers", "createEvaluationAccounts"):
        await on.buy(*(purchase(number, contact=number == 1) for number in range(4)))
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    for path in (USERS, ACCOUNTS, CONTACT):
        first, second = [request.body for request in sent if request.path == path]
        assert re.sub(rb',"p-ticket":"[^"]*"', b"", second) == first != second
    assert on.state["tickets"] == {"issued": 3, "redeemed": 3, "early": 0}
    await oracle.holds_all(on)


async def test_a_ticket_outlives_a_restart(stage: Stages) -> None:
    """A replica that starts after a ticket was given sends the same bytes with it, the generated password included."""
    on = await stage()
    sent = on.record_requests()
    first_replica = await on.replica()
    on.fault("ticket", USERS, times=1, seconds=2)
    async with on.gathered("createEvaluationUsers"):
        await on.buy(*(purchase(number) for number in range(3)))
    await eventually(lambda: on.state["tickets"]["issued"])
    await first_replica.stop()
    await on.replica()
    await on.all_ended()
    first, second = [request.body for request in sent if request.path == USERS]
    assert re.sub(rb',"p-ticket":"[^"]*"', b"", second) == first != second
    assert on.state["tickets"] == {"issued": 1, "redeemed": 1, "early": 0}
    await oracle.holds_all(on)


async def test_a_ticket_holds_back_its_endpoint_alone(stage: Stages) -> None:
    """While accounts wait for a ticket, users are made."""
    on = await stage(BATCH_LINGER_MS="50")
    await on.replica()
    on.fault("ticket", ACCOUNTS, times=1, seconds=4)
    await on.buy(purchase(1))
    await eventually(lambda: on.state["tickets"]["issued"])
    await on.buy(purchase(2))
    await eventually(lambda: on.count(USERS) == 2, 3)
    assert on.count(ACCOUNTS) == 1
    await on.all_ended()
    assert on.state["tickets"]["early"] == 0
    await oracle.holds_all(on)


@pytest.mark.parametrize("path", ["/user/find", "/user/getaccounttradingpermissions"])
async def test_a_ticket_of_a_read_holds_it_back(stage: Stages, path: str) -> None:
    """A look-up that is answered with a ticket waits as long as that says, asks the same with it, and goes on."""
    on = await stage(SandboxConfig(permission_with_account=False))
    await on.replica()
    on.fault("ticket", path, times=1, seconds=2)
    for made in (USERS, ACCOUNTS):
        on.fault("cut_after", made, times=1)
    await on.buy(purchase(1))
    await on.all_ended()
    asked = [call["at"] for call in on.calls() if call["path"] == path]
    assert asked[1] - asked[0] > 1.9
    assert on.state["tickets"] == {"issued": 1, "redeemed": 1, "early": 0}
    await oracle.holds_all(on)


async def test_a_ticket_keeps_nothing_of_its_body(stage: Stages) -> None:
    """What is kept with a ticket is a hash: a cancelled flow leaves no name and no password behind."""
    on = await stage()
    await on.replica()
    on.fault("ticket", USERS, times=1, seconds=30)
    await on.buy(purchase(1))
    (held,) = await eventually(lambda: on.rows("select * from hold where ticket is not null"))
    assert len(held["body_digest"]) == 36  # an HMAC-SHA256, and four bytes that tell which key made it
    assert set(held.keys()) == {
        "id", "scope", "reason", "until", "ticket", "body_digest", "batch_id", "fingerprint", "created_at",
        "cleared_at", "cleared_reason", "by", "cleared_by",
    }  # fmt: skip


async def test_what_never_left_is_no_attempt(stage: Stages) -> None:
    """A partner that cannot be reached has been sent nothing, however often that was tried."""
    on = await stage(
        TRADOVATE_DEMO_URL="http://127.0.0.1:1/v1",
        TRADOVATE_FOLLOW_HOSTS="off",
        RETRY_FOR_SECONDS="1",
        RETRY_BASE_SECONDS="0.1",
    )
    await on.replica()
    await on.buy(purchase(1))
    (outcome,) = await on.all_ended()
    assert (outcome["errorCode"], outcome["attempts"]) == ("gave_up", 1)  # the user was made


async def test_a_ticket_with_a_captcha_rests_the_endpoint(stage: Stages) -> None:
    """With a captcha nothing is sent to the endpoint, by any replica, until its hour has passed or an operator clears
    it.
    """
    on = await stage()
    replica = await on.replica()
    on.fault("ticket", ACCOUNTS, times=1, captcha=True)
    await on.buy(purchase(1))
    await eventually(lambda: on.state["tickets"]["issued"])
    await on.buy(purchase(2), purchase(3))
    await eventually(lambda: on.count(USERS) >= 2)
    await replica.stop()
    await on.replica()
    held = await on.rows("select until - created_at > interval '59 minutes' as hour from hold where cleared_at is null")
    assert [row["hour"] for row in held] == [True]
    assert on.count(ACCOUNTS) == 1
    on.partner.sandbox.core.tickets._captcha_until.clear()
    await on.rows("update hold set cleared_at = clock_timestamp()")  # what `holds clear` does
    await on.all_ended()
    await oracle.holds_all(on)
