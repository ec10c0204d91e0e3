"""A desk to call the sandbox from, without a port, and the sandbox's public face."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import websockets

from tests.support.waiting import eventually
from worker.sandbox import ConnectionCutError, Sandbox, SandboxConfig, serve, settings_for


class Clock:
    """A clock that moves when the test says so."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now

    def go(self, seconds: float) -> None:
        self.now += seconds


class Desk:
    """The partner's API as a client sees it, in process, on a clock of its own."""

    def __init__(self, **switches: Any) -> None:
        self.clock = Clock()
        self.sandbox = Sandbox(SandboxConfig(**switches), clock=self.clock)
        transport = httpx.ASGITransport(app=self.sandbox.app)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://sandbox")
        self.token = ""
        self.made = 0

    def credentials(self, **other: Any) -> dict[str, Any]:
        config = self.sandbox.config
        right = {"name": config.name, "password": config.password, "appId": config.app_id, "appVersion": "1.0"}
        return {**right, "cid": config.cid, "sec": config.sec, "deviceId": "d", **other}

    async def login(self, **other: Any) -> httpx.Response:
        answer = await self.http.post("/live/v1/auth/accessTokenRequest", json=self.credentials(**other))
        if answer.status_code == 200 and "accessToken" in answer.json():
            self.token = answer.json()["accessToken"]
        return answer

    async def send(self, path: str, content: bytes | None = None, token: str | None = None) -> httpx.Response:
        """Call a path such as `live/user/find?name=x`; bytes make it a POST."""
        domain, _, rest = path.partition("/")
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        method = "GET" if content is None else "POST"
        return await self.http.request(method, f"/{domain}/v1/{rest}", content=content, headers=headers)

    async def call(self, path: str, **body: Any) -> Any:
        """Call with a JSON body (none makes it a query) and return the JSON of a 200."""
        request = httpx.Request("POST", "http://x", json=body)
        answer = await self.send(path, request.content if body else None)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.json()

    def user(self, **other: Any) -> dict[str, Any]:
        self.made += 1
        name = f"jane{self.made}"
        user = {"name": name, "email": f"{name}@example.com", "password": "correct horse"}
        return {**user, "firstName": "Jane", "lastName": "Doe", **other}

    async def new_user(self, **other: Any) -> int:
        answer = await self.call("live/user/createEvaluationUsers", users=[self.user(**other)])
        return int(answer["results"][0]["userId"])

    def account(self, user_id: int, name: str = "", **other: Any) -> dict[str, Any]:
        self.made += 1
        account = {"userId": user_id, "templateAccountId": 11, "name": name or f"EVAL{self.made}"}
        return {**account, "initialBalance": 50_000, **other}

    async def new_account(self, user_id: int, name: str = "", **more: Any) -> dict[str, Any]:
        account = {**self.account(user_id, name), **more}
        answer = await self.call("demo/user/createEvaluationAccounts", accounts=[account])
        result: dict[str, Any] = answer["results"][0]
        return result

    async def fault(self, **rule: Any) -> None:
        answer = await self.http.post("/control/faults", json=rule)
        assert answer.status_code == 200, answer.text

    async def control(self, path: str, **body: Any) -> Any:
        answer = await self.http.post(f"/control/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def effects(self) -> Any:
        return (await self.http.get("/control/effects")).json()

    async def state(self) -> Any:
        return (await self.http.get("/control/state")).json()


async def desk_with(**switches: Any) -> Desk:
    """Return a desk whose user is logged in."""
    desk = Desk(**switches)
    await desk.login()
    return desk


@pytest.fixture
async def logged_in() -> AsyncIterator[Desk]:
    made = await desk_with()
    yield made
    await made.http.aclose()


desk = logged_in  # the other files take the fixture under this name too


async def test_paths_are_found_in_any_case_and_verbs_do_not_matter(desk: Desk) -> None:
    """A path is found in any case of letters, and a POST reads as a GET does."""
    user_id = await desk.new_user(name="ann")
    found = await desk.send("LIVE/USER/FIND?name=ann", b"{}")
    assert found.json()["id"] == user_id
    assert (await desk.http.post("/Live/V1/User/Find?name=ann")).status_code == 401


async def test_the_settings_fit_the_running_sandbox() -> None:
    """A worker that takes the printed settings reaches the sandbox and logs in."""
    sandbox = Sandbox(SandboxConfig())
    running = await serve(sandbox)
    try:
        settings = settings_for(running)
        body = {
            "name": settings["TRADOVATE_NAME"],
            "password": settings["TRADOVATE_PASSWORD"],
            "appId": settings["TRADOVATE_APP_ID"],
            "cid": int(settings["TRADOVATE_CID"]),
            "sec": settings["TRADOVATE_SEC"],
        }
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{settings['TRADOVATE_DEMO_URL']}/auth/accesstokenrequest", json=body)
            token = answer.json()["accessToken"]
            plan = settings["TRADOVATE_SUBSCRIPTION_PLAN_ID"]
            url = f"{settings['TRADOVATE_LIVE_URL']}/tradovateSubscriptionPlan/item?id={plan}"
            found = await client.get(url, headers={"Authorization": f"Bearer {token}"})
        assert found.json()["name"] == sandbox.config.plan_name
        async with websockets.connect(settings["TRADOVATE_LIVE_WS_URL"]) as socket:
            assert await socket.recv() == "o"
    finally:
        await running.stop()


async def test_a_cut_connection_is_a_cut_connection() -> None:
    """Over a real port a cut is a connection that ends without a byte, and a hang is one that never answers."""
    running = await serve(Sandbox(SandboxConfig()))
    try:
        async with httpx.AsyncClient(base_url=running.url, timeout=0.2) as client:
            await client.post("/control/faults", json={"action": "cut_before", "times": 1})
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await client.get("/live/v1/user/list")
            await client.post("/control/faults", json={"action": "hang", "times": 1})
            with pytest.raises(httpx.ReadTimeout):
                await client.get("/live/v1/user/list")
    finally:
        await running.stop()


async def test_a_caller_who_hangs_up_changes_nothing() -> None:
    """A call given up by its caller takes effect all the same, and is under way for nobody any more."""
    sandbox = Sandbox()
    running = await serve(sandbox)
    core = sandbox.core
    headers = {"Authorization": f"Bearer {core.sessions.open(core.config, sandbox.clock()).value}"}
    try:
        async with httpx.AsyncClient(base_url=running.live_url, headers=headers) as client:
            sandbox.control.add_faults({"action": "delay", "seconds": 0.3, "times": 1})
            user = Desk().user()
            with pytest.raises(httpx.ReadTimeout):
                await client.post("/user/createEvaluationUsers", json={"users": [user]}, timeout=0.05)
            await eventually(lambda: not core.calls.in_flight)
            assert core.effects.users_by_name[user["name"]] == 0
            await client.get(f"/user/find?name={user['name']}")
            await eventually(lambda: core.effects.users_by_name[user["name"]] == 1)
            assert core.calls.same_trader_overlaps == 0
    finally:
        await running.stop()


async def test_a_sandbox_can_go_away_and_come_back() -> None:
    """Stopped and served again on its port, the partner knows what it knew."""
    sandbox = Sandbox()
    first = await serve(sandbox)
    user_id = sandbox.control.seed({"users": [{"name": "ann", "email": "ann@example.com"}]})["userIds"][0]
    await first.stop()
    second = await serve(sandbox, port=first.port)
    try:
        assert second.url == first.url
        assert sandbox.core.world.users.get(user_id) is not None
    finally:
        await second.stop()


async def test_in_process_a_cut_raises(desk: Desk) -> None:
    """Without a transport to cut, the application raises what says so."""
    await desk.fault(action="cut_before")
    with pytest.raises(ConnectionCutError):
        await desk.call("live/user/list")


async def test_a_taken_port_is_an_error_at_once() -> None:
    """A second sandbox on the same port fails with OSError."""
    running = await serve(Sandbox())
    try:
        with pytest.raises(OSError, match="in use"):
            await serve(Sandbox(), port=running.port)
    finally:
        await running.stop()


def test_the_command_prints_settings_and_ends_with_zero() -> None:
    """`python -m worker.sandbox` prints NAME=value lines, serves, and exits 0 on SIGTERM."""
    command = [sys.executable, "-m", "worker.sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(14)]
        settings = dict(line.split("=", 1) for line in lines)
        assert settings["TRADOVATE_LIVE_URL"].endswith("/live/v1")
        assert settings["TRADOVATE_MAINTENANCE"] == "off"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
