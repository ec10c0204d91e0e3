"""The asynchronous edge of one socket: a reader, a writer with a timer, and a task for each request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from worker.sandbox.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.sandbox.http_app import Receive, Sandbox, Send
    from worker.sandbox.operation import Domain
    from worker.sandbox.socket_connection import Asked, Output, SocketConnection

__all__ = ["run_socket"]

LONGEST_NAP = 60.0


async def run_socket(
    sandbox: Sandbox, domain: Domain, receive: Receive, send: Send, cut: Callable[[], None] | None
) -> None:
    """Serve one socket until either side ends it."""
    if (await receive())["type"] != "websocket.connect":
        return
    await send({"type": "websocket.accept"})
    hub = sandbox.core.hub
    connection = hub.open(domain, sandbox.clock())
    ended = asyncio.Event()
    writer = asyncio.create_task(_write(sandbox, connection, send, cut))
    requests: set[asyncio.Task[None]] = set()
    try:
        while (message := await receive())["type"] == "websocket.receive":
            asked = connection.hear(_text(message), sandbox.clock())
            if asked is not None and not connection.over:
                task = asyncio.create_task(_ask(sandbox, connection, asked, ended))
                requests.add(task)
                task.add_done_callback(requests.discard)
    finally:
        ended.set()
        connection.over = True
        hub.leave(connection)
        writer.cancel()
        await asyncio.gather(writer, *requests, return_exceptions=True)


async def _ask(sandbox: Sandbox, connection: SocketConnection, asked: Asked, ended: asyncio.Event) -> None:
    async def gone(seconds: float) -> bool:
        try:
            await asyncio.wait_for(ended.wait(), seconds)
        except TimeoutError:
            return False
        return True

    request = Request(
        domain=connection.domain,
        path=asked.path,
        query=asked.query,
        raw_query=asked.raw_query,
        body=asked.body,
        via="ws",
        connection=connection,
    )
    reply = await sandbox.perform(request, gone)
    core = sandbox.core
    between: list[str] = []
    if reply.parts and core.config.sync_with_events:
        between = [
            core.hub.props(core.config, kind, "Updated", part[array][0])
            for part in reply.parts
            for kind, array in (("user", "users"), ("account", "accounts"))
            if part.get(array) and kind in connection.entity_types
        ]
    connection.respond(asked.request_id, reply, between)
    if asked.path == "/authorize" and reply.status == 401 and core.config.close_after_401:
        connection.close("Invalid access token")


async def _write(sandbox: Sandbox, connection: SocketConnection, send: Send, cut: Callable[[], None] | None) -> None:
    wake = asyncio.Event()
    connection.on_output = wake.set
    while True:
        wake.clear()
        core, now = sandbox.core, sandbox.clock()
        core.tick(now)
        for output in connection.take(core.config, now):
            if await _put(output, send, cut):
                return
        nap = min(connection.due_in(core.config, now), LONGEST_NAP)
        due = core.hub.next_due()
        if due is not None:
            nap = min(nap, max(0.0, due - now))
        try:
            await asyncio.wait_for(wake.wait(), nap)
        except TimeoutError:
            continue


async def _put(output: Output, send: Send, cut: Callable[[], None] | None) -> bool:
    """Carry one output out; true when it was the last."""
    if output.kind == "send":
        await send({"type": "websocket.send", "text": output.text})
        return False
    if output.kind == "cut" and cut is not None:
        cut()
    else:
        await send({"type": "websocket.close", "code": output.code, "reason": output.text})
    return True


def _text(message: Any) -> str:
    text = message.get("text")
    return text if text is not None else (message.get("bytes") or b"").decode(errors="replace")
