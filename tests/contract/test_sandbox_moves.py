"""The simulated partner moves to another host while it runs, and its login returns what the real one returns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
import websockets

from tests.contract.test_sandbox_desk import Desk, desk_with
from worker.sandbox import RunningSandbox, Sandbox, SandboxConfig, serve

RECORDED = {
    "accessToken", "mdAccessToken", "expirationTime", "passwordExpirationTime", "userStatus", "userId", "name",
    "orgName", "hasLive", "hasSimPlus", "hasFunded", "hasMarketData", "outdatedTaC", "outdatedLiquidationPolicy",
    "outdatedSentimentPolicy", "requiredNonProCertification", "showKIDs", "apiHosts",
}  # fmt: skip
HOSTS = {
    "live", "demo", "mdLive", "mdDemo", "replay", "reportingLive", "reportingDemo", "adminLive", "adminDemo",
    "mdAdminLive", "mdAdminDemo", "riskMonitorLive", "riskMonitorDemo", "userContext",
}  # fmt: skip


@asynccontextmanager
async def served(**switches: Any) -> AsyncIterator[tuple[RunningSandbox, httpx.AsyncClient, dict[str, str]]]:
    """A sandbox on a port, a client of it, and the headers of a session."""
    running = await serve(Sandbox(SandboxConfig(**switches)))
    core = running.sandbox.core
    headers = {"Authorization": f"Bearer {core.sessions.open(core.config, running.sandbox.clock()).value}"}
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            yield running, client, headers
    finally:
        await running.stop()


async def test_login_and_renewal_return_what_the_partner_returns() -> None:
    """All recorded fields and all keys of `apiHosts`, those of an administrator too."""
    desk = await desk_with()
    for body in ((await desk.login()).json(), await desk.call("live/auth/renewAccessToken")):
        assert set(body) == RECORDED
        assert set(body["apiHosts"]) == HOSTS


async def test_every_response_has_the_partners_clock() -> None:
    """The HTTP header Date is the sandbox's time."""
    desk = await desk_with()
    answer = await desk.login()
    assert parsedate_to_datetime(answer.headers["Date"]).timestamp() == int(desk.clock())


async def test_a_password_may_have_no_end() -> None:
    """The field is left out, as for one that is not limited in time."""
    assert "passwordExpirationTime" not in (await Desk(password_days=None).login()).json()


async def test_a_login_that_waits_for_an_approval_has_neither_token_nor_text() -> None:
    """It opens no session, and does not say what it waits for."""
    desk = Desk(approval_needed=True)
    answer = await desk.login()
    assert answer.status_code == 200
    assert not {"accessToken", "errorText", "apiHosts"} & set(answer.json())
    assert (await desk.state())["sessions"]["logins"] == 0


async def test_the_host_that_was_left_redirects_and_executes_nothing() -> None:
    """307 with the same path and query at the new port; the other domain stays; the log tells both apart."""
    async with served() as (running, client, headers):
        old = running.demo_url
        port = running.move()
        body: dict[str, list[int]] = {"accounts": []}
        answer = await client.post(f"{old}/user/createEvaluationAccounts?x=1", json=body, headers=headers)
        assert answer.status_code == 307
        assert answer.headers["Location"] == f"http://127.0.0.1:{port}/demo/v1/user/createEvaluationAccounts?x=1"
        assert answer.content == b""
        assert (await client.get(f"{running.demo_url}/account/list", headers=headers)).status_code == 200
        assert (await client.get(f"{running.live_url}/user/list", headers=headers)).status_code == 200
        assert (await client.get(f"http://127.0.0.1:{port}/live/v1/user/list", headers=headers)).status_code == 307
        calls = running.sandbox.control.state()["calls"]
        assert calls["wrong_host"] == {"demo": 1, "live": 1}
        assert running.sandbox.control.calls()[0]["faults"] == ["wrong_host"]


@pytest.mark.parametrize("status", ["404", "405", "421"])
async def test_the_host_that_was_left_may_answer_without_a_body(status: str) -> None:
    """As some hosts of the partner do."""
    async with served(wrong_host=status) as (running, client, headers):
        old = running.demo_url
        running.move()
        answer = await client.get(f"{old}/account/list", headers=headers)
        assert (answer.status_code, answer.content) == (int(status), b"")
        assert "Location" not in answer.headers


async def test_sockets_are_cut_and_refused_with_421() -> None:
    """The open ones of that domain end, a handshake at the old host is refused, and one at the new host is taken."""
    async with served() as (running, _, _):
        old, live = (url.replace("http", "ws") + "/websocket" for url in (running.demo_url, running.live_url))
        async with websockets.connect(old) as socket, websockets.connect(live) as other:
            assert (await socket.recv(), await other.recv()) == ("o", "o")
            running.move()
            with pytest.raises(websockets.ConnectionClosed):
                await socket.recv()
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(old)
            assert refused.value.response.status_code == 421
            async with websockets.connect(running.demo_url.replace("http", "ws") + "/websocket") as moved:
                assert await moved.recv() == "o"
            await other.send("[]")


@pytest.mark.parametrize(("api_hosts", "before", "after"), [
    ("always", True, True), ("moved", False, True), ("never", False, False),
])  # fmt: skip
async def test_the_hosts_are_returned_as_the_switch_says(api_hosts: str, before: bool, after: bool) -> None:
    """Always, after a move, or never; with the port of where each domain is, and the caller's name for the machine."""
    async with served(api_hosts=api_hosts) as (running, client, headers):

        async def returned() -> dict[str, str] | None:
            url = f"http://localhost:{running.port}/live/v1/auth/renewAccessToken"
            found: dict[str, str] | None = (await client.get(url, headers=headers)).json().get("apiHosts")
            return found

        first = await returned()
        assert (first is not None) is before
        if first is not None:
            assert (first["live"], first["demo"]) == (f"localhost:{running.port}",) * 2
        port = running.move()
        second = await returned()
        assert (second is not None) is after
        if second is not None:
            assert (second["live"], second["demo"]) == (f"localhost:{running.port}", f"localhost:{port}")


async def test_it_moves_by_its_control_api_to_a_port_of_choice_and_back() -> None:
    """`POST /control/move` names the port; a host that is closed answers nothing any more."""
    async with served() as (running, client, headers):
        port = (await client.post(f"{running.url}/control/move", json={})).json()["port"]
        assert running.demo_url == f"http://127.0.0.1:{port}/demo/v1"
        back = await client.post(f"{running.url}/control/move", json={"domain": "demo", "port": running.port})
        assert back.json() == {"domain": "demo", "port": running.port}
        assert (await client.get(f"{running.url}/demo/v1/account/list", headers=headers)).status_code == 200
        wrong = await client.post(f"{running.url}/control/move", json={"domain": "moon"})
        assert wrong.status_code == 400


async def test_a_sandbox_without_ports_cannot_move() -> None:
    """In process there is one host, and it says so."""
    with pytest.raises(ValueError, match="served on a port"):
        Sandbox().control.move({})


@pytest.mark.parametrize("status", [408, 423, 429, 500, 502, 404])
async def test_a_renewal_is_answered_as_a_fault_says(status: int) -> None:
    """Any status, once or for ever, and nobody is locked out by it."""
    desk = await desk_with()
    await desk.fault(action="status_before", operation="/auth/renewaccesstoken", status=status, times=1)
    assert (await desk.send("live/auth/renewAccessToken")).status_code == status
    assert (await desk.send("live/auth/renewAccessToken")).status_code == 200


async def test_a_domain_that_stays_is_returned_where_it_is() -> None:
    """A renewal at the host that LIVE has moved to names the port of DEMO, which stays."""
    async with served() as (sandbox, client, headers):
        moved = sandbox.move("live")
        hosts = (await client.get(f"{sandbox.live_url}/auth/renewAccessToken", headers=headers)).json()["apiHosts"]
        assert (hosts["live"], hosts["demo"]) == (f"127.0.0.1:{moved}", f"127.0.0.1:{sandbox.port}")


async def test_a_host_that_was_left_may_still_take_renewals() -> None:
    """With `login_anywhere` the former host of LIVE renews the token and names the new one, and takes no other call."""
    async with served() as (sandbox, client, headers):
        moved = sandbox.move("live")
        sandbox.sandbox.control.switch({"wrong_host": "404", "login_anywhere": True})
        former = f"http://127.0.0.1:{sandbox.port}/live/v1"
        renewed = await client.get(f"{former}/auth/renewAccessToken", headers=headers)
        assert renewed.json()["apiHosts"]["live"] == f"127.0.0.1:{moved}"
        assert (await client.get(f"{former}/auth/me", headers=headers)).status_code == 404
