"""The pure parts of the sandbox: the oracle's overlaps, tickets in bodies, frames of any kind."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.partner.operations import OPERATIONS
from worker.sandbox import SandboxConfig, with_switches
from worker.sandbox.core import Core
from worker.sandbox.limits import UserCallLimit, strip_ticket
from worker.sandbox.operation import Domain
from worker.sandbox.operations import OPERATIONS as SERVED
from worker.sandbox.request import Request
from worker.sandbox.served_hosts import Places
from worker.sandbox.socket_connection import SocketConnection

NOW = 1_790_000_000.0
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


class Desk:
    """Calls that can be under way together."""

    def __init__(self) -> None:
        self.core = Core(SandboxConfig(), NOW, Places())
        self.token = self.core.sessions.open(self.core.config, NOW).value

    def begin(self, domain: Domain, path: str, body: Any = None, **query: str) -> Any:
        content = b"" if body is None else orjson.dumps(body)
        return self.core.begin(Request(domain, path, query=query, body=content, bearer=self.token), NOW)

    def end(self, exchange: Any) -> Any:
        reply = self.core.answer(exchange, NOW)
        self.core.finish(exchange, reply, NOW)
        return reply.data


def _user(name: str) -> dict[str, Any]:
    return {"name": name, "email": f"{name}@x", "password": "password", "firstName": "A", "lastName": "B"}


def test_two_calls_for_one_trader_under_way_together_are_reported() -> None:
    """A user being made and looked up by name at once is one overlap; one after the other is none."""
    desk = Desk()
    create = desk.begin("live", "/user/createevaluationusers", {"users": [_user("ann"), _user("bob")]})
    look = desk.begin("live", "/user/find", name="ANN")
    assert desk.core.calls.same_trader_overlaps == 1
    assert desk.core.calls.same_trader_write_overlaps == 0
    desk.end(look)
    user_id = desk.end(create)["results"][0]["userId"]
    desk.end(desk.begin("live", "/user/find", name="ann"))
    desk.end(desk.begin("live", "/contactinfo/deps", masterid=str(user_id)))
    assert desk.core.calls.same_trader_overlaps == 1


def test_a_trader_is_known_by_user_account_and_permission() -> None:
    """Calls that name a trader by user, by account, by permission or by name overlap with each other."""
    desk = Desk()
    user_id = desk.end(desk.begin("live", "/user/createevaluationusers", {"users": [_user("ann")]}))["results"][0][
        "userId"
    ]
    account = {"userId": user_id, "templateAccountId": 11, "name": "EVAL1", "initialBalance": 1.0}
    made = desk.end(desk.begin("demo", "/user/createevaluationaccounts", {"accounts": [account]}))["results"][0]
    names: list[tuple[Domain, str, dict[str, Any]]] = [
        ("live", "/userplugin/addentitlementsubscription", {"userId": user_id, "entitlementId": 31}),
        ("demo", "/account/resetdemoaccountstate", {"accountIds": [made["accountId"]]}),
        ("demo", "/user/revoketradingpermissions", {"tradingPermissionIds": [made["tradingPermissionId"]]}),
        ("demo", "/user/canceleverything", {"userIds": [user_id]}),
        ("live", "/user/createevaluationusers", {"users": [_user("Ann")]}),
    ]
    for count, (domain, path, body) in enumerate(names):
        desk.begin(domain, path, body)
        assert desk.core.calls.same_trader_overlaps == count * (count + 1) // 2
    assert desk.core.calls.same_trader_write_overlaps == desk.core.calls.same_trader_overlaps


def test_two_items_of_one_trader_in_one_call_are_no_overlap() -> None:
    """One call may carry two accounts of a trader."""
    desk = Desk()
    desk.begin("demo", "/user/createevaluationaccounts", {"accounts": [{"userId": 5}, {"userId": 5}]})
    assert desk.core.calls.same_trader_overlaps == 0


@given(st.dictionaries(st.text(max_size=6).filter(lambda key: key != "p-ticket"), JSON, max_size=4), st.booleans())
def test_a_ticket_is_taken_out_to_the_byte(body: dict[str, Any], first: bool) -> None:
    """Whatever the body, taking the ticket out of it leaves the bytes that it was sent with before."""
    ticket = {"p-ticket": "abc_-"}
    whole = orjson.dumps({**ticket, **body} if first else {**body, **ticket})
    assert strip_ticket(whole) == ("abc_-", orjson.dumps(body))


@given(st.text(max_size=80), st.booleans())
def test_no_frame_of_a_client_breaks_a_socket(text: str, authorize: bool) -> None:
    """Any text is a request, a heartbeat or nothing; it never raises."""
    connection = SocketConnection(1, "live", last_received=NOW, last_sent=NOW)
    asked = connection.hear(f"authorize\n1\n\n{text}" if authorize else text, NOW + 1)
    assert connection.last_received == NOW + 1
    assert not authorize or asked is not None


def test_heartbeats_come_only_when_nothing_else_was_sent() -> None:
    """A busy socket sends no `h`, a quiet one sends it when it is due."""
    config = SandboxConfig(heartbeat_seconds=2.5)
    connection = SocketConnection(1, "live", last_received=NOW, last_sent=NOW)
    connection.push("o")
    assert [output.text for output in connection.take(config, NOW + 2)] == ["o"]
    assert connection.take(config, NOW + 4) == []
    assert connection.due_in(config, NOW + 4) == pytest.approx(0.5)
    assert [output.text for output in connection.take(config, NOW + 4.5)] == ["h"]


@given(st.lists(st.floats(0, 50), min_size=1, max_size=40), st.integers(1, 10))
def test_a_lock_out_ends_only_after_silence(pauses: list[float], limit: int) -> None:
    """Once locked out, a call is let in only when nobody called for the whole length before it."""
    config = with_switches(SandboxConfig(), {
        "hourly_calls": limit, "warning_from_call": 0, "hour_seconds": 1000, "lockout_seconds": 20,
    })  # fmt: skip
    budget, now, locked = UserCallLimit(), 0.0, False
    for pause in pauses:
        now += pause
        verdict = budget.count(config, now)
        if locked:
            assert (verdict == 429) == (pause < 20) or limit == 0
        locked = verdict == 429
    assert budget.used(config, now) <= limit


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_call_of_the_worker_is_served(name: str) -> None:
    """The simulated partner has each operation that the worker declares, on the same domain."""
    operation = OPERATIONS[name]
    served = SERVED.get(operation.path.lower())
    assert served is not None
    assert served.domain in (None, operation.domain.value)
