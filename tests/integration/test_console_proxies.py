"""The console behind a reverse proxy with TLS: it knows who is asking, and that it was asked by https."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.lacking import lacks
from tests.support.reverse import PROXIES, program, reverse_proxy
from tests.support.spine import Stages

TOKEN = "a-token-of-the-tests"


@asynccontextmanager
async def behind(
    stage: Stages, name: str, home: Path, request: pytest.FixtureRequest, **settings: str
) -> AsyncIterator[tuple[str, ssl.SSLContext]]:
    """A replica with a console behind that proxy: its address there, and who trusts it."""
    if program(name) is None:
        lacks(request, f"{name} was not found: the console was not tried behind it (Debian: apt-get install {name})")
    on = await stage(CONSOLE_TOKEN=TOKEN, **settings)
    here = await on.replica()
    assert here.replica.served is not None
    async with reverse_proxy(name, here.replica.served.port, home) as front:
        yield front


def client(front: tuple[str, ssl.SSLContext], address: str, **headers: str) -> httpx.AsyncClient:
    """A client at an address of this machine."""
    transport = httpx.AsyncHTTPTransport(verify=front[1], local_address=address)
    return httpx.AsyncClient(transport=transport, base_url=front[0], headers=headers, timeout=30)


@pytest.mark.parametrize("name", sorted(PROXIES))
async def test_wrong_tokens_shut_out_the_client_and_not_the_proxy(
    stage: Stages, name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """After ten wrong tokens from one client another still signs in, and gets a cookie for https alone."""
    async with (
        behind(stage, name, tmp_path, request) as front,
        client(front, "127.0.0.2", authorization="Bearer wrong-wrong-wrong") as guesser,
        client(front, "127.0.0.3") as ada,
    ):
        assert [(await guesser.get("/flows")).status_code for _ in range(11)] == [303] * 10 + [429]
        asked = await ada.get("/flows?state=failed")
        assert asked.status_code == 303
        signed_in = await ada.post("/sign-in", data={"token": TOKEN, "by": "Ada"})
        assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/flows?state=failed")
        cookies = [*asked.headers.get_list("set-cookie"), *signed_in.headers.get_list("set-cookie")]
        assert len(cookies) == 3
        assert all("secure" in cookie.lower().split("; ") for cookie in cookies), cookies
        assert (await ada.get("/flows")).status_code == 200
        async with ada.stream("GET", "/events") as live:
            assert "event: headline" in [line async for line, _ in _until(live, "event: headline")]


async def _until(answer: httpx.Response, text: str) -> AsyncIterator[tuple[str, bool]]:
    """Lines of a stream up to one that says this: a proxy that held them back would never deliver it."""
    async for line in answer.aiter_lines():
        yield line, line == text
        if line == text:
            return


@pytest.mark.parametrize("name", sorted(PROXIES))
async def test_what_a_client_says_of_itself_is_not_believed(
    stage: Stages, name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Another X-Forwarded-For with each guess gives no more than ten guesses."""
    async with (
        behind(stage, name, tmp_path, request, HTTP_TRUSTED_PROXIES="127.0.0.1") as front,
        client(front, "127.0.0.2", authorization="Bearer wrong-wrong-wrong") as guesser,
    ):
        answers = [
            (await guesser.get("/flows", headers={"x-forwarded-for": f"10.0.0.{number}"})).status_code
            for number in range(11)
        ]
        assert answers == [303] * 10 + [429]


async def test_without_trust_the_proxy_counts_as_the_client(
    stage: Stages, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A proxy that is not in HTTP_TRUSTED_PROXIES is not believed: its word for https makes no cookie `Secure`."""
    async with (
        behind(stage, "nginx", tmp_path, request, HTTP_TRUSTED_PROXIES="10.0.0.0/8") as front,
        client(front, "127.0.0.2") as ada,
    ):
        signed_in = await ada.post("/sign-in", data={"token": TOKEN, "by": "Ada"})
        assert signed_in.status_code == 303
        assert "secure" not in signed_in.headers["set-cookie"].lower().split("; ")
