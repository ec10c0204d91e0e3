"""Calls over a real proxy and real TLS: who sees what, and what it means when a connection does not come about."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.bridges import BridgeProcess
from tests.support.doors import PrivateCa, door, egress_proxy, private_ca, tls_front
from tests.support.events import purchase
from tests.support.partner import TOKEN, addresses
from tests.support.spine import Stages
from tests.support.waiting import eventually
from worker.kafka.admin import ensure_topics
from worker.kafka.topics import ADMIN_ALERT
from worker.partner.client import PartnerClient
from worker.partner.egress import Egress
from worker.replies import Answer, Domain, NotSent, Reply, Unclear

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def ca(tmp_path: Path) -> PrivateCa:
    """A CA of the firm's own."""
    return private_ca(tmp_path)


@asynccontextmanager
async def calling(url: str, proxy: str | None = None, ca_file: Path | None = None) -> AsyncIterator[PartnerClient]:
    """A client of whatever is at that address."""
    client = PartnerClient(addresses(url, url), 5, egress=Egress.of(proxy, ca_file))
    try:
        yield client
    finally:
        await client.aclose()


async def post(client: PartnerClient) -> Reply:
    """One sending call."""
    return await client.post(Domain.LIVE, "/user/create", b"{}", token=replace(TOKEN, value="the-token"))


async def test_a_private_ca_is_trusted_beside_those_of_the_machine(ca: PrivateCa) -> None:
    """With TRADOVATE_CA_FILE its hosts are called; the machine's own authorities stay."""
    async with door(OK, ca.server) as at, calling(f"https://localhost:{at.port}/v1", ca_file=ca.file) as client:
        assert await post(client) == Answer({})
    assert len(Egress.of(None, ca.file).trust.get_ca_certs()) > len(Egress.of().trust.get_ca_certs())


async def test_a_certificate_that_is_not_trusted_was_never_sent(ca: PrivateCa) -> None:
    """No byte of the call leaves; one line says what is wrong, and which setting is about it."""
    async with door(OK, ca.server) as at, calling(f"https://localhost:{at.port}/v1") as client:
        reply = await post(client)
    assert isinstance(reply, NotSent)
    assert reply.unreachable
    assert reply.why == (
        "no connection (the certificate is not trusted (unable to get local issuer certificate): see TRADOVATE_CA_FILE)"
    )
    assert at.seen == []


async def test_a_certificate_of_another_host_was_never_sent(ca: PrivateCa) -> None:
    """It is trusted for the name that it has, and for no other."""
    async with door(OK, ca.server) as at, calling(f"https://127.0.0.1:{at.port}/v1", ca_file=ca.file) as client:
        reply = await post(client)
    assert isinstance(reply, NotSent)
    assert "IP address mismatch" in reply.why


@pytest.mark.parametrize("secure", [True, False])
async def test_calls_go_through_the_proxy(ca: PrivateCa, secure: bool) -> None:
    """By CONNECT where there is TLS, so that the proxy sees host and port only; its password comes with it."""
    async with door(OK, ca.server if secure else None) as at, egress_proxy(base64.b64encode(b"u:p:w")) as proxy:
        url = f"{'https' if secure else 'http'}://localhost:{at.port}/v1"
        async with calling(url, f"http://u:p%3Aw@127.0.0.1:{proxy.port}", ca.file) as client:
            assert await post(client) == Answer({})
    assert len(at.seen) == 1
    seen = proxy.seen[0]
    assert seen.startswith(b"CONNECT localhost:%d " % at.port if secure else b"POST http://localhost:")
    assert (b"the-token" in seen) is not secure
    assert b"Proxy-Authorization" not in at.seen[0] or not secure


@pytest.mark.parametrize("secure", [True, False])
async def test_a_proxy_that_wants_another_password_has_sent_nothing(ca: PrivateCa, secure: bool) -> None:
    """407: the call never left, and the line names the proxy."""
    async with door(OK, ca.server if secure else None) as at, egress_proxy(b"other") as proxy:
        url = f"{'https' if secure else 'http'}://localhost:{at.port}/v1"
        async with calling(url, f"http://u:hunter2@127.0.0.1:{proxy.port}", ca.file) as client:
            reply = await post(client)
    assert isinstance(reply, NotSent)
    assert "proxy" in reply.why
    assert "hunter2" not in reply.why
    assert at.seen == []


async def test_a_proxy_that_is_away_has_sent_nothing() -> None:
    """Nobody listens at its address."""
    async with door(OK) as at:
        pass
    async with calling("https://localhost:1/v1", f"http://127.0.0.1:{at.port}") as client:
        reply = await post(client)
    assert isinstance(reply, NotSent)
    assert reply.unreachable


async def test_a_proxy_that_never_answers_has_sent_nothing() -> None:
    """What a proxy is asked before the tunnel stands is no part of the call."""
    async with door(None) as proxy:
        egress = Egress.of(f"http://127.0.0.1:{proxy.port}")
        client = PartnerClient(addresses("https://localhost:1/v1"), 0.3, egress=egress)
        reply = await post(client)
        await client.aclose()
    assert len(proxy.seen) == 1
    assert isinstance(reply, NotSent)


async def test_a_call_that_is_cut_behind_the_proxy_is_unclear(ca: PrivateCa) -> None:
    """Once the tunnel stands, a call that was sent may have been carried out."""
    async with (
        door(b"", ca.server) as at,
        egress_proxy() as proxy,
        calling(f"https://localhost:{at.port}/v1", f"http://127.0.0.1:{proxy.port}", ca.file) as client,
    ):
        assert isinstance(await post(client), Unclear)
    assert len(at.seen) == 1


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that is set for other programs sees nothing."""
    async with door(OK) as at, egress_proxy() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with calling(f"http://127.0.0.1:{at.port}/v1") as client:
            assert await post(client) == Answer({})
    assert proxy.seen == []


def test_the_proxys_password_is_not_shown() -> None:
    """Neither by the value that carries it nor by the trust that goes with it."""
    assert "hunter2" not in repr(Egress(ssl.create_default_context(), "http://u:hunter2@proxy"))


def behind(front: int, proxy: int, ca: PrivateCa) -> dict[str, str]:
    """Settings of a worker or bridge whose partner is behind TLS and a proxy."""
    return {
        "TRADOVATE_LIVE_URL": f"https://localhost:{front}/live/v1",
        "TRADOVATE_DEMO_URL": f"https://localhost:{front}/demo/v1",
        "TRADOVATE_LIVE_WS_URL": f"wss://localhost:{front}/live/v1/websocket",
        "TRADOVATE_DEMO_WS_URL": f"wss://localhost:{front}/demo/v1/websocket",
        "TRADOVATE_PROXY_URL": f"http://u:hunter2@127.0.0.1:{proxy}",
        "TRADOVATE_CA_FILE": str(ca.file),
    }


def _tunnels(seen: Sequence[bytes], front: int) -> bool:
    return bool(seen) and all(head.startswith(b"CONNECT localhost:%d " % front) for head in seen)


async def test_a_worker_and_a_bridge_work_behind_a_proxy_and_a_private_ca(stage: Stages, ca: PrivateCa) -> None:
    """Every call and both WebSockets go through the proxy's tunnels; purchases and signatures come through; the
    proxy's password is in no log.
    """
    at = await stage()
    await ensure_topics(at.settings(), [ADMIN_ALERT])
    async with (
        tls_front(at.partner.port, ca.server) as front,
        egress_proxy(base64.b64encode(b"u:hunter2")) as proxy,
    ):
        settings = behind(front.port, proxy.port, ca)
        worker = at.process(**settings)
        with BridgeProcess({**at.env, **settings}) as bridge:
            await worker.ready()
            event = purchase(1)
            await at.buy(event)
            done = await at.outcome(event)
            assert done["status"] == "succeeded"
            await eventually(lambda: at.state["sockets"]["open"] == 2)
            assert _tunnels(proxy.seen, front.port)
            signal = at.partner.sandbox.control.sign({"userId": done["userId"]})["signalIds"][0]
            assert (await at.outcome(f"mda-{signal}"))["status"] == "succeeded"
            said = worker.stdout + worker.stderr + bridge.stdout + bridge.stderr
            assert "hunter2" not in said
        worker.close()


async def test_a_worker_that_does_not_trust_the_partner_says_so_in_health(stage: Stages, ca: PrivateCa) -> None:
    """The login that was never sent is named with its reason in one line; nothing is locked, and it tries again."""
    at = await stage()
    async with tls_front(at.partner.port, ca.server) as front:
        settings = {**behind(front.port, 1, ca), "TRADOVATE_CA_FILE": "", "TRADOVATE_PROXY_URL": ""}
        worker = at.process(**settings)

        async def says_why() -> str | None:
            return (await worker.health()).get("session")

        why = await eventually(says_why)
        assert why is not None
        assert "the certificate is not trusted" in why
        assert "TRADOVATE_CA_FILE" in why
        worker.close()
