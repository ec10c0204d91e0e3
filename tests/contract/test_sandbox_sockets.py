"""The sockets of the simulated partner, over a real port with the websockets library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from tests.support.waiting import eventually
from worker.bridge.signal_record import outgoing
from worker.partner.socket_actions import Alert
from worker.partner.socket_protocol import SocketProtocol
from worker.sandbox import Sandbox, SandboxConfig, serve
from worker.sandbox.server import RunningSandbox


class Line:
    """One socket as a bridge holds it."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.waiting: list[dict[str, Any]] = []

    async def frame(self) -> str:
        async with asyncio.timeout(5):
            return str(await self.socket.recv())

    async def message(self) -> dict[str, Any]:
        """Return the next message, heartbeats passed over."""
        while not self.waiting:
            frame = await self.frame()
            if frame[0] == "a":
                self.waiting = orjson.loads(frame[1:])
        return self.waiting.pop(0)

    async def ask(self, endpoint: str, request_id: int, *, query: str = "", body: str = "") -> dict[str, Any]:
        await self.socket.send(f"{endpoint}\n{request_id}\n{query}\n{body}")
        while (message := await self.message()).get("i") != request_id:
            pass
        return message

    async def sync(self, *kinds: str, **other: Any) -> dict[str, Any]:
        body = {"splitResponses": True, "entityTypes": list(kinds), **other}
        return await self.ask("user/syncrequest", 9, body=orjson.dumps(body).decode())

    async def ended(self) -> websockets.ConnectionClosed:
        try:
            while True:
                await self.frame()
        except websockets.ConnectionClosed as closed:
            return closed


@asynccontextmanager
async def running(**switches: Any) -> AsyncIterator[RunningSandbox]:
    started = await serve(Sandbox(SandboxConfig(**switches)))
    try:
        yield started
    finally:
        await started.stop()


@asynccontextmanager
async def line(sandbox: RunningSandbox, domain: str = "live", *, login: bool = True) -> AsyncIterator[Line]:
    url = sandbox.live_url if domain == "live" else sandbox.demo_url
    async with websockets.connect(url.replace("http", "ws") + "/websocket") as socket:
        made = Line(socket)
        assert await made.frame() == "o"
        if login:
            answer = await made.ask("authorize", 0, body=token(sandbox))
            assert answer == {"s": 200, "i": 0}
        yield made


def token(running: RunningSandbox) -> str:
    core = running.sandbox.core
    return core.sessions.open(core.config, running.sandbox.clock()).value


def user(running: RunningSandbox, name: str = "ann") -> int:
    control = running.sandbox.control
    return int(control.seed({"users": [{"name": name, "email": f"{name}@example.com"}]})["userIds"][0])


async def test_a_socket_opens_beats_and_wants_a_token() -> None:
    """First `o`, then heartbeats; a wrong token is 401 with the vendor's text, and nothing works before authorizing."""
    async with running(heartbeat_seconds=0.02) as sandbox, line(sandbox, login=False) as one:
        assert await one.frame() == "h"
        assert (await one.ask("user/list", 1))["s"] == 401
        assert await one.ask("authorize", 0, body="wrong") == {"s": 401, "i": 0, "d": "Invalid access token"}


async def test_any_endpoint_answers_on_a_socket() -> None:
    """A query, a body and an unknown path get the REST answers in `d`, and are counted as calls."""
    async with running() as sandbox, line(sandbox) as one:
        user_id = user(sandbox)
        assert (await one.ask("user/find", 3, query="name=ann"))["d"]["id"] == user_id
        assert (await one.ask("user/items", 4, body=f'{{"ids":[{user_id}]}}'))["d"][0]["id"] == user_id
        assert await one.ask("no/such", 5) == {"s": 404, "i": 5}
        assert sandbox.sandbox.control.state()["calls"]["total"] == 4


async def test_a_split_answer_comes_in_parts_with_one_id() -> None:
    """The initial data come in several messages of the same id, together complete."""
    async with running(sync_messages=3, sync_with_events=False) as sandbox, line(sandbox) as one:
        user_id = user(sandbox)
        parts = [(await one.sync("user"))["d"]]
        parts += [(await one.message())["d"] for _ in range(2)]
        assert {row["id"] for part in parts for row in part["users"]} == {1001, user_id}
        assert (await one.sync("user"))["s"] == 400


async def test_a_sync_without_split_is_cut_off() -> None:
    """Leaving out `splitResponses` ends the connection without a message."""
    async with running() as sandbox, line(sandbox) as one:
        await one.socket.send('user/syncrequest\n1\n\n{"entityTypes":["user"]}')
        assert (await one.ended()).rcvd is None


@pytest.mark.parametrize("shape", ["array", "object"])
async def test_a_signature_reaches_both_sockets_in_their_shapes(shape: str) -> None:
    """DEMO hears of it wrapped, LIVE flat; `d` is an array or an object; the user is relatedToUserId."""
    async with running(props_shape=shape) as sandbox, line(sandbox) as live, line(sandbox, "demo") as demo:
        user_id = user(sandbox)
        for one in (live, demo):
            await one.sync()
        sandbox.sandbox.control.sign({"userId": user_id})
        heard = {}
        for name, one in (("live", live), ("demo", demo)):
            while "e" not in (message := await one.message()):
                pass
            heard[name] = message["d"][0] if shape == "array" else message["d"]
        assert heard["live"]["entityType"] == "adminAlertSignal"
        assert heard["live"]["entity"]["relatedToUserId"] == user_id
        assert heard["demo"]["entityType"] == "OtherEnvAdminAlertSignal"
        assert heard["demo"]["entity"]["adminAlertSignal"]["id"] == heard["live"]["entity"]["id"]


async def test_signals_repeat_come_late_and_among_others() -> None:
    """Noise comes first, the signature late and as often as chosen, then its update."""
    switches = {"noise_alerts": 1, "signal_repeats": 1, "signal_updates": True, "signal_delay": 0.01}
    async with running(**switches, props_shape="object", signal_shape="flat") as sandbox, line(sandbox) as one:
        await one.sync()
        sandbox.sandbox.control.sign({"userId": user(sandbox)})
        events: list[tuple[int, str]] = []
        while len(events) < 6:
            message = await one.message()
            if message.get("e") == "props":
                events.append((message["d"]["entity"]["adminAlertId"], message["d"]["eventType"]))
        assert [kind for alert, kind in events if alert == 70] == ["Created", "Created", "Updated"]
        assert sum(alert != 70 for alert, _ in events) == 3


@pytest.mark.parametrize("shape", ["array", "object"])
async def test_all_signals_of_a_moment_come_in_one_list(shape: str) -> None:
    """`entity` is a list when the switch says so: noise, unknown forms and each signature, wrapped or flat."""
    switches = {"signal_entity": "list", "noise_alerts": 1, "stray_alerts": 4, "props_shape": shape}
    async with running(**switches) as sandbox, line(sandbox) as live, line(sandbox, "demo") as demo:
        users = [user(sandbox, name) for name in ("ann", "bob")]
        for one, wrapped in ((live, False), (demo, True)):
            await one.sync()
            signed = sandbox.sandbox.control.sign({"userIds": users})["signalIds"]
            while "e" not in (message := await one.message()):
                pass
            event = message["d"][0] if shape == "array" else message["d"]
            found = [entity.get("adminAlertSignal", entity) for entity in event["entity"] if entity]
            assert [row["id"] for row in found if row.get("adminAlertId") == 70 and "relatedToUserId" in row][
                -2:
            ] == signed
            assert sum(row.get("adminAlertId") == 12 for row in found) == 2
            assert len(event["entity"]) == 8
            assert all(("adminAlertSignal" in entity) is wrapped for entity in event["entity"][-4:])


@pytest.mark.parametrize(
    "form", ["bad_id", "no_user", "null_entity", "unknown_wrapper", "unknown_type", "cut_frame", "right"]
)
async def test_a_signature_may_come_in_a_form_that_nobody_knows(form: str) -> None:
    """What the socket brings cannot be read, and a read of the same signal is right."""
    async with running(signal_form=form, signal_sockets="live") as sandbox, line(sandbox) as one:
        await one.sync()
        signal = sandbox.sandbox.control.sign({"userId": user(sandbox)})["signalIds"][0]
        while (frame := await one.frame())[0] != "a" or '"i":' in frame:
            pass
        heard = list(SocketProtocol(0.0).hear(frame, 0.0))
        records = [outgoing(act.signal, 70) for act in heard if isinstance(act, Alert)]
        assert len(heard) == 1
        assert [record.signal_id for record in records if record] == ([signal] if form == "right" else [])
        rows = (await one.ask("adminAlertSignal/deps", 3, query="masterid=70"))["d"]
        assert [row["id"] for row in rows] == [signal]


async def test_a_read_of_signals_may_hold_rows_that_make_no_sense() -> None:
    """They stand beside the right ones, as many as the switch says."""
    async with running(unreadable_rows=5) as sandbox, line(sandbox) as one:
        signal = sandbox.sandbox.control.sign({"userId": user(sandbox)})["signalIds"][0]
        rows = (await one.ask("adminAlertSignal/deps", 3, query="masterid=70"))["d"]
        assert len(rows) == 6
        assert [record.signal_id for row in rows if row and (record := outgoing(row, 70))] == [signal]


async def test_created_entities_are_sent_to_those_who_asked() -> None:
    """A socket that named `user` hears of a new user."""
    async with running() as sandbox, line(sandbox) as one, httpx.AsyncClient() as client:
        await one.sync("user")
        body = {"name": "bob", "email": "b@example.com", "password": "correct horse", "firstName": "B", "lastName": "B"}
        headers = {"Authorization": f"Bearer {token(sandbox)}"}
        await client.post(f"{sandbox.live_url}/user/createEvaluationUsers", json={"users": [body]}, headers=headers)
        while (message := await one.message()).get("e") != "props" or "bob" not in str(message):
            pass
        assert "Created" in str(message)


async def test_sockets_are_shut_down_with_a_reason_or_dropped_without() -> None:
    """A shutdown tells its reason code before the close frame; a drop is a connection that is gone."""
    async with running() as sandbox, line(sandbox) as one, line(sandbox, "demo") as other:
        core = sandbox.sandbox.core
        assert core.hub.shut_down("Maintenance", "soon", "live") == 1
        assert (await one.message())["d"] == {"reasonCode": "Maintenance", "reason": "soon"}
        assert await one.frame() == 'c[3000,"Go away!"]'
        assert (await one.ended()).rcvd is not None
        assert core.hub.drop() == 1
        assert (await other.ended()).rcvd is None


async def test_a_silent_client_is_closed() -> None:
    """Without `[]` the socket is closed after the grace."""
    async with running(idle_seconds=0.05) as sandbox, line(sandbox) as one:
        assert (await one.ended()).rcvd is not None


async def test_a_socket_outlives_its_token() -> None:
    """An authorized socket goes on after its token has expired; a new one is refused."""
    async with running() as sandbox, line(sandbox) as one:
        sandbox.sandbox.control.expire_tokens()
        assert (await one.ask("user/list", 2))["s"] == 200


async def test_penalties_and_lock_outs_are_reported_on_sockets() -> None:
    """A ticket is inside `d` of a 200, a lock-out a bare 429."""
    async with running() as sandbox, line(sandbox) as one:
        sandbox.sandbox.control.add_faults({"action": "ticket", "seconds": 1, "times": 1})
        assert (await one.ask("user/list", 2))["d"]["p-time"] == 1
        sandbox.sandbox.control.lockout(60)
        assert await one.ask("user/list", 3) == {"s": 429, "i": 3}


async def test_one_socket_too_many_closes_the_oldest() -> None:
    """Beyond the limit the oldest socket gets the reason and is closed, and its token revoked."""
    async with running(max_sockets=1) as sandbox, line(sandbox) as one, line(sandbox):
        assert (await one.message())["d"] == {"reasonCode": "ConnectionQuotaReached"}
        assert (await one.ended()).rcvd is not None


async def test_silence_is_silence() -> None:
    """A silent server keeps the socket open and answers nothing, until it speaks again."""
    async with running(heartbeat_seconds=0.01) as sandbox, line(sandbox) as one:
        sandbox.sandbox.control.switch({"socket_silent": True})
        await one.socket.send("user/list\n5\n\n")
        await eventually(lambda: sandbox.sandbox.control.state()["calls"]["total"] == 2)
        sandbox.sandbox.control.switch({"socket_silent": False})
        assert (await one.ask("user/list", 6))["i"] == 6
