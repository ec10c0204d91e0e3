"""The client on a wire that does what wires do: every way to end a call is one of the replies."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.support.partner import TOKEN, addresses
from tests.support.waiting import let_time_pass
from worker.partner import client as module
from worker.partner.client import PartnerClient
from worker.partner.lockout import BEGUN_BEFORE, LockOut
from worker.replies import Answer, Domain, Misdirected, NotSent, Reply, Silence, Unauthorized, Unclear

Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def request(reader: asyncio.StreamReader) -> bytes:
    """One whole request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    return head + await reader.readexactly(length)


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """One whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def against(server: Server, timeout: float = 5, scheme: str = "http") -> AsyncIterator[PartnerClient]:
    """A client whose partner is this raw server."""
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            await server(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"{scheme}://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/"
    client = PartnerClient(addresses(url, url), timeout)
    try:
        yield client
    finally:
        await client.aclose()
        listening.close()
        # A connection that is still open when the test ends would be found by a later one, which would be blamed.
        running = [task for task in serving if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def post(client: PartnerClient, send_before: float | None = None) -> Reply:
    """One sending call."""
    return await client.post(Domain.LIVE, "/user/create", b'{"a":1}', token=TOKEN, send_before=send_before)


async def test_a_call_carries_the_token_and_the_bytes_as_they_are() -> None:
    """Path, bearer token, content type and body arrive as given."""
    seen: list[bytes] = []

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request(reader))
        writer.write(answer(b'{"userId":1}'))
        await writer.drain()

    async with against(server) as client:
        assert await post(client) == Answer({"userId": 1})
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/user/create HTTP/1.1\r\n")
    assert b"Authorization: Bearer tok" in head
    assert b"Content-Type: application/json" in head
    assert body == b'{"a":1}'


async def test_lists_of_ids_are_joined_by_commas() -> None:
    """`ids=1,2` is the documented form."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=[])

    client = PartnerClient(addresses(), 5, transport=httpx.MockTransport(handler))
    assert await client.get(Domain.DEMO, "/account/items", {"ids": "1,2", "n": 3}, token=TOKEN) == Answer([])
    assert str(seen[0].url) == "https://d/v1/account/items?ids=1,2&n=3"
    assert seen[0].headers["Authorization"] == "Bearer tok"


@pytest.mark.parametrize(
    ("path", "body", "documented"),
    [
        ("/account/find", {"id": 7, "name": "A"}, True),
        ("/account/find", {}, False),
        ("/account/find", None, False),
        ("/account/list", [], True),
        ("/account/list", [{"error": "x"}], False),
        ("/user/getaccounttradingpermissions", {"tradingPermissions": []}, True),
        ("/user/getaccounttradingpermissions", [], False),
    ],
)
async def test_an_answer_to_a_read_says_whether_its_form_is_documented(path: str, body: Any, documented: bool) -> None:
    """A wrong host, or a gateway, may answer anything."""
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, json=body))
    client = PartnerClient(addresses(), 5, transport=transport)
    expected = Answer(body, documented=documented)
    assert await client.get(Domain.DEMO, path, token=TOKEN) == expected
    assert await client.post(Domain.DEMO, path, b"{}", token=TOKEN, reading=True) == expected


async def test_a_cut_before_the_answer_is_unclear() -> None:
    """The request was read and the connection closed: it may have been carried out."""

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)

    async with against(server) as client:
        assert isinstance(await post(client), Unclear)


@pytest.mark.parametrize(
    "part", [b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", b"garbage\r\n\r\n"]
)
async def test_a_cut_or_garbled_answer_is_unclear(part: bytes) -> None:
    """Half an answer is no answer."""

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(part)
        await writer.drain()

    async with against(server) as client:
        assert isinstance(await post(client), Unclear)


async def test_a_server_that_hangs_is_unclear_after_the_timeout() -> None:
    """The call is bounded when no answer comes."""

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        await reader.read()

    async with against(server, timeout=0.1) as client:
        reply = await post(client)
    assert reply == Unclear("no whole answer within 0.1 s")


async def test_a_server_that_drips_is_unclear_after_the_timeout_in_total() -> None:
    """The timeout bounds the whole call, not the silence between two bytes."""

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await let_time_pass(0)

    async with against(server, timeout=0.2) as client:
        assert isinstance(await post(client), Unclear)


async def test_a_refused_connection_was_never_sent() -> None:
    """Nobody listens: safe to send again."""
    listening = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    listening.close()
    await listening.wait_closed()
    client = PartnerClient(addresses(f"http://127.0.0.1:{port}/v1"), 5)
    assert isinstance(await post(client), NotSent)


async def test_a_name_that_does_not_resolve_was_never_sent() -> None:
    """DNS trouble is no trouble with the call."""
    client = PartnerClient(addresses("http://nowhere.invalid/v1"), 5)
    assert isinstance(await post(client), NotSent)


async def test_a_handshake_that_fails_was_never_sent() -> None:
    """TLS comes before the first byte of a request."""

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"this is no TLS\r\n\r\n")
        await writer.drain()

    async with against(server, scheme="https") as client:
        assert isinstance(await post(client), NotSent)


async def test_a_handshake_that_hangs_was_never_sent() -> None:
    """A time-out before the first byte is known for what it is."""

    async def server(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with against(server, timeout=0.1, scheme="https") as client:
        assert isinstance(await post(client), NotSent)


async def test_a_call_whose_time_has_passed_is_not_sent() -> None:
    """A process that was frozen after its lease sends nothing, though the connection stands."""
    seen: list[bytes] = []
    now = 100.0

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append(await request(reader))
            writer.write(answer(b"{}"))
            await writer.drain()

    async with against(server) as client:
        client._clock = lambda: now
        assert await post(client, send_before=101.0) == Answer({})
        assert isinstance(await post(client, send_before=100.0), NotSent)
        # The look at the clock that counts is the last one before the first byte.
        ticks = iter([99.0, 100.0])
        client._clock = lambda: next(ticks)
        assert isinstance(await post(client, send_before=100.0), NotSent)
        client._clock = lambda: now
        assert await post(client, send_before=101.0) == Answer({})
    assert len(seen) == 2


async def test_a_connection_closed_while_idle_is_not_used_again() -> None:
    """The pool sees the close and opens a new connection; nothing is lost."""
    closed = asyncio.Event()

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(answer(b"{}"))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        closed.set()

    async with against(server) as client:
        for _ in range(3):
            assert await post(client) == Answer({})
            await closed.wait()
            closed.clear()


async def test_a_kept_connection_cut_after_the_second_request_is_unclear_and_not_repeated() -> None:
    """Whether the server took the request before it closed cannot be known, and nobody sends it again in secret."""
    requests = 0

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await request(reader)
        requests += 1
        writer.write(answer(b"{}"))
        await writer.drain()
        await request(reader)
        requests += 1

    async with against(server) as client:
        assert await post(client) == Answer({})
        assert isinstance(await post(client), Unclear)
    assert requests == 2


async def test_a_redirect_is_not_followed() -> None:
    """A redirect is a reply with the host that it leads to: only its reader knows which hosts may get the token."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(307, headers={"Location": "https://elsewhere:8443/v1/user/create?name=jane"})

    client = PartnerClient(addresses(), 5, transport=httpx.MockTransport(handler))
    reply = await post(client)
    assert isinstance(reply, Misdirected)
    assert (reply.status, reply.leads_to) == (307, "elsewhere:8443")
    assert len(seen) == 1


async def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer longer than any that makes sense is unclear, and is not kept in memory."""
    monkeypatch.setattr(module, "SEND_LIMIT", 1000)

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 65536)
            await writer.drain()

    async with against(server) as client:
        assert await post(client) == Unclear("an answer that is too long", 200)


async def test_a_compressed_bomb_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small answer that swells is bounded by what it swells to."""
    monkeypatch.setattr(module, "SEND_LIMIT", 1000)

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(answer(gzip.compress(b" " * 10_000_000, mtime=0), "Content-Encoding: gzip"))
        await writer.drain()

    async with against(server) as client:
        assert await post(client) == Unclear("an answer that is too long", 200)


@pytest.mark.parametrize(
    ("body", "encoding", "reply"),
    [
        (gzip.compress(b'{"a":1}', mtime=0), "gzip", Answer({"a": 1})),
        (gzip.compress(b'{"a":1}', mtime=0)[:-9], "gzip", None),
        (b'{"a":1}', "gzip", None),
        (gzip.compress(gzip.compress(b'{"a":1}', mtime=0), mtime=0), "gzip, gzip", None),
        (b'{"a":1}', "identity", Answer({"a": 1})),
    ],
)
async def test_compressed_answers(body: bytes, encoding: str, reply: Reply | None) -> None:
    """Gzip is read; what is cut, wrong, or wrapped twice is unclear."""

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(answer(body, f"Content-Encoding: {encoding}"))
        await writer.drain()

    async with against(server) as client:
        got = await post(client)
    assert got == reply if reply is not None else isinstance(got, Unclear)


async def test_a_token_that_cannot_be_a_header_is_not_sent() -> None:
    """A header that would smuggle a second one never reaches the wire."""
    seen: list[bytes] = []

    async def server(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read())

    async with against(server) as client:
        reply = await client.post(Domain.LIVE, "/x", b"{}", token=replace(TOKEN, value="a\r\nX-Evil: 1"))
    assert isinstance(reply, NotSent)
    assert not any(seen)


@pytest.mark.parametrize(
    "error", [httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError, ValueError, RuntimeError]
)
async def test_whatever_breaks_does_not_raise(error: type[Exception]) -> None:
    """Every way in which the wire can fail is a reply."""

    def handler(_: httpx.Request) -> httpx.Response:
        raise error("broken")

    client = PartnerClient(addresses(), 5, transport=httpx.MockTransport(handler))
    assert isinstance(await post(client), Unclear)


async def test_cancellation_is_not_swallowed() -> None:
    """A call that is cancelled ends as cancelled."""
    began = asyncio.Event()

    async def server(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await request(reader)
        began.set()
        await reader.read()

    async with against(server) as client:
        task = asyncio.create_task(post(client))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_cookies_are_not_kept() -> None:
    """The session is the token: nothing else is carried from one call to the next."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(401, headers={"Set-Cookie": "a=b"})

    client = PartnerClient(addresses(), 5, transport=httpx.MockTransport(handler))
    assert await post(client) == Unauthorized("")
    await post(client)
    assert "Cookie" not in seen[1].headers


async def test_neither_token_nor_body_nor_query_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """At the most talkative level the logs say nothing of what a call carries."""
    caplog.set_level(logging.DEBUG)

    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(404)

    client = PartnerClient(addresses(), 5, transport=httpx.MockTransport(handler))
    reply = await client.get(Domain.LIVE, "/user/find", {"name": "jane77"}, token=replace(TOKEN, value="tok-secret"))
    assert isinstance(reply, Misdirected)
    assert "jane77" not in caplog.text
    assert "tok-secret" not in caplog.text


async def test_the_partners_clock_comes_with_the_reply() -> None:
    """The Date header is read where it makes sense, and does no harm where it does not."""
    for header, year in (("Tue, 01 Jan 2030 00:00:00 GMT", 2030), ("yesterday", None), (None, None)):

        def handler(_: httpx.Request, header: str | None = header) -> httpx.Response:
            return httpx.Response(200, json={}, headers={"Date": header} if header else {})

        client = PartnerClient(addresses(), 5, transport=httpx.MockTransport(handler))
        exchange = await client.exchange("GET", Domain.LIVE, "/x", bearer=None, host=None, reading=True)
        assert (exchange.date.year if exchange.date else None) == year


async def test_a_call_goes_to_the_host_that_its_token_came_with() -> None:
    """The host of the token takes the place of the configured one, on the call's own domain only."""
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(200, json={})

    client = PartnerClient(addresses(), 5, transport=httpx.MockTransport(handler))
    token = replace(TOKEN, hosts={Domain.DEMO: "acme-demo.example:8443"})
    await client.get(Domain.DEMO, "/account/list", token=token)
    await client.post(Domain.LIVE, "/user/create", b"{}", token=token)
    assert seen == ["https://acme-demo.example:8443/v1/account/list", "https://l/v1/user/create"]


@pytest.mark.parametrize("status", [423, 429])
async def test_after_a_lock_out_nothing_is_sent_until_the_ledger_has_it(status: int) -> None:
    """The process that received it makes no call on either domain, though nobody else knows yet; once it is written,
    the ledger holds calls back, and only what was begun just before must still not go.
    """
    seen: list[httpx.Request] = []
    now = 100.0

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status)

    lockout = LockOut(timedelta(hours=1), lambda: now)
    client = PartnerClient(addresses(), 5, lockout=lockout, transport=httpx.MockTransport(handler))
    assert await post(client) == Silence(status)
    now += 7200  # the ledger is away for longer than the lock-out lasts
    assert isinstance(await client.get(Domain.DEMO, "/account/list", token=TOKEN), NotSent)
    assert lockout.unwritten is not None
    lockout.written(lockout.unwritten.number)
    assert await post(client) == Silence(status)
    assert len(seen) == 2
    assert lockout.unwritten is not None
    assert lockout.unwritten.left == timedelta(hours=1)
    lockout.written(lockout.unwritten.number)
    assert isinstance(await post(client), NotSent)
    now += BEGUN_BEFORE
    assert await post(client) == Silence(status)


async def test_a_lock_out_is_known_before_the_body_has_come() -> None:
    """A 429 whose body never ends, or is cut, is a lock-out all the same, from its first line on."""

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 1000\r\n\r\n")
        await writer.drain()
        await reader.read()

    async with against(server) as client:
        assert await post(client) == Silence(429)


async def test_a_call_that_may_be_answered_429_locks_nobody_out() -> None:
    """The renewal after a lock-out may be answered 429 because its session was closed: a login follows at once."""
    lockout = LockOut(timedelta(hours=1))
    transport = httpx.MockTransport(lambda _: httpx.Response(429))
    client = PartnerClient(addresses(), 5, lockout=lockout, transport=transport)
    exchange = await client.exchange(
        "GET", Domain.LIVE, "/auth/renewaccesstoken", bearer="t", host=None, reading=False, locks_out=False
    )
    assert exchange.reply == Silence(429)
    assert lockout.why_silent is None


async def test_a_second_lock_out_is_not_taken_for_the_first() -> None:
    """One that comes while the first is being written is written as well."""
    lockout = LockOut(timedelta(hours=1))
    lockout.received(423)
    first = lockout.unwritten
    assert first is not None
    lockout.received(429)
    lockout.written(first.number)
    assert lockout.unwritten is not None
    assert lockout.unwritten.status == 429
