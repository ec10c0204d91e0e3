"""The thin asynchronous edge: ASGI in, the core, ASGI out."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from worker.errors import SandboxError
from worker.sandbox.config import SandboxConfig
from worker.sandbox.control import Control
from worker.sandbox.core import Core
from worker.sandbox.request import Request
from worker.sandbox.responses import Reply
from worker.sandbox.served_hosts import Arrival, Places
from worker.sandbox.socket_edge import run_socket

if TYPE_CHECKING:
    from worker.sandbox.core import ServedCall
    from worker.sandbox.operation import Domain

__all__ = ["CUT_EXTENSION", "ConnectionCutError", "Sandbox"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CUT_EXTENSION = "sandbox.cut"
"""Key in the scope of a callable that ends the connection without a byte more."""


class ConnectionCutError(SandboxError, ConnectionResetError):
    """The partner ended the connection without an answer, where no transport is there to be cut."""

    @property
    def sentence(self) -> str:
        """For a test's traceback."""
        return "the sandbox cut the connection"


class Sandbox:
    """The simulated partner: its state in `core`, its ASGI application in `app`, its control calls in `control`.

    `clock` gives seconds since the epoch; tests bring their own. One sandbox can be served, stopped and served
    again, as a partner who is away for a while; `stopping` ends the waits of calls whose callers have gone.
    """

    def __init__(self, config: SandboxConfig | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.places = Places()
        self.core = Core(config or SandboxConfig(), clock(), self.places)
        self.control = Control(self)
        self.app = App(self)
        self.stopping = asyncio.Event()

    @property
    def config(self) -> SandboxConfig:
        return self.core.config

    def reset(self) -> None:
        """Forget everything but the switches."""
        self.core.hub.drop()
        self.core = Core(self.core.config, self.clock(), self.places)

    async def perform(self, request: Request, gone: Callable[[float], Awaitable[bool]]) -> Reply:
        """Carry one call through. `gone` waits so many seconds and says whether the caller hung up meanwhile.

        A caller who hangs up changes nothing at the partner: the effect is made all the same.
        """
        core = self.core
        exchange = core.begin(request, self.clock())
        if exchange.delay_before:
            await self._pause(core, exchange, exchange.delay_before, gone)
        reply = core.answer(exchange, self.clock())
        if exchange.delay_after:
            await self._pause(core, exchange, exchange.delay_after, gone)
        if reply.connection == "hang":
            while not await gone(60.0):
                pass
        core.finish(exchange, reply, self.clock())
        return reply

    async def _pause(
        self, core: Core, exchange: ServedCall, seconds: float, gone: Callable[[float], Awaitable[bool]]
    ) -> None:
        begun = time.monotonic()
        if await gone(seconds):
            core.calls.leave(exchange.record)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), max(0.0, begun + seconds - time.monotonic()))


class App:
    """ASGI: `/live/v1/...`, `/demo/v1/...` and `/control/...` on one port, and on others for a domain that moved."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].lower().rstrip("/")
        domain: Domain = "live" if path.startswith("/live/") else "demo"
        if self._sandbox.places.wrong(domain, _arrival(scope)):
            await receive()
            self._sandbox.core.misdirected(Request(domain, "/websocket", via="ws"), 421, self._sandbox.clock())
            await send({"type": "websocket.http.response.start", "status": 421, "headers": [(b"content-length", b"0")]})
            await send({"type": "websocket.http.response.body", "body": b""})
            return
        cut = scope.get("extensions", {}).get(CUT_EXTENSION)
        if path == "/live/v1/websocket":
            await run_socket(self._sandbox, "live", receive, send, cut)
        elif path == "/demo/v1/websocket":
            await run_socket(self._sandbox, "demo", receive, send, cut)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        path: str = scope["path"]
        if path.startswith("/control/"):
            reply = self._sandbox.control.handle(scope["method"], path, scope["query_string"], body)
        else:
            request = _request(scope, path, body)
            if request is None:
                await _send(send, Reply(status=404, body=b""), self._sandbox.clock())
                return
            reply = self._misdirected(scope, request) or await self._sandbox.perform(request, _watch(receive))
        if reply.connection == "answer":
            await _send(send, reply, self._sandbox.clock())
            return
        cut = scope.get("extensions", {}).get(CUT_EXTENSION)
        if cut is None:
            raise ConnectionCutError
        cut()
        while (await receive())["type"] != "http.disconnect":
            pass

    def _misdirected(self, scope: Scope, request: Request) -> Reply | None:
        sandbox, arrival = self._sandbox, _arrival(scope)
        if not sandbox.places.wrong(request.domain, arrival):
            return None
        if sandbox.config.login_anywhere and request.path.lower() in _LOGINS:
            return None
        raw_path, query = scope.get("raw_path", scope["path"].encode()), scope["query_string"]
        target = (raw_path + (b"?" + query if query else b"")).decode("latin-1")
        reply = sandbox.places.answer(sandbox.config, request.domain, arrival, target)
        sandbox.core.misdirected(request, reply.status, sandbox.clock())
        return reply


_LOGINS = ("/auth/accesstokenrequest", "/auth/renewaccesstoken")


def _arrival(scope: Scope) -> Arrival:
    server = scope.get("server")
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    return Arrival(server[1] if server else None, host, scope.get("scheme", "http"))


def _watch(receive: Receive) -> Callable[[float], Awaitable[bool]]:
    """Return what waits for the caller to hang up, for so many seconds at most."""

    async def gone(seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                while (await receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return False
        return True

    return gone


def _request(scope: Scope, path: str, body: bytes) -> Request | None:
    """Read domain and operation out of the path, in any case of letters; verbs are not enforced."""
    lowered = path.lower()
    domain: Domain
    if lowered.startswith("/live/v1/"):
        domain = "live"
    elif lowered.startswith("/demo/v1/"):
        domain = "demo"
    else:
        return None
    bearer = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, rest = value.decode("latin-1").partition(" ")
            bearer = rest.strip() if scheme.lower() == "bearer" else None
    raw_query: bytes = scope["query_string"]
    client = scope.get("client")
    return Request(
        domain=domain,
        path=lowered[len("/live/v1") :].rstrip("/"),
        query=_query(raw_query),
        raw_query=raw_query,
        body=body,
        bearer=bearer,
        subnet=client[0].rpartition(".")[0] if client else "127.0.0",
        arrival=_arrival(scope),
    )


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts = [body]
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
    return b"".join(parts)


async def _send(send: Send, reply: Reply, now: float) -> None:
    body = reply.encode()
    headers = [(b"content-length", str(len(body)).encode()), (b"date", formatdate(now, usegmt=True).encode())]
    if body:
        headers.append((b"content-type", reply.content_type.encode()))
    headers += [(name.encode(), value.encode("latin-1")) for name, value in reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _query(raw: bytes) -> dict[str, str]:
    """The parameters; one that comes several times has its values on lines of their own."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(raw.decode("latin-1"), keep_blank_values=True):
        found[name] = f"{found[name]}\n{value}" if name in found else value
    return found
