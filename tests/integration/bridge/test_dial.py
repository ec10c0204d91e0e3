"""The handshake of a WebSocket over real connections: who is connected to, and what a refusal means."""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection, serve

from tests.support.doors import door, egress_proxy, private_ca
from worker.partner.handshake import Dial, NotConnected
from worker.replies import Misdirected, NotSent, Silence, Unclear


def response(status: int, *headers: str, body: bytes = b"") -> bytes:
    """An HTTP response."""
    head = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


async def refused(answer: bytes) -> NotConnected:
    """What comes of a handshake that is answered so."""
    async with door(answer) as at:
        found = await Dial().connected(f"ws://127.0.0.1:{at.port}/v1/websocket")
    assert isinstance(found, NotConnected)
    return found


@asynccontextmanager
async def partner(trust: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A WebSocket that says `o`; its address."""

    async def opened(connection: ServerConnection) -> None:
        await connection.send("o")
        await connection.wait_closed()

    async with serve(opened, "127.0.0.1", 0, ssl=trust) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/v1/websocket" if trust is None else f"wss://localhost:{port}/v1/websocket"


async def says_open(connection: ClientConnection | NotConnected) -> bool:
    """Whether the other side is the partner."""
    assert not isinstance(connection, NotConnected), connection
    frame = await connection.recv()
    await connection.close()
    return frame == "o"


@pytest.mark.parametrize("status", [421, 404, 405])
async def test_a_wrong_host_has_executed_nothing(status: int) -> None:
    """421, and 404 or 405 without a body: the domain is elsewhere."""
    found = await refused(response(status))
    assert isinstance(found.reply, Misdirected)
    assert (found.reply.status, found.said) == (status, f"HTTP {status}")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(status: int) -> None:
    """The host that it names is not connected to, for the token would be sent there next. It is reported."""
    async with door(b"") as other:
        for scheme in ("ws", "http"):
            location = f"Location: {scheme}://127.0.0.1:{other.port}/v1/websocket"
            found = await refused(response(status, location))
            assert found.reply == Misdirected(f"HTTP {status}: a redirect", status, f"127.0.0.1:{other.port}")
        assert other.seen == []


@pytest.mark.parametrize(
    "locations",
    [
        (),
        ("Location: wss://127.0.0.1/v1/websocket",),
        ("Location: ws://127.0.0.1/other",),
        ("Location: ws://u:p@127.0.0.1/v1/websocket",),
        ("Location: ws://a/v1/websocket", "Location: ws://b/v1/websocket"),
        ("Location: http://[",),
    ],
)
async def test_a_redirect_to_anything_else_leads_nowhere(locations: tuple[str, ...]) -> None:
    """Another scheme, another path, a password, two of them: it is a wrong host, and no more is known."""
    found = await refused(response(307, *locations))
    assert found.reply == Misdirected("HTTP 307: a redirect", 307, None)


@pytest.mark.parametrize("status", [423, 429])
async def test_a_lock_out_is_a_lock_out_at_the_handshake_too(status: int) -> None:
    """It stops the calls of all replicas."""
    assert (await refused(response(status, body=b"busy"))).reply == Silence(status)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 408, 410, 426, 500, 502, 503])
@pytest.mark.parametrize("body", [b"", b"<html>no</html>"])
async def test_any_other_refusal_says_nothing_of_the_token_or_the_session(status: int, body: bytes) -> None:
    """The handshake carried no token: no renewal comes of it, and it counts like any answered call."""
    found = await refused(response(status, body=body))
    assert found.reply == Unclear(f"HTTP {status} to the handshake")
    assert found.said == f"HTTP {status}"


async def test_a_404_with_a_text_is_not_a_wrong_host() -> None:
    """Only a 404 without a body is how a wrong host answers."""
    assert (await refused(response(404, body=b"no such page"))).reply == Unclear("HTTP 404 to the handshake")


@pytest.mark.parametrize(
    "answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"\x16\x03\x01"]
)
async def test_what_is_no_handshake_is_no_connection(answer: bytes) -> None:
    """Whatever the other side sends, it ends as a value with a name."""
    found = await refused(answer)
    assert isinstance(found.reply, NotSent)
    assert found.said


async def test_a_host_that_is_not_there_is_no_connection() -> None:
    """Refused, unknown, silent: the domain may be elsewhere."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening
        found = await Dial().connected(f"ws://127.0.0.1:{taken.getsockname()[1]}/v1/websocket")
    assert isinstance(found, NotConnected)
    assert isinstance(found.reply, NotSent)
    assert found.said == "ConnectionRefusedError"


async def test_a_silent_host_is_given_up() -> None:
    """A host that accepts and never answers is left after some seconds."""
    async with door(None) as at:
        found = await Dial(seconds=0.2).connected(f"ws://127.0.0.1:{at.port}/v1/websocket")
    assert isinstance(found, NotConnected)
    assert found.said == "TimeoutError"


async def test_a_private_ca_is_trusted_when_the_settings_name_it(tmp_path: Path) -> None:
    """With its file the socket connects; without it health names the certificate."""
    ca = private_ca(tmp_path)
    async with partner(ca.server) as url:
        assert await says_open(await Dial(trust=ssl.create_default_context(cafile=str(ca.file))).connected(url))
        found = await Dial().connected(url)
    assert isinstance(found, NotConnected)
    assert found.said.startswith("the certificate is not trusted")


@pytest.mark.parametrize("secure", [True, False])
async def test_a_socket_goes_through_the_proxy_of_the_settings(secure: bool, tmp_path: Path) -> None:
    """The proxy sees host and port, never the token; with its password it lets us through, without it 407 is named."""
    ca = private_ca(tmp_path)
    trust = ssl.create_default_context(cafile=str(ca.file))
    password = base64.b64encode(b"u:secret")
    async with partner(ca.server if secure else None) as url, egress_proxy(password) as proxy:
        assert await says_open(await Dial(f"http://u:secret@127.0.0.1:{proxy.port}", trust).connected(url))
        assert proxy.seen[0].startswith(b"CONNECT ")
        found = await Dial(f"http://127.0.0.1:{proxy.port}", trust).connected(url)
    assert isinstance(found, NotConnected)
    assert found.said == "the proxy answered HTTP 407"


async def test_the_proxy_may_itself_be_behind_tls(tmp_path: Path) -> None:
    """Its certificate is trusted as the partner's is, and the partner's connection is encrypted inside."""
    ca = private_ca(tmp_path)
    trust = ssl.create_default_context(cafile=str(ca.file))
    async with partner(ca.server) as url, egress_proxy(trust=ca.server) as proxy:
        assert await says_open(await Dial(f"https://localhost:{proxy.port}", trust).connected(url))
        found = await Dial(f"https://localhost:{proxy.port}", ssl.create_default_context()).connected(url)
        assert len(proxy.seen) == 1
    assert isinstance(found, NotConnected)
    assert found.said.startswith("the certificate is not trusted")


async def test_the_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine has set for other programs sees none of our connections."""
    async with egress_proxy() as proxy, partner() as url:
        for name in ("ws_proxy", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{proxy.port}")
        assert await says_open(await Dial().connected(url))
        assert proxy.seen == []


def test_the_address_of_a_proxy_is_not_shown() -> None:
    """It may hold a password."""
    assert "secret" not in repr(Dial("http://u:secret@proxy"))
