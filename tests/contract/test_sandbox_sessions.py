"""Sessions, tokens and limits of the simulated partner."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from tests.contract.test_sandbox_desk import Desk, desk_with, logged_in

desk = logged_in

BURST = b'{"users":[]}'


@pytest.mark.parametrize(("form", "status"), [("401", 401), ("error_text", 200)])
async def test_a_wrong_password_is_reported_in_either_form(form: str, status: int) -> None:
    """A wrong password is 401, or HTTP 200 with the text seen in the field, and opens no session."""
    desk = Desk(bad_credentials=form)
    answer = await desk.login(password="wrong")
    assert answer.status_code == status
    assert "accessToken" not in answer.text
    assert form == "401" or answer.json()["errorText"].startswith("Incorrect username or password")
    assert (await desk.state())["sessions"]["logins"] == 0


@pytest.mark.parametrize(("form", "cid", "accepted"), [
    ("either", 1234, True), ("either", "1234", True), ("string", 1234, False), ("number", "1234", False),
])  # fmt: skip
async def test_the_key_id_is_taken_as_the_switch_says(form: str, cid: Any, accepted: bool) -> None:
    """`cid` passes as number, as string, or as either."""
    answer = await Desk(cid_type=form).login(cid=cid)
    assert ("accessToken" in answer.json()) is accepted


async def test_a_token_ends_by_time() -> None:
    """A token is good until its expiration time, then 401 with `Access is denied`."""
    desk = await desk_with(token_seconds=5400)
    desk.clock.go(5399)
    assert (await desk.send("live/auth/me")).status_code == 200
    desk.clock.go(1)
    answer = await desk.send("live/auth/me")
    assert (answer.status_code, answer.text) == (401, "Access is denied")


@pytest.mark.parametrize("still_good", [True, False])
async def test_renewal_goes_on_with_the_session(still_good: bool) -> None:
    """Renewal brings another token in the same session; the old one's fate is a switch."""
    desk = await desk_with(old_token_after_renewal=still_good)
    old = desk.token
    desk.clock.go(60)
    renewed = await desk.call("live/auth/renewAccessToken")
    assert renewed["accessToken"] != old
    assert (await desk.send("live/auth/me", token=renewed["accessToken"])).status_code == 200
    assert (await desk.send("live/auth/me", token=old)).status_code == (200 if still_good else 401)
    sessions = (await desk.state())["sessions"]
    assert (sessions["living"], sessions["logins"], sessions["renewals"]) == (1, 1, 1)


@pytest.mark.parametrize("status", [401, 408, 429, 500])
async def test_a_third_login_closes_the_oldest_session(status: int) -> None:
    """Two sessions live; the third login closes the first, whose calls fail with the chosen status."""
    desk = Desk(closed_session_status=status)
    tokens = []
    for _ in range(3):
        await desk.login()
        tokens.append(desk.token)
    seen = [(await desk.send("live/auth/me", token=token)).status_code for token in tokens]
    assert seen == [status, 200, 200]
    sessions = (await desk.state())["sessions"]
    assert (sessions["most_at_once"], sessions["evicted"], sessions["living"]) == (3, 1, 2)


async def test_a_token_is_good_on_both_domains(desk: Desk) -> None:
    """One token serves LIVE and DEMO."""
    assert (await desk.send("demo/account/list")).status_code == 200
    assert (await desk.send("live/user/list")).status_code == 200


async def test_five_wrong_passwords_cost_a_captcha() -> None:
    """After five failures in an hour even the right password meets a captcha, until an hour has passed."""
    desk = Desk()
    for _ in range(5):
        await desk.login(password="wrong")
    penalty = (await desk.login()).json()
    assert penalty["p-captcha"] is True
    assert (await desk.login(**{"p-ticket": penalty["p-ticket"]})).json()["p-captcha"] is True
    desk.clock.go(3601)
    assert "accessToken" in (await desk.login()).json()


async def test_one_call_too_many_locks_the_user_out() -> None:
    """Beyond the budget: 429 with Content-Length 0, on every call, and each of them starts the hour again."""
    desk = await desk_with(hourly_calls=3, warning_from_call=0, lockout_seconds=10)
    for _ in range(2):
        await desk.call("live/user/list")
    answer = await desk.send("live/user/list")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (429, b"", "0")
    desk.clock.go(9)
    assert (await desk.login()).status_code == 429
    desk.clock.go(9)
    assert (await desk.send("demo/account/list")).status_code == 429
    desk.clock.go(10)
    assert (await desk.send("demo/account/list")).status_code == 200
    assert (await desk.state())["calls"]["during_lockout"] == 2


async def test_423_warns_before_the_lock_out() -> None:
    """Near the end of the budget 423 warns, and the call has no effect."""
    desk = await desk_with(hourly_calls=4, warning_from_call=3)
    await desk.call("live/user/list")
    answer = await desk.send("live/user/createEvaluationUsers", orjson.dumps({"users": [desk.user()]}))
    assert answer.status_code == 423
    assert (await desk.effects())["users_by_name"] == {}


async def test_the_hour_rolls(desk: Desk) -> None:
    """Calls older than the window no longer count."""
    await desk.control("switches", hourly_calls=2, hour_seconds=100)
    desk.clock.go(99)
    await desk.call("live/user/list")
    desk.clock.go(2)
    await desk.call("live/user/list")


async def _penalty(desk: Desk) -> tuple[bytes, dict[str, Any]]:
    await desk.fault(action="ticket", seconds=10, operation="/user/createEvaluationUsers", times=1)
    body = orjson.dumps({"users": [desk.user()]})
    answer = await desk.send("live/user/createEvaluationUsers", body)
    assert answer.status_code == 200
    return body, answer.json()


def _with_ticket(body: bytes, ticket: str) -> bytes:
    return body[:-1] + b',"p-ticket":"' + ticket.encode() + b'"}'


async def test_a_ticket_is_redeemed_with_the_same_body_after_its_time(desk: Desk) -> None:
    """The penalised call has no effect; the same body with the ticket has it once, and the ticket is spent."""
    body, penalty = await _penalty(desk)
    assert set(penalty) == {"p-ticket", "p-time"}
    assert (await desk.effects())["users_by_name"] == {}
    desk.clock.go(10)
    again = _with_ticket(body, penalty["p-ticket"])
    assert "userId" in (await desk.send("live/user/createEvaluationUsers", again)).json()["results"][0]
    assert "p-ticket" in (await desk.send("live/user/createEvaluationUsers", again)).json()


async def test_an_early_ticket_doubles_the_wait(desk: Desk) -> None:
    """A ticket that comes before its time is answered with another and twice the wait."""
    body, penalty = await _penalty(desk)
    desk.clock.go(9)
    answer = await desk.send("live/user/createEvaluationUsers", _with_ticket(body, penalty["p-ticket"]))
    assert answer.json()["p-time"] == 20
    assert (await desk.state())["tickets"]["early"] == 1


async def test_a_ticket_wants_the_same_bytes(desk: Desk) -> None:
    """A body that differs in one byte is answered with another ticket."""
    body, penalty = await _penalty(desk)
    desk.clock.go(10)
    other = body.replace(b"Jane", b"Jans")
    answer = await desk.send("live/user/createEvaluationUsers", _with_ticket(other, penalty["p-ticket"]))
    assert "p-ticket" in answer.json()
    assert (await desk.effects())["users_by_name"] == {}


async def test_an_endpoint_limit_counts_failures_only_where_it_says_so(desk: Desk) -> None:
    """Calls that succeed do not use up a limit that counts failures."""
    await desk.control("switches", endpoint_limits={"/user/createevaluationusers": 2})
    for _ in range(3):
        await desk.new_user()
    for _ in range(2):
        assert "violations" in (await desk.send("live/user/createEvaluationUsers", BURST)).json()
    assert "p-ticket" in (await desk.send("live/user/createEvaluationUsers", BURST)).json()
    desk.clock.go(3601)
    await desk.login()
    assert "violations" in (await desk.send("live/user/createEvaluationUsers", BURST)).json()


async def test_a_penalty_without_a_body_may_come_back_in_the_query(desk: Desk) -> None:
    """A call without a body brings its ticket in the query."""
    await desk.fault(action="ticket", seconds=1, times=1)
    penalty = (await desk.send("live/user/list")).json()
    desk.clock.go(1)
    assert isinstance((await desk.send(f"live/user/list?p-ticket={penalty['p-ticket']}")).json(), list)


async def test_tokens_and_sessions_can_be_ended_from_outside(desk: Desk) -> None:
    """Expired tokens answer 401, closed sessions the chosen status, and a lock-out 429."""
    await desk.control("expire-tokens")
    assert (await desk.send("live/user/list")).status_code == 401
    await desk.login()
    await desk.control("close-sessions")
    assert (await desk.send("live/user/list")).status_code == 408
    await desk.login()
    await desk.control("lockout", seconds=5)
    assert (await desk.send("live/user/list")).status_code == 429


async def test_an_unknown_switch_or_value_is_refused_with_its_name(desk: Desk) -> None:
    """A misspelt switch, or a value that it cannot take, changes nothing and is named."""
    for wrong in ({"tokn_seconds": 1}, {"find_nothing": "maybe"}, {"batch_atomic": 1}):
        answer: httpx.Response = await desk.http.post("/control/switches", json=wrong)
        assert answer.status_code == 400
        assert next(iter(wrong)) in answer.json()["error"]
