"""The HTTP servers of this program, seen on their connections."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from worker.listening import listening_socket
from worker.telemetry.http_server import level_of_address, serve


def _of_this_process() -> Iterator[socket.socket]:
    """A copy of each socket that is open here."""
    for number in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(number.name))) as found:
            yield found


async def test_a_response_on_a_kept_connection_does_not_wait_for_an_acknowledgement() -> None:
    """What the server sends in two parts leaves at once: its side of the connection has TCP_NODELAY."""
    served = await serve(Starlette(routes=[Route("/", PlainTextResponse("here"))]), "127.0.0.1", 0)
    async with httpx.AsyncClient(base_url=served.address) as client:
        assert (await client.get("/")).text == "here"
        sides = [
            each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for each in _of_this_process()
            if each.family == socket.AF_INET and each.getsockname()[1] == served.port and _is_connected(each)
        ]
    await served.stop()
    assert sides == [1]


@pytest.mark.parametrize("host", ["a..b", "a" * 70, "\xfc" * 70, "\xfc", "a\0b", "[::1]"])
def test_a_text_that_can_be_no_host_is_an_error_of_the_system(host: str) -> None:
    """Whatever an operator gives for a host, what comes of it is caught like a port that is taken."""
    with pytest.raises(OSError, match=r"."):
        listening_socket(host, 0)


async def test_a_request_for_a_websocket_is_one_for_a_page() -> None:
    """There are no WebSockets here: what is no page is not found."""
    served = await serve(Starlette(routes=[Route("/", PlainTextResponse("here"))]), "127.0.0.1", 0)
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    async with httpx.AsyncClient(base_url=served.address, headers=upgrade) as client:
        found = [(await client.get(path)).status_code for path in ("/", "/nowhere")]
    await served.stop()
    assert found == [200, 404]


@pytest.mark.parametrize(("level", "port", "shown"), [("error", 0, True), ("error", 8080, False), ("info", 8080, True)])
def test_a_port_that_nobody_chose_is_logged_at_any_level(level: str, port: int, *, shown: bool) -> None:
    """LOG_LEVEL may hide the address of a server, but not one that took a free port: nobody could find it."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(level.upper())
    try:
        assert root.isEnabledFor(level_of_address(port)) is shown
    finally:
        root.setLevel(before)


def _is_connected(found: socket.socket) -> bool:
    with suppress(OSError):
        return bool(found.getpeername())
    return False
