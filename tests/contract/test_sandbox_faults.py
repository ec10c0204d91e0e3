"""Fault rules of the simulated partner: what goes wrong, and what took effect all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.contract.test_sandbox_desk import Desk, desk_with, logged_in
from worker.sandbox import ConnectionCutError, FaultError, read_faults

desk = logged_in

USERS = "live/user/createEvaluationUsers"
PATH = "/user/createEvaluationUsers"


async def _send(desk: Desk, count: int = 1) -> httpx.Response:
    return await desk.send(USERS, orjson.dumps({"users": [desk.user() for _ in range(count)]}))


async def _made(desk: Desk) -> int:
    return int((await desk.state())["effects"]["users_by_name"])


@pytest.mark.parametrize(("action", "made"), [("cut_before", 0), ("cut_after", 1)])
async def test_a_cut_comes_before_or_after_the_effect(desk: Desk, action: str, made: int) -> None:
    """The caller sees the same cut; whether the user was made differs."""
    await desk.fault(action=action, operation=PATH)
    with pytest.raises(ConnectionCutError):
        await _send(desk)
    assert await _made(desk) == made


@pytest.mark.parametrize("status", [400, 401, 404, 408, 423, 429, 500, 502, 503])
@pytest.mark.parametrize(("action", "made"), [("status_before", 0), ("status_after", 1)])
async def test_a_status_comes_before_or_after_the_effect(desk: Desk, action: str, made: int, status: int) -> None:
    """Any status can be answered with the effect made or not."""
    await desk.fault(action=action, operation=PATH, status=status)
    answer = await _send(desk)
    assert (answer.status_code, answer.content) == (status, b"")
    assert await _made(desk) == made


@pytest.mark.parametrize(("answer", "status"), [("500", 500), ("408", 408), ("cut", None)])
async def test_an_effect_can_come_late(desk: Desk, answer: str, status: int | None) -> None:
    """The caller is answered now, the effect comes after so many seconds, once."""
    await desk.fault(action="late", operation=PATH, seconds=30, answer=answer, times=1)
    if status is None:
        with pytest.raises(ConnectionCutError):
            await _send(desk)
    else:
        assert (await _send(desk)).status_code == status
    desk.clock.go(29)
    assert await _made(desk) == 0
    desk.clock.go(1)
    assert await _made(desk) == 1


@pytest.mark.parametrize(
    "form", ["not_json", "wrong_types", "empty", "truncated", "html", "null", "array", "nulls", "hollow"]
)
@pytest.mark.parametrize("effect", [True, False])
async def test_an_answer_can_make_no_sense(desk: Desk, form: str, effect: bool) -> None:
    """Every kind of nonsense is HTTP 200 without one good result, with the effect made or not."""
    await desk.fault(action="garbage", operation=PATH, form=form, effect=effect)
    answer = await _send(desk)
    assert answer.status_code == 200
    assert b'"userId"' not in answer.content or form == "truncated"
    assert await _made(desk) == (1 if effect else 0)


async def test_results_can_share_their_ids(desk: Desk) -> None:
    """All items take effect, and every result says what the first one says."""
    await desk.fault(action="same_results", operation=PATH)
    results = (await _send(desk, 3)).json()["results"]
    assert results == [results[0]] * 3
    assert await _made(desk) == 3


@pytest.mark.parametrize(("action", "count", "results"), [("short_results", 2, 1), ("long_results", 3, 6)])
async def test_the_results_can_be_too_few_or_too_many(desk: Desk, action: str, count: int, results: int) -> None:
    """All items take effect, and the list has another length than the items."""
    await desk.fault(action=action, operation=PATH, count=count)
    assert len((await _send(desk, 3)).json()["results"]) == results
    assert await _made(desk) == 3


@pytest.mark.parametrize(("form", "atomic", "made"), [
    ("item", True, 2), ("error_text", True, 0), ("error_text", False, 1), ("violations", True, 0),
    ("http_400", False, 1),
])  # fmt: skip
async def test_a_poison_item_spoils_what_the_rule_says(desk: Desk, form: str, atomic: bool, made: int) -> None:
    """An item that contains the text is refused alone, or with its batch in one of three forms."""
    await desk.fault(action="poison", contains="POISON@", form=form, atomic=atomic)
    users = [desk.user(), desk.user(email="poison@example.com"), desk.user()]
    answer = await desk.send(USERS, orjson.dumps({"users": users}))
    assert answer.status_code == (400 if form == "http_400" else 200)
    assert await _made(desk) == made
    assert (await _send(desk)).json()["results"][0]["userId"]


async def test_rules_choose_their_calls(desk: Desk) -> None:
    """Path, domain, the n-th call, the first ones passed over, and a number of times narrow a rule."""
    await desk.fault(action="status_before", operation="/user/LIST", domain="live", nth=2, status=502)
    await desk.fault(action="status_before", operation="/account/list", after=1, times=1, status=503)
    live = [(await desk.send("live/user/list")).status_code for _ in range(3)]
    other = [(await desk.send("demo/user/list")).status_code for _ in range(2)]
    accounts = [(await desk.send("demo/account/list")).status_code for _ in range(3)]
    assert (live, other, accounts) == ([200, 502, 200], [200, 200], [200, 503, 200])


async def test_chance_repeats_itself_with_its_seed(desk: Desk) -> None:
    """The same seed strikes the same calls."""
    runs = []
    for _ in range(2):
        await desk.http.delete("/control/faults")
        await desk.fault(action="status_before", probability=0.5, seed=3)
        runs.append([(await desk.send("live/user/list")).status_code for _ in range(20)])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 500}


async def test_rules_can_be_seen_and_taken_away(desk: Desk) -> None:
    """Rules are listed with what they met, and removed one by one or all."""
    await desk.fault(action="status_before", id="mine")
    await desk.fault(action="status_before", operation="/x")
    assert (await desk.send("live/user/list")).status_code == 500
    rules = (await desk.http.get("/control/faults")).json()
    assert [(rule["id"], rule["fired"]) for rule in rules] == [("mine", 1), ("fault-2", 0)]
    assert (await desk.http.delete("/control/faults?id=mine")).json() == {"removed": 1}
    assert (await desk.http.delete("/control/faults")).json() == {"removed": 1}
    assert (await desk.send("live/user/list")).status_code == 200


@pytest.mark.parametrize(("action", "status"), [("expire_tokens", 401), ("close_sessions", 408), ("lockout", 429)])
async def test_sessions_can_end_under_a_call(desk: Desk, action: str, status: int) -> None:
    """Tokens end, sessions close, or the lock-out falls with the call that meets the rule, without effect."""
    await desk.fault(action=action, operation=PATH, times=1)
    assert (await _send(desk)).status_code == status
    assert await _made(desk) == 0


async def test_a_captcha_rests_the_endpoint(desk: Desk) -> None:
    """A ticket with a captcha keeps the endpoint closed for an hour, and other endpoints open."""
    await desk.fault(action="ticket", operation=PATH, captcha=True, seconds=19, times=1)
    assert (await _send(desk)).json()["p-captcha"] is True
    desk.clock.go(3599)
    assert (await _send(desk)).json()["p-captcha"] is True
    assert isinstance(await desk.call("live/user/list"), list)
    desk.clock.go(1)
    assert "results" in (await _send(desk)).json()


async def test_an_error_text_can_be_made_up(desk: Desk) -> None:
    """Any sentence can be reported as errorText, with no effect."""
    await desk.fault(action="error_text", body="The sky is falling")
    assert (await _send(desk)).json()["errorText"] == "The sky is falling"
    assert await _made(desk) == 0


async def test_delays_pass_before_the_answer() -> None:
    """A delayed call makes its effect and is answered."""
    desk = await desk_with(partner_ms=1)
    await desk.fault(action="delay", seconds=0.001)
    await desk.fault(action="delay", seconds=0.001, when="after")
    assert "results" in (await _send(desk)).json()


@pytest.mark.parametrize(("name", "content"), [
    ("f.toml", '[switches]\nfind_nothing = "null"\n[[faults]]\naction = "delay"\nseconds = 1\n'),
    ("f.json", '{"switches": {"find_nothing": "null"}, "faults": [{"action": "delay", "seconds": 1}]}'),
])  # fmt: skip
def test_a_faults_file_is_toml_or_json(tmp_path: Path, name: str, content: str) -> None:
    """Both forms of the file say the same."""
    path = tmp_path / name
    path.write_text(content)
    file = read_faults(path)
    assert (file.switches, file.faults) == ({"find_nothing": "null"}, [{"action": "delay", "seconds": 1}])


@pytest.mark.parametrize(("content", "named"), [
    ("[[faults]]\n", "action"), ("[[faults]]\naction = 'dance'\n", "action"), ("fault = 1\n", "faults"),
    ("[[faults]]\naction = 'delay'\nsecnds = 1\n", "secnds"), ("[[faults]]\naction = 'delay'\nnth = true\n", "nth"),
    ("[[faults]]\naction = 'garbage'\nform = 'x'\n", "form"), ("= =", "cannot be read"),
    ("x = " + "9" * 5000, "too many digits"), ("x = " + "[" * 100_000, "nested too deeply"),
    ("[[faults]]\naction = 0x" + "f" * 5000, "too many digits"),
    ("[switches]\nfind_nothing = -9223372036854775809", "too many digits"),
    ("[switches]\n" + "a." * 5000 + "a = 1", "nested too deeply"),
])  # fmt: skip
def test_a_wrong_faults_file_is_named(tmp_path: Path, content: str, named: str) -> None:
    """A file that cannot be used says which field is wrong."""
    path = tmp_path / "faults.toml"
    path.write_text(content)
    with pytest.raises(FaultError, match=named):
        read_faults(path)


async def test_a_wrong_rule_is_400(desk: Desk) -> None:
    """A rule that cannot be read is refused with a sentence, and none is set."""
    wrong: list[Any] = [{"action": "dance"}, {"nth": 1}, 7, {"action": "delay", "seconds": -1}]
    for rule in wrong:
        assert (await desk.http.post("/control/faults", json=rule)).status_code == 400
    assert (await desk.http.get("/control/faults")).json() == []
